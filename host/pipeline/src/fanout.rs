//! The output of a sink: writes samples into the spools of its publishers and computes the emitted
//! offset. It does not deliver; publishers do.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handle::Publishers;
use crate::publish::{BatchRecords, Encoding, UnwrittenEnvelopes, contents};
use crate::transform::{Identity, SampleList};
use nephometer_model::{Batch, Offset, Sample};
use nephometer_proof::{DeclaredDrop, Statement};
use nephometer_store::{JournalReader, Persistence, SpoolAppend, StreamRecords};
use nephometer_telemetry::events;

/// Samples that one sink published at once.
#[derive(Debug)]
pub struct SinkOutput {
    /// The sink's name.
    pub sink: Arc<str>,
    /// The samples in the order in which publishers got them; never empty.
    pub samples: Vec<Sample>,
}

/// Receives everything that a sink publishes, besides its publishers.
pub type OutputObserver = mpsc::Sender<SinkOutput>;

/// The publishers of a sink, and the observer if there is one.
pub struct PublisherFanout {
    /// In the configured order.
    pub publishers: Publishers,
    /// Gets a copy of the output.
    pub observer: Option<OutputObserver>,
    /// Removed publishers that had undelivered envelopes.
    removed: Vec<UnwrittenEnvelopes>,
}

impl PublisherFanout {
    /// A fan-out to these publishers and this observer.
    pub fn new(publishers: Publishers, observer: Option<OutputObserver>) -> Self {
        Self { publishers, observer, removed: Vec::new() }
    }

    /// Writes the output of a batch into the spools of all publishers, in one transaction with the
    /// sink's offset and the counters of its transformers. Returns whether the transaction is written;
    /// if not, [`Self::write_pending`] has to be called. `None`: there was nothing to write.
    ///
    /// Streams that can be verified get a checkpoint with every batch, also if it has no output.
    pub(super) async fn publish(
        &mut self,
        journal: &JournalReader,
        (offset, batch): (Offset, &Batch),
        (lists, transformers): (Vec<SampleList>, &[Identity]),
        persistence: Persistence,
    ) -> Option<bool> {
        let sink = journal.sink();
        let lists: Vec<_> = lists.into_iter().filter(|samples| !samples.is_empty()).collect();
        let origin = (batch.cycle_start, offset);
        let is_provable = self.publishers.iter().any(|(_, publisher)| publisher.is_provable());
        let contents = if is_provable { contents(&lists) } else { Vec::new() }.into();
        let records: Vec<Option<BatchRecords<'_>>> = self
            .publishers
            .iter()
            .map(|(_, publisher)| publisher.records(transformers, origin, &contents))
            .collect();
        if lists.is_empty() && records.iter().all(Option::is_none) {
            return None;
        }
        let publishers = || self.publishers.iter().map(|(_, publisher)| publisher);
        let encodings: Vec<Encoding<'_>> =
            publishers().map(|publisher| publisher.encoding(sink, &lists, offset, batch)).collect();
        let appends = publishers().zip(&encodings).zip(&records);
        let appends = appends.map(|((publisher, envelopes), records)| SpoolAppend {
            writer: publisher.spool(),
            envelopes,
            records: records.as_ref().map(|records| records as &dyn StreamRecords),
        });
        let to = emitted_offset(&self.removed, offset);
        let (written, counts) = journal.commit(appends.collect(), to, persistence).await;
        drop(encodings);
        let statements: Vec<Option<Statement>> = records
            .into_iter()
            .map(|records| records.and_then(BatchRecords::into_statement))
            .collect();
        let outcomes = counts.into_iter().zip(statements);
        for ((_, publisher), (count, statement)) in self.publishers.iter_mut().zip(outcomes) {
            publisher.count_envelopes(batch, count);
            publisher.mark_stated(statement);
        }
        if let Some(observer) = &self.observer {
            for samples in lists {
                let output = SinkOutput { sink: Arc::clone(sink), samples: samples.into_vec() };
                if observer.send(output).await.is_err() {
                    events::pipeline::observer_closed(sink);
                }
            }
        }
        Some(written)
    }

    /// Has a drop of samples declared in all streams.
    pub(super) async fn declare(&self, drop: &DeclaredDrop) {
        for (_, publisher) in &self.publishers {
            publisher.spool().declare(drop).await;
        }
    }

    /// Writes the envelopes that are neither acknowledged nor on disk, with the sink's offset after
    /// batch `offset`. Returns whether that succeeded.
    pub(super) async fn write_pending(&self, journal: &JournalReader, offset: Offset) -> bool {
        let nothing = Vec::new();
        let appends = self.publishers.iter().map(|(_, publisher)| SpoolAppend {
            writer: publisher.spool(),
            envelopes: &nothing,
            records: None,
        });
        let to = emitted_offset(&self.removed, offset);
        journal.commit(appends.collect(), to, Persistence::AtOnce).await.0
    }

    /// Adds and removes publishers. A removed publisher still delivers its spool.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Publishers)) {
        let unwritten = |publishers: &Publishers| -> Vec<UnwrittenEnvelopes> {
            publishers.iter().map(|(_, handle)| handle.unwritten_envelopes()).collect()
        };
        let before = unwritten(&self.publishers);
        change(&mut self.publishers);
        let after = unwritten(&self.publishers);
        let removed =
            before.into_iter().filter(|one| !after.iter().any(|other| one.is_same_spool(other)));
        self.removed.extend(removed);
        self.removed.retain(|one| one.oldest_offset().is_some());
    }

    /// The emitted offset of a sink whose last processed batch is at `processed`.
    pub(super) fn emitted_offset(&self, processed: Offset) -> Offset {
        emitted_offset(&self.unwritten(), processed)
    }

    fn unwritten(&self) -> Vec<UnwrittenEnvelopes> {
        let current = self.publishers.iter().map(|(_, handle)| handle.unwritten_envelopes());
        current.chain(self.removed.iter().cloned()).collect()
    }

    /// Drops the publishers, which then drain their spools and end.
    pub(super) fn close(self) -> Vec<UnwrittenEnvelopes> {
        self.unwritten()
    }
}

/// The offset before the oldest envelope that is neither acknowledged nor on disk: after a crash
/// nothing up to it has to be encoded again.
pub(super) fn emitted_offset(unwritten: &[UnwrittenEnvelopes], processed: Offset) -> Offset {
    let oldest = unwritten.iter().filter_map(UnwrittenEnvelopes::oldest_offset).min();
    oldest.map_or(processed, |oldest| processed.min(oldest.saturating_sub(1)))
}
