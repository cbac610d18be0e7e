//! Saving and restoring the states of a chain: its own states after a failure, or those of another
//! chain that it replaces.

use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use super::chain::{Chain, ChainError, RunMode, TransformerFailure};
use super::history::History;
use super::journaled_batch::JournaledBatch;
use super::shadow_feed::ShadowFeed;
use super::tally::Tally;
use super::{Identity, SampleList, State, TransformError};
use nephometer_model::Offset;
use nephometer_telemetry::events;

/// An instance that uses this part of its memory limit is replaced after a save.
const RECYCLE_PERCENT: u64 = 75;
/// Not more often than this: an instance may need that much from its start.
const RECYCLE_INTERVAL: Duration = Duration::from_secs(60);

impl Chain {
    /// Offset of the last save.
    pub(crate) fn saved_at(&self) -> Offset {
        self.history.saved_states().0
    }

    /// Offset of the last save, the states there, and the batches since: all that another chain
    /// needs to reach the same state.
    pub fn snapshot(&self) -> (Offset, Vec<Option<State>>, Vec<JournaledBatch>) {
        let (offset, states) = self.history.saved_states();
        (offset, states.to_vec(), self.history.batches())
    }

    /// Rebuilds all transformers with these states, one for each, saved at `offset`.
    ///
    /// # Errors
    /// If an instance cannot be built, or a component rejects its state.
    pub async fn restore(
        &mut self,
        offset: Offset,
        states: Vec<Option<State>>,
    ) -> Result<(), ChainError> {
        self.history = History::new(offset, states);
        self.count_states();
        self.needs_recovery = true;
        for index in 0..self.slots.len() {
            let state = self.history.state(index);
            if state.is_none() {
                continue;
            }
            if let Err(error) = self.slots[index].transformer.rebuild(state).await {
                return Err(self.chain_error(index, &error));
            }
        }
        self.needs_recovery = false;
        Ok(())
    }

    /// Processes a batch that another chain publishes, for its effect on the states. Returns the output
    /// with its ids; nothing is counted or shown.
    ///
    /// # Errors
    /// As for [`Self::process`].
    pub(crate) async fn process_silently(
        &mut self,
        journaled: JournaledBatch,
    ) -> Result<Vec<SampleList>, ChainError> {
        if self.slots.is_empty() {
            self.history = History::new(journaled.offset, Vec::new());
            return Ok(Vec::new());
        }
        self.process_with_recovery(journaled, RunMode::CatchUp).await
    }

