//! How a chain gets to a state: its own again after a failure, or that of another chain.

use std::mem;

use tokio::time::Instant;

use super::chain::{Chain, ChainError, Failure, Run};
use super::history::History;
use super::journaled_batch::JournaledBatch;
use super::tally::Tally;
use super::{State, TransformError};
use nephometer_model::Offset;
use nephometer_telemetry::events;

impl Chain {
    /// Where the stages were saved last.
    pub(crate) fn saved_at(&self) -> Offset {
        self.history.saves().0
    }

    /// Where the stages were saved last, their states there, and the events since: all that
    /// another chain needs to get to where this one is.
    pub fn snapshot(&self) -> (Offset, Vec<Option<State>>, Vec<JournaledBatch>) {
        let (offset, states) = self.history.saves();
        (offset, states.to_vec(), self.history.events())
    }

    /// Starts from these states, one for each stage, which were saved at `offset`.
    pub async fn resume(
        &mut self,
        offset: Offset,
        states: Vec<Option<State>>,
    ) -> Result<(), ChainError> {
        self.history = History::new(offset, states);
        self.count_states();
        self.stale = true;
        for index in 0..self.slots.len() {
            let state = self.history.state(index);
            if state.is_none() {
                continue;
            }
            if let Err(error) = self.slots[index].transformer.rebuild(state).await {
                return Err(self.error(index, &error));
            }
        }
        self.stale = false;
        Ok(())
    }

    /// Runs an event that others have worked on, for what the stages remember of it.
    pub async fn replay(&mut self, event: JournaledBatch) -> Result<(), ChainError> {
        if self.slots.is_empty() {
            self.history = History::new(event.offset, Vec::new());
            return Ok(());
        }
        self.work_off(event, Run::Replay).await.map(drop)
    }

    /// Takes an event into the history without running it: the chain runs it when it is needed
    /// again. False if that is more than a history holds.
    pub(crate) fn remember(&mut self, event: JournaledBatch) -> bool {
        self.stale = true;
        self.history.push(event) == 0
    }

    /// Saves the state once more if that can be, and lets go of the instances. The chain can come
    /// back by itself with the next event.
    pub(crate) async fn retire(&mut self) {
        if !self.stale {
            self.save().await;
        }
        self.stale = true;
        self.slots.iter_mut().for_each(|slot| slot.transformer.discard());
    }

    /// Takes over what the stages of another chain have named, where they stand at the same place.
    pub(crate) fn inherit_names(&mut self, other: &mut Self) {
        for (own, other) in self.slots.iter_mut().zip(&mut other.slots) {
            mem::swap(&mut own.names, &mut other.names);
        }
    }

    /// Saves unless a stage is somewhere within an event. Whether it worked.
    pub(crate) async fn save_if_sound(&mut self) -> bool {
        !self.stale && self.save().await
    }

    /// Saves the state of all stages, at this position. Whether it worked.
    pub async fn save(&mut self) -> bool {
        let begun = Instant::now();
        let mut states = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let state = slot.transformer.save().await;
            let name = slot.transformer.name();
            let (reason, failed) = match state {
                Ok(None) => {
                    states.push(None);
                    continue;
                }
                Ok(Some(state)) => match self.total.add(name, &state, self.history.saves().1) {
                    Ok(()) => {
                        states.push(Some(state));
                        continue;
                    }
                    Err(refusal) => (refusal, false),
                },
                Err(error) => {
                    let failed = matches!(error, TransformError::Failed { .. });
                    (error.reason().to_owned(), failed)
                }
            };
            // Those before it have worked on, which is no harm: the older save stays that of all.
            events::component::save_failed(&self.sink, name, &reason);
            self.stale = failed;
            self.history.tried();
            return false;
        }
        self.history.saved(states, begun.elapsed());
        true
    }

    fn count_states(&self) {
        let names = self.slots.iter().map(|slot| slot.transformer.name());
        let states = names.zip(self.history.saves().1);
        self.total.count(states.filter_map(|(name, state)| Some((name, state.as_ref()?))));
    }

    /// Brings all stages to where they were after the last event that succeeded. `next` is the
    /// event to come: a stage that it passes over may stay down.
    pub(super) async fn recover(&mut self, next: &JournaledBatch) -> Result<(), ChainError> {
        loop {
            for index in 0..self.slots.len() {
                let slot = &mut self.slots[index];
                let built = slot.transformer.rebuild(self.history.state(index)).await;
                slot.down = built.is_err();
                if let Err(error) = built
                    && next.action(index).is_none()
                {
                    let error = self.error(index, &error);
                    events::component::failed(&self.sink, &error.component, &error.reason);
                    return Err(error);
                }
            }
            match self.run_again().await {
                Ok(events) => {
                    self.stale = false;
                    events::component::recovered(&self.sink, events);
                    return Ok(());
                }
                // What passed before fails now, such as on a busy machine: without it, once more.
                Err((offset, failure)) => {
                    let error = self.fail(&failure);
                    let (name, reason) = (&error.component, &error.reason);
                    events::component::state_incomplete(&self.sink, name, reason);
                    self.history.pass_over(offset, failure.slot, failure.flushing);
                }
            }
        }
    }

    /// Runs all events since the last save, silently.
    async fn run_again(&mut self) -> Result<usize, (usize, Failure)> {
        let events = self.history.events();
        let mut result = Ok(events.len());
        for (offset, event) in events.iter().enumerate() {
            if let Err(failure) = self.run(event, Run::Again).await {
                result = Err((offset, failure));
                break;
            }
        }
        for slot in &mut self.slots {
            slot.tally = Tally::default();
        }
        result
    }
}
