//! The way out of a sink: its publishers, and how far they are.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handle::Publishers;
use crate::publish::{Encoding, Outstanding};
use crate::transform::SampleList;
use nephometer_model::{Batch, Offset, Sample};
use nephometer_store::{JournalReader, SpoolInput};
use nephometer_telemetry::events;

/// What one sink published at once.
#[derive(Debug)]
pub struct SinkOutput {
    /// The sink.
    pub sink: Arc<str>,
    /// In the order in which publishers got them; never empty.
    pub samples: Vec<Sample>,
}

/// Somebody who looks on: gets everything that a sink emits, beside its publishers.
pub type Tap = mpsc::Sender<SinkOutput>;

/// All that a sink publishes to.
pub struct Outlet {
    /// In this order.
    pub publishers: Publishers,
    /// Who looks on.
    pub tap: Option<Tap>,
    /// Of publishers that were taken away while they held something.
    leaving: Vec<Outstanding>,
}

impl Outlet {
    /// To these publishers.
    pub fn new(publishers: Publishers, tap: Option<Tap>) -> Self {
        Self { publishers, tap, leaving: Vec::new() }
    }

    /// Puts what a batch made into the spools of all publishers, in one transaction with how far the
    /// sink is then, and with what its transformers have counted up to there.
    pub(super) async fn emit(
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
        let puts = publishers().zip(&encodings);
        let puts =
            puts.map(|(to, envelopes)| SpoolInput { writer: to.spool(), envelopes }).collect();
        let made = journal.emit(puts, emitted(&self.leaving, offset)).await;
        drop(encodings);
        for ((_, publisher), made) in self.publishers.iter_mut().zip(made) {
            publisher.made(batch, made);
        }
        if let Some(tap) = &self.tap {
            for samples in lists {
                let emission = SinkOutput { sink: Arc::clone(sink), samples: samples.into_vec() };
                if tap.send(emission).await.is_err() {
                    events::pipeline::onlooker_gone(sink);
                }
            }
        }
    }

    /// Adds and takes away publishers. One that is taken away sends what it holds.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Publishers)) {
        let here = |publishers: &Publishers| -> Vec<Outstanding> {
            publishers.iter().map(|(_, handle)| handle.outstanding()).collect()
        };
        let before = here(&self.publishers);
        change(&mut self.publishers);
        let stay = here(&self.publishers);
        let gone = before.into_iter().filter(|one| !stay.iter().any(|other| one.is(other)));
        self.leaving.extend(gone);
        self.leaving.retain(|one| one.oldest().is_some());
    }

    /// Up to where nothing would have to be made again, if the last batch that was worked on is `last`.
    pub(super) fn emitted(&self, last: Offset) -> Offset {
        emitted(&self.outstanding(), last)
    }

    fn outstanding(&self) -> Vec<Outstanding> {
        let here = self.publishers.iter().map(|(_, handle)| handle.outstanding());
        here.chain(self.leaving.iter().cloned()).collect()
    }

    /// Lets go of the publishers, which then know that no more will come.
    pub(super) fn close(self) -> Vec<Outstanding> {
        self.outstanding()
    }
}

/// The place before the oldest envelope that is neither settled nor on disk.
pub(super) fn emitted(outstanding: &[Outstanding], last: Offset) -> Offset {
    let oldest = outstanding.iter().filter_map(Outstanding::oldest).min();
    oldest.map_or(last, |oldest| last.min(oldest.saturating_sub(1)))
}
