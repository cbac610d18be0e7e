//! The rollback candidate of a sink: the revision before, ready to run again if the new one fails, or
//! if its output goes beyond the bounds of a guard.
//!
//! While it is guarded, the revision before processes the same batches in a task of its own
//! (`guard_run.rs`). Otherwise it is suspended, and the batches since are kept.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::guard_report::{GuardReport, GuardState};
use super::guard_run::{GuardFeed, GuardedBatch, follow};
use super::revision::ChainRevision;
use crate::transform::{BatchLog, JournaledBatch};
use nephometer_wasm::GuestThreads;

/// How long after a takeover a failure of the new revision rolls back to the previous one.
const ROLLBACK_PERIOD: Duration = Duration::from_secs(600);
/// Bounds of what is kept for a rollback: samples since the takeover, about 100 bytes each.
const ROLLBACK_SAMPLES: usize = 90_000;
/// Bytes of them, with their resources.
const ROLLBACK_BYTES: usize = 32 << 20;
/// Batches: fewer than a chain accepts into its history at once.
const ROLLBACK_BATCHES: usize = 500;

/// The previous revision.
pub(super) struct RollbackCandidate {
    /// Ends when the revision is suspended; with `None` if its state lacks a batch.
    revision: JoinHandle<Option<ChainRevision>>,
    /// Batches that the revision has not got.
    log: BatchLog,
    expires: Instant,
    /// Gives it all batches, for a comparison.
    guard: Option<GuardFeed>,
}

impl RollbackCandidate {
    /// Saves the state of the revision in the background, and drops its instances.
    pub(super) fn suspended(mut revision: ChainRevision) -> Self {
        let suspending = async move {
            revision.chain.suspend().await;
            Some(revision)
        };
        Self::of(tokio::spawn(suspending), None)
    }

    /// Lets the revision process all batches, too, and compares its output with what is published.
    pub(super) fn guarded(
        revision: ChainRevision,
        report: GuardReport,
        threads: Option<GuestThreads>,
    ) -> Self {
        let (feed, queue) = GuardFeed::new(report);
        Self::of(tokio::spawn(follow(revision, queue, threads)), Some(feed))
    }

    fn of(revision: JoinHandle<Option<ChainRevision>>, guard: Option<GuardFeed>) -> Self {
        let expires = Instant::now() + ROLLBACK_PERIOD;
        Self { revision, log: BatchLog::default(), expires, guard }
    }

    /// Whether the revision processes all batches, and has not accepted the new one.
    pub(super) fn is_guarding(&self) -> bool {
        let state = self.guard.as_ref().map(|guard| guard.report.state());
        matches!(state, Some(GuardState::Comparing | GuardState::Exceeded(_)))
    }

    /// Compares with another new revision from now on. The bounds are those of a window that begins
    /// again; the report before is part of the new one.
    pub(super) fn guard_again(&mut self, report: GuardReport) {
        if let Some(guard) = &mut self.guard {
            report.follow(&guard.report);
            guard.report = report;
        }
    }

    /// The report of the guard, if there is one.
    pub(super) fn guard_report(&self) -> Option<&GuardReport> {
        self.guard.as_ref().map(|guard| &guard.report)
    }

    /// Ends the comparison. The revision is suspended, and stays a candidate for the rest of its time.
    pub(super) fn end_guard(&mut self) -> Option<GuardReport> {
        self.guard.take().map(|guard| guard.report)
    }

    /// Records a batch that the new revision has processed. Returns false once the candidate has
    /// expired or the log exceeds its bounds.
    pub(super) fn record(&mut self, batch: JournaledBatch, guarded: Option<GuardedBatch>) -> bool {
        if let (Some(guard), Some(guarded)) = (&mut self.guard, guarded)
            && guard.offer(guarded)
        {
            return true;
        }
        self.log.push(batch);
        self.log.samples() <= ROLLBACK_SAMPLES
            && self.log.bytes() <= ROLLBACK_BYTES
            && self.log.batches().len() <= ROLLBACK_BATCHES
            && Instant::now() < self.expires
    }

    /// The revision with the recorded batches in its history: the next batch restores its saved
    /// state and processes them. `None` if the history cannot hold them all.
    pub(super) async fn into_revision(mut self) -> Option<ChainRevision> {
        // The task processes what waits, and ends.
        drop(self.guard.take());
        let mut revision = self.revision.await.ok()??;
        let mut batches = self.log.into_batches().into_iter();
        let complete = batches.all(|batch| revision.chain.record_unprocessed(batch));
        complete.then_some(revision)
    }
}
