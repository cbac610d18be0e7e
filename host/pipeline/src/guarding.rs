//! What a sink does about its rollback candidate: it begins and follows guards, and rolls back.
//!
//! Called between two batches, in the task of the sink.

use std::sync::Arc;

use super::guard_report::{GuardReport, GuardState};
use super::guard_run::GuardedBatch;
use super::handle::SinkEvent;
use super::revision::ChainRevision;
use super::rollback::RollbackCandidate;
use super::sink::Sink;
use crate::transform::{JournaledBatch, SampleList};
use nephometer_telemetry::events;

impl Sink {
    /// The candidate after a takeover. While a guard compares, a further guarded reload keeps the
    /// revision before: the one that it replaces has not passed.
    pub(super) fn candidate(
        &mut self,
        previous: Option<ChainRevision>,
        guard: Option<GuardReport>,
        replaced: &mut Option<RollbackCandidate>,
    ) -> Option<RollbackCandidate> {
        let Some(guard) = guard else {
            let report = replaced.as_mut().and_then(RollbackCandidate::end_guard);
            self.report_guard_end(report, "a reload without a guard has followed");
            return previous.map(RollbackCandidate::suspended);
        };
        events::reload::guard_begun(&self.name, &guard.plan().components);
        if let Some(mut baseline) = replaced.take_if(|one| one.is_guarding()) {
            baseline.guard_again(guard);
            // It owns many batches and a state: freeing it here would lengthen the pause.
            tokio::spawn(async move { drop(previous) });
            return Some(baseline);
        }
        let threads = self.guest_threads.clone();
        let Some(previous) = previous else {
            self.report_guard_end(Some(guard), "the version before does not run");
            return None;
        };
        Some(RollbackCandidate::guarded(previous, guard, threads))
    }

    /// The components whose change is guarded now.
    pub(super) fn guarded_components(&self) -> Option<String> {
        let candidate = self.rollback_candidate.as_ref().filter(|one| one.is_guarding())?;
        candidate.guard_report().map(|report| report.plan().components.clone())
    }

    /// A batch for the revision before, if it is guarding.
    pub(super) fn guarded(
        &self,
        batch: &JournaledBatch,
        lists: &[SampleList],
    ) -> Option<GuardedBatch> {
        let report = self.rollback_candidate.as_ref()?.guard_report()?.clone();
        let cpu_nanos = self.revision.as_ref()?.chain.cpu_nanos();
        Some(GuardedBatch { batch: batch.clone(), published: lists.to_vec(), cpu_nanos, report })
    }

    /// Acts on the result of a guard, if there is one.
    pub(super) async fn follow_guard(&mut self) {
        let Some(candidate) = &mut self.rollback_candidate else { return };
        let Some(report) = candidate.guard_report() else { return };
        match report.state() {
            GuardState::Comparing => {}
            GuardState::Exceeded(reason) => {
                let components = report.plan().components.clone();
                self.roll_back(&components, &reason).await;
            }
            GuardState::Passed | GuardState::Ended(_) | GuardState::RolledBack(_) => {
                let report = candidate.end_guard();
                self.report_guard_end(report, "");
            }
        }
    }

    /// Ends a guard that compares, because it cannot go on.
    pub(super) fn end_guard(&mut self, reason: &str) {
        let report = self.rollback_candidate.as_mut().and_then(RollbackCandidate::end_guard);
        self.report_guard_end(report, reason);
    }

    /// Logs the end of a guard, which has this reason if the report has no result.
    fn report_guard_end(&self, report: Option<GuardReport>, reason: &str) {
        let Some(report) = report else { return };
        report.end(reason.to_owned());
        let components = &report.plan().components;
        match report.state() {
            GuardState::Passed => events::reload::guard_passed(&self.name, components),
            GuardState::Ended(reason) => {
                events::reload::guard_ended(&self.name, components, &reason);
            }
            _ => {}
        }
        // Only an agent that is shutting down does not receive it.
        let sink = Arc::clone(&self.name);
        drop(self.sink_events.try_send(SinkEvent::GuardEnded { sink }));
    }

    /// Replaces a revision that failed, or went beyond a bound, by the rollback candidate. Returns false
    /// if there is none.
    pub(super) async fn roll_back(&mut self, component: &str, reason: &str) -> bool {
        let Some(candidate) = self.rollback_candidate.take() else { return false };
        let guard = candidate.guard_report().filter(|_| candidate.is_guarding()).cloned();
        let Some(mut restored) = candidate.into_revision().await else {
            self.report_guard_end(guard, "the state of the version before is lost");
            return false;
        };
        let Some(mut failed) = self.revision.take() else { return false };
        restored.chain.inherit_ids(&mut failed.chain);
        if let Some(guard) = &guard {
            guard.rolled_back(reason);
        }
        events::reload::rolled_back(&self.name, component, reason);
        let (failed, identities) = (failed.chain.identities(), restored.chain.identities());
        self.adopt(restored);
        self.inbox.status.send_modify(|status| status.rollbacks += 1);
        let (sink, reason) = (Arc::clone(&self.name), reason.to_owned());
        let sink_event =
            SinkEvent::RolledBack { sink, failed, restored: identities, reason, guard };
        // Only an agent that is shutting down does not receive it.
        drop(self.sink_events.try_send(sink_event));
        true
    }
}
