//! The output of a sink: writes samples into the spools of its publishers and computes the emitted
//! offset. It does not deliver; publishers do.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handle::Publishers;
use crate::publish::{Encoding, UnwrittenEnvelopes};
use crate::transform::SampleList;
use nephometer_model::{Batch, Offset, Sample};
use nephometer_store::{JournalReader, SpoolAppend};
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
    /// sink's offset and the counters of its transformers.
    pub(super) async fn publish(
        &mut self,
        journal: &JournalReader,
        offset: Offset,
        batch: &Batch,
        lists: Vec<SampleList>,
    ) {
        let sink = journal.sink();
        let lists: Vec<_> = lists.into_iter().filter(|samples| !samples.is_empty()).collect();
        if lists.is_empty() {
            return;
        }
        let publishers = || self.publishers.iter().map(|(_, publisher)| publisher);
        let encodings: Vec<Encoding<'_>> =
            publishers().map(|publisher| publisher.encoding(sink, &lists, offset, batch)).collect();
        let appends = publishers().zip(&encodings);
        let appends = appends
            .map(|(publisher, envelopes)| SpoolAppend { writer: publisher.spool(), envelopes })
            .collect();
        let counts = journal.commit(appends, emitted_offset(&self.removed, offset)).await;
        drop(encodings);
        for ((_, publisher), count) in self.publishers.iter_mut().zip(counts) {
            publisher.count_envelopes(batch, count);
        }
        if let Some(observer) = &self.observer {
            for samples in lists {
                let output = SinkOutput { sink: Arc::clone(sink), samples: samples.into_vec() };
                if observer.send(output).await.is_err() {
                    events::pipeline::observer_closed(sink);
                }
            }
        }
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
