//! What a sink does when it is asked to.

use std::sync::Arc;

use tokio::time::Instant;

use super::handle::{Command, SinkState, Takeover};
use super::revision::{ChainRevision, RollbackCandidate, Snapshot};
use super::sink::Sink;
use crate::transform::{SampleList, Window};
use nephometer_model::{Batch, Moment, Sample};
use nephometer_telemetry::events;

impl Sink {
    /// Between two batches, or while one is held.
    pub(super) async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Snapshot { follow, reply } => {
                if follow {
                    self.catch_up_log = Some(Window::default());
                }
                let snapshot = match &self.revision {
                    Some(revision) => Snapshot::running(&revision.chain),
                    None => self.snapshot.clone(),
                };
                // Whoever asked has gone: nothing was changed for it that matters.
                drop(reply.send(snapshot));
            }
            Command::Takeover { revision, finish, reply } => {
                let answer = self.take_over(revision, finish).await;
                drop(reply.send(answer));
            }
            Command::Abandon => self.catch_up_log = None,
            Command::Publishers(change) => self.outlet.change(change),
            Command::Inject { slot, samples, reply } => {
                drop(reply.send(self.inject(slot, samples).await));
            }
            Command::Hold { reason } => {
                if self.revision.is_none() {
                    self.wait_for_transformers(&reason);
                }
            }
            Command::End => {
                self.ending = true;
                self.ended = self.revision.is_none();
            }
        }
    }

    fn is_failing(&self) -> bool {
        self.inbox.status.borrow().state != SinkState::Running
    }

    /// At the head of what was worked on, a generation that is there too takes over.
    async fn take_over(&mut self, mut revision: Box<ChainRevision>, finish: bool) -> Takeover {
        let begun = Instant::now();
        // Without it, something has happened that the base did not know, or too much.
        let Some(catch_up_log) = &self.catch_up_log else { return Takeover::Stale(revision) };
        if revision.chain.offset() < self.offset {
            let at = revision.chain.offset();
            let since =
                catch_up_log.events().iter().filter(|event| event.offset() > at).cloned().collect();
            if !finish {
                return Takeover::Behind(revision, since);
            }
            if let Err(error) = revision.follow(since).await {
                return Takeover::Failed(error.to_string());
            }
        }
        let over = (self.catch_up_log.take(), self.rollback_candidate.take());
        // One that fails is nothing to come back to.
        let comes_back = !self.is_failing();
        let mut revision = *revision;
        let mut before = self.revision.take();
        if let Some(before) = &mut before {
            revision.chain.inherit_names(&mut before.chain);
        }
        self.adopt(revision);
        self.inbox.status.send_modify(|status| status.reloads += 1);
        let pause = begun.elapsed();
        events::reload::took_over(&self.name, self.offset, pause);
        if comes_back {
            self.rollback_candidate = before.take().map(RollbackCandidate::new);
        }
        // Many batches and a state hang on these: freeing them would be a pause of its own.
        tokio::spawn(async move { drop((over, before)) });
        Takeover::Done(pause)
    }

    /// Rows that were set aside go on where they stopped. What they leave in the transformers is
    /// saved at once, because the journal does not know them.
    async fn inject(&mut self, slot: usize, samples: Vec<Sample>) -> Result<usize, String> {
        let Some(revision) = &mut self.revision else {
            return Err("the sink waits for its transformers".to_owned());
        };
        let cycle_start = samples.iter().map(|sample| sample.taken.wall).max().unwrap_or_default();
        let cycle_start = Moment { wall: cycle_start, ..Moment::default() };
        let batch = Batch { source: "dead-letters".into(), cycle_start, samples, gone: Vec::new() };
        let batch = Arc::new(batch);
        let made = revision.chain.inject(slot, &batch).await.map_err(|e| e.to_string())?;
        // To the disk as well, as soon as what it made is there: no journal can bring it back.
        self.pending = Some(revision.to_save());
        let count = made.len();
        self.emit(self.offset, &batch, vec![SampleList::Own(made)]).await;
        // The generation before has not seen them, nor has one that is on its way.
        self.rollback_candidate = None;
        self.catch_up_log = None;
        Ok(count)
    }
}
