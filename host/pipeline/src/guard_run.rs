//! Runs the revision before a reload beside the new one, on the same batches, and compares what both
//! make of them.
//!
//! Has a task of its own, which the sink never waits for, unless it takes the revision back. What
//! follows from the comparison is up to the sink.

use super::guard_report::GuardReport;
use super::revision::ChainRevision;
use crate::transform::{JournaledBatch, QueueReader, QueueWriter, SampleList, sample_queue};
use nephometer_model::Sample;
use nephometer_wasm::GuestThreads;

/// A batch with what the new revision has published for it.
pub(super) struct GuardedBatch {
    pub(super) batch: JournaledBatch,
    pub(super) published: Vec<SampleList>,
    /// Processor time of the new revision so far, in nanoseconds.
    pub(super) cpu_nanos: u64,
    /// Where it is compared: that of the new revision which published it.
    pub(super) report: GuardReport,
}

/// The sink's end of the queue to the revision before.
pub(super) struct GuardFeed {
    /// `None` since the revision before was too far behind.
    queue: Option<QueueWriter<GuardedBatch>>,
    pub(super) report: GuardReport,
}

impl GuardFeed {
    pub(super) fn new(report: GuardReport) -> (Self, QueueReader<GuardedBatch>) {
        let (queue, reader) = sample_queue();
        (Self { queue: Some(queue), report }, reader)
    }

    /// Appends a batch. Returns false if the revision before is too far behind: then the guard ends.
    pub(super) fn offer(&mut self, batch: GuardedBatch) -> bool {
        let Some(queue) = &self.queue else { return false };
        let samples = batch.batch.samples();
        let Err(refused) = queue.offer(batch, samples) else { return true };
        self.queue = None;
        self.report.uncompared(refused.published.iter().map(|list| list.len()).sum());
        self.report.end("the version before is too slow to run beside the new one".to_owned());
        false
    }
}

/// Processes what the queue has until its end. Returns the revision suspended; `None` if its state lacks
/// a batch.
pub(super) async fn follow(
    mut revision: ChainRevision,
    mut queue: QueueReader<GuardedBatch>,
    threads: Option<GuestThreads>,
) -> Option<ChainRevision> {
    while let Some(GuardedBatch { batch, published, cpu_nanos, report }) = queue.next().await {
        let input = batch.input();
        let processed;
        (revision, processed) = revision.process_silently(batch.clone(), threads.as_ref()).await;
        match processed {
            Ok(output) => {
                let cpu = (cpu_nanos, revision.chain.cpu_nanos());
                report.compare(&input, &flat(published), &flat(output), cpu);
            }
            Err(error) => {
                report.uncompared(published.iter().map(|list| list.len()).sum());
                report.end(format!("the version before has failed: {error}"));
                // As for a suspended revision: it processes the batch when it runs again.
                if !revision.chain.record_unprocessed(batch) {
                    return None;
                }
            }
        }
        tokio::task::yield_now().await;
    }
    revision.chain.suspend().await;
    Some(revision)
}

fn flat(lists: Vec<SampleList>) -> Vec<Sample> {
    lists.into_iter().flat_map(SampleList::into_vec).collect()
}
