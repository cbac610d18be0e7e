//! Commands of [`SinkHandle`](super::SinkHandle), handled in the task of the sink: snapshots,
//! takeovers, changed publishers and injected samples.

use std::sync::Arc;

use tokio::time::Instant;

use super::guard_report::GuardReport;
use super::handle::{Command, SinkState, Takeover};
use super::revision::{ChainRevision, Snapshot};
use super::sink::Sink;
use crate::transform::{BatchLog, SampleList};
use nephometer_model::{Batch, Moment, Sample};
use nephometer_store::Persistence;
use nephometer_telemetry::events;

impl Sink {
    /// Called between two batches, or while one is pending.
    pub(super) async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Snapshot { start_log, reply } => {
                if start_log {
                    self.catch_up_log = Some(BatchLog::default());
                }
                let snapshot = match &self.revision {
                    Some(revision) => Snapshot::running(&revision.chain),
                    None => self.snapshot.clone(),
                };
                // A requester that is gone left nothing to undo: the log is bounded.
                drop(reply.send(snapshot));
            }
            Command::Takeover { revision, finish, guard, reply } => {
                let outcome = self.take_over(revision, finish, guard).await;
                drop(reply.send(outcome));
            }
            Command::AbandonTakeover => self.catch_up_log = None,
            Command::Publishers(change) => {
                // The envelopes of a removed publisher are not written later.
                self.write_pending().await;
                self.fanout.change(change);
            }
            Command::AttachShadow { live, feed, reply } => {
                let attached = match &mut self.revision {
                    Some(revision) => revision.chain.attach_shadow(&live, feed).await,
                    None => Err("the sink has no transformers yet".to_owned()),
                };
                // A shadow that is gone left a queue that the chain drops.
                drop(reply.send(attached));
            }
            Command::Inject { transformer_index, samples, reply } => {
                drop(reply.send(self.inject(transformer_index, samples).await));
            }
            Command::RollBack { reason } => {
                if let Some(components) = self.guarded_components() {
                    self.roll_back(&components, &reason).await;
                }
            }
            Command::Hold { reason } => {
                if self.revision.is_none() {
                    self.wait_for_transformers(&reason);
                }
            }
            Command::ShutDown => {
                self.ending = true;
                self.ended = self.revision.is_none();
            }
        }
    }

    fn is_failing(&self) -> bool {
        self.inbox.status.borrow().state != SinkState::Running
    }

    /// Replaces the running revision by one that has processed the same batches.
    async fn take_over(
        &mut self,
        mut revision: Box<ChainRevision>,
        finish: bool,
        guard: Option<GuardReport>,
    ) -> Takeover {
        let start = Instant::now();
        // The log is dropped when it exceeds its bounds, and when the state changes without a
        // batch.
        let Some(catch_up_log) = &self.catch_up_log else { return Takeover::Stale(revision) };
        let offset = revision.chain.offset();
        if offset < self.offset {
            let logged = catch_up_log.batches().iter();
            let missing = logged.filter(|batch| batch.offset() > offset).cloned().collect();
            if !finish {
                return Takeover::Behind(revision, missing);
            }
            if let Err(error) = revision.process_missing(missing).await {
                return Takeover::Failed(error.to_string());
            }
        }
        let mut replaced = (self.catch_up_log.take(), self.rollback_candidate.take());
        // A failing revision is no rollback candidate.
        let keep_previous = !self.is_failing();
        let mut revision = *revision;
        let mut previous = self.revision.take();
        if let Some(previous) = &mut previous {
            revision.chain.inherit_ids(&mut previous.chain);
        }
        self.adopt(revision);
        self.inbox.status.send_modify(|status| status.reloads += 1);
        let pause = start.elapsed();
        events::reload::transformers_replaced(&self.name, self.offset, pause);
        let candidate = previous.take_if(|_| keep_previous);
        let candidate = self.candidate(candidate, guard, &mut replaced.1);
        self.rollback_candidate = candidate;
        // These own many batches and a state: freeing them here would lengthen the pause.
        tokio::spawn(async move { drop((replaced, previous)) });
        Takeover::Done(pause)
    }

    /// Runs samples of a dead letter from the transformer on that failed on them. The resulting
    /// state is saved at once, because these samples are not in the journal.
    async fn inject(
        &mut self,
        transformer_index: usize,
        samples: Vec<Sample>,
    ) -> Result<usize, String> {
        let Some(revision) = &mut self.revision else {
            return Err("the sink has no transformers yet".to_owned());
        };
        let cycle_start = samples.iter().map(|sample| sample.taken.wall).max().unwrap_or_default();
        let cycle_start = Moment { wall: cycle_start, ..Moment::default() };
        let batch =
            Batch { source: "dead-letters".into(), cycle_start, samples, removed: Vec::new() };
        let batch = Arc::new(batch);
        let injected = revision.chain.inject(transformer_index, &batch).await;
        let output = injected.map_err(|error| error.to_string())?;
        // Written to disk as soon as the output is persisted: no journal can restore it.
        self.pending_save = Some(revision.to_save());
        let count = output.len();
        let output = vec![SampleList::Own(output)];
        self.publish(self.offset, &batch, output, Persistence::AtOnce).await;
        // Neither the rollback candidate nor a revision that is catching up has seen these samples.
        self.end_guard("a dead letter was retried, which the version before has not seen");
        self.rollback_candidate = None;
        self.catch_up_log = None;
        Ok(count)
    }
}