    /// Processor time of all calls of all transformers so far, in nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        self.slots.iter().map(|slot| slot.transformer.cpu_nanos()).sum()
    }

    /// Appends a batch to the history without processing it: the next recovery does. Returns false
    /// if the history cannot hold it.
    pub(crate) fn record_unprocessed(&mut self, journaled: JournaledBatch) -> bool {
        self.needs_recovery = true;
        self.history.push(journaled) == 0
    }

    /// Saves the states if possible, and drops the instances. The next batch rebuilds them.
    pub(crate) async fn suspend(&mut self) {
        if !self.needs_recovery {
            self.save().await;
        }
        self.needs_recovery = true;
        self.slots.iter_mut().for_each(|slot| slot.transformer.discard());
    }

    /// Called after a save: drops the instances if one of them uses most of its memory. The next
    /// batch builds new ones, with the states of that save and no batch to repeat. Otherwise a
    /// component whose memory grows fails at its limit, in the middle of a batch.
    pub(super) fn recycle(&mut self) {
        if self.recycled.is_some_and(|last| last.elapsed() < RECYCLE_INTERVAL) {
            return;
        }
        for slot in &mut self.slots {
            let percent = slot.transformer.memory_percent();
            if percent >= RECYCLE_PERCENT {
                events::component::recycled(&self.sink, slot.transformer.name(), percent);
                slot.transformer.discard();
                self.needs_recovery = true;
                self.recycled = Some(Instant::now());
            }
        }
    }

    /// Takes over the assigned ids of another chain, transformer by transformer.
    pub(crate) fn inherit_ids(&mut self, other: &mut Self) {
        for (own, other) in self.slots.iter_mut().zip(&mut other.slots) {
            mem::swap(&mut own.ids, &mut other.ids);
        }
        self.observers.shadows.inherit(&mut other.observers.shadows);
    }

    /// Saves the states and attaches a shadow to the transformer `live`: it gets the state of that one,
    /// and all later batches through `feed`.
    ///
    /// # Errors
    /// If another transformer runs there, or the state cannot be saved now.
    pub(crate) async fn attach_shadow(
        &mut self,
        live: &Identity,
        feed: ShadowFeed,
    ) -> Result<Option<State>, String> {
        let index = feed.index;
        if self.slots.get(index).is_none_or(|slot| slot.transformer.identity() != *live) {
            return Err("the live component is being replaced".to_owned());
        }
        if !self.save_if_consistent().await {
            return Err("the state of the live component cannot be saved now".to_owned());
        }
        self.observers.shadows.attach(feed);
        Ok(self.history.state(index).cloned())
    }

    /// Saves unless a transformer is in the middle of a batch. Returns whether it was saved.
    pub(crate) async fn save_if_consistent(&mut self) -> bool {
        !self.needs_recovery && self.save().await
    }

    /// Saves the states of all transformers at the current offset, in memory. Returns false if one
    /// of them cannot be saved; the older save then stays that of all.
    pub async fn save(&mut self) -> bool {
        let start = Instant::now();
        let mut states = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let state = slot.transformer.save().await;
            let name = slot.transformer.name();
            let (reason, failed) = match state {
                Ok(None) => {
                    states.push(None);
                    continue;
                }
                Ok(Some(state)) => {
                    match self.budget.reserve(name, &state, self.history.saved_states().1) {
                        Ok(()) => {
                            states.push(Some(state));
                            continue;
                        }
                        Err(refusal) => (refusal, false),
                    }
                }
                Err(error) => {
                    let failed = matches!(error, TransformError::Failed { .. });
                    (error.reason().to_owned(), failed)
                }
            };
            events::component::save_failed(&self.sink, name, &reason);
            self.needs_recovery = failed;
            self.history.postpone_save();
            return false;
        }
        self.history.save(states, start.elapsed());
        true
    }

    fn count_states(&self) {
        let names = self.slots.iter().map(|slot| slot.transformer.name());
        let states = names.zip(self.history.saved_states().1);
        self.budget.count(states.filter_map(|(name, state)| Some((name, state.as_ref()?))));
    }

    /// Brings all transformers to their states after the last batch that succeeded. `next` is the
    /// batch to be processed: a transformer that it bypasses may stay without an instance.
    pub(super) async fn recover(&mut self, next: &JournaledBatch) -> Result<(), ChainError> {
        loop {
            for index in 0..self.slots.len() {
                let slot = &mut self.slots[index];
                let rebuilt = slot.transformer.rebuild(self.history.state(index)).await;
                slot.down = rebuilt.is_err();
                if let Err(error) = rebuilt
                    && next.action(index).is_none()
                {
                    let error = self.chain_error(index, &error);
                    events::component::failed(&self.sink, &error.component, &error.reason);
                    return Err(error);
                }
            }
            match self.rerun_history().await {
                Ok(batches) => {
                    self.needs_recovery = false;
                    events::component::recovered(&self.sink, batches);
                    return Ok(());
                }
                // A batch that succeeded before fails now, for example on a busy machine: start
                // over without it.
                Err((batch_index, failure)) => {
                    let error = self.report(&failure);
                    let (name, reason) = (&error.component, &error.reason);
                    events::component::state_incomplete(&self.sink, name, reason);
                    let index = failure.transformer_index;
                    self.history.skip(batch_index, index, failure.flushing);
                }
            }
        }
    }

    /// Processes all batches since the last save, without output. An error holds the index of the
    /// batch that failed.
    async fn rerun_history(&mut self) -> Result<usize, (usize, TransformerFailure)> {
        let batches = self.history.batches();
        let mut result = Ok(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            if let Err(failure) = self.run(batch, RunMode::Recovery).await {
                result = Err((index, failure));
                break;
            }
        }
        for slot in &mut self.slots {
            slot.tally = Tally::default();
        }
        result
    }
}
