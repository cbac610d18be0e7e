//! The transformers of one sink, run one after the other.
//!
//! The chain assigns ids to new samples, counts every sample, and keeps the history that a recovery
//! needs (`recovery.rs`). It never decides to drop samples: failure actions come with the batch.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::Instant;

use super::history::History;
use super::journaled_batch::{DroppedSamples, FailureAction, JournaledBatch};
use super::observers::Observers;
use super::sample_ids::SampleIds;
use super::tally::{Tally, absorbed};
use super::{Identity, SampleList, StateBudget, TransformError, Transformed, Transformer};
use crate::taps::{PassOutcome, Passage, TapPoint, Taps};
use nephometer_model::{Batch, Bound, HostId, Offset, Sample};
use nephometer_telemetry::{Account, TransformerCount, events};

/// Attempts to process a batch before its failure is returned to the sink.
const ATTEMPTS: usize = 2;

/// A transformer failed twice on a batch, the second time on a recovered instance, or its instance
/// could not be recovered.
#[derive(Debug, Error)]
#[error("{component} (transformer {transformer_index} of sink {sink}) failed: {reason}")]
pub struct ChainError {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Index of the transformer in the sink, from 0.
    pub transformer_index: usize,
    /// The component's name.
    pub component: String,
    /// The failure and, for a limit, the configuration key to change.
    pub reason: String,
    /// Whether the component rejected the state that it was to start from.
    pub state_refused: bool,
    /// The input that the transformer failed on, if it failed on input.
    pub input: Option<Arc<Batch>>,
}

/// The transformers of one sink, one after the other.
///
/// The state of a component depends on everything that it has processed. Therefore the states of
/// all transformers are saved at one offset, and a chain in which one transformer failed restarts
/// from there: all instances are rebuilt and process the batches since, without output, with the
/// failure actions that applied to them. A chain that replaces another one, after a restart of the
/// agent or beside the running chain, starts the same way: [`Self::restore`], then
/// [`Self::process_silently`].
pub struct Chain {
    pub(super) sink: Arc<str>,
    pub(super) slots: Vec<TransformerSlot>,
    pub(super) history: History,
    /// Whether the state of some transformer differs from that after the last batch of the history.
    pub(super) needs_recovery: bool,
    dropped: Vec<DroppedSamples>,
    /// When an instance was last replaced because of its memory.
    pub(super) recycled: Option<Instant>,
    /// Bounds the saved states of all chains.
    pub(super) budget: Arc<StateBudget>,
    pub(super) observers: Observers,
}

/// A transformer of the chain with its counters.
pub(super) struct TransformerSlot {
    pub(super) transformer: Box<dyn Transformer>,
    count: Arc<TransformerCount>,
    pub(super) ids: SampleIds,
    /// No instance could be built; only batches that bypass the transformer can be processed.
    pub(super) down: bool,
    /// What the current batch adds to the ledger.
    pub(super) tally: Tally,
}

/// The purpose of processing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunMode {
    /// For its output. It is counted.
    Live,
    /// To bring new instances to the state of others. Only ids are assigned, so that later ids are
    /// the same.
    CatchUp,
    /// To bring the chain's own instances back to their state. Ids are assigned already.
    Recovery,
}

/// Why a batch could not be processed.
pub(super) struct TransformerFailure {
    pub(super) transformer_index: usize,
    reason: String,
    /// Whether the flush failed.
    pub(super) flushing: bool,
    /// The transformer's input; `None` for a flush.
    input: Option<Arc<Batch>>,
}

impl Chain {
    /// A chain of configured transformers with their counters, in order.
    pub fn new(
        sink: &Arc<str>,
        host_id: HostId,
        transformers: Vec<(Box<dyn Transformer>, Arc<TransformerCount>)>,
    ) -> Self {
        let history = History::new(0, vec![None; transformers.len()]);
        let slot = |(index, (transformer, count))| TransformerSlot {
            transformer,
            count,
            ids: SampleIds::new(host_id, Arc::clone(sink), index),
            down: false,
            tally: Tally::default(),
        };
        let slots = (0..).zip(transformers).map(slot).collect();
        let (sink, dropped) = (Arc::clone(sink), Vec::new());
        let budget = StateBudget::new(Bound::TotalStates.most());
        let (needs_recovery, recycled, observers) = (false, None, Observers::default());
        Self { sink, slots, history, needs_recovery, dropped, recycled, budget, observers }
    }

    /// Shows its samples to these taps.
    #[must_use]
    pub fn with_taps(mut self, taps: &Taps) -> Self {
        self.observers.taps = taps.clone();
        self
    }

    /// Bounds the saved states together with those of other chains.
    #[must_use]
    pub fn with_state_budget(mut self, budget: &Arc<StateBudget>) -> Self {
        self.budget = Arc::clone(budget);
        self
    }

    /// The sink's name.
    pub fn sink(&self) -> &Arc<str> {
        &self.sink
    }

    /// The identities of the transformers, in order.
    pub fn identities(&self) -> Vec<Identity> {
        self.slots.iter().map(|slot| slot.transformer.identity()).collect()
    }

    /// The counters of the transformers, by the names under which they are stored.
    pub fn accounts(&self) -> Vec<(String, Account)> {
        let mut uses: HashMap<String, usize> = HashMap::new();
        let account = |slot: &TransformerSlot| {
            let component = slot.transformer.name().to_owned();
            let nth = uses.entry(component.clone()).or_insert(0);
            let name = TransformerCount::name(&self.sink, &component, *nth);
            *nth += 1;
            (name, slot.count.account())
        };
        self.slots.iter().map(account).collect()
    }

    /// Offset of the last batch.
    pub fn offset(&self) -> Offset {
        self.history.offset()
    }

    /// Processes a batch: transforms its samples, then flushes all transformers. Returns the output
    /// as lists, none of them empty: the batch's own samples, then for each transformer its flushed
    /// samples, transformed by those behind it.
    ///
    /// A batch that failed may be processed again, as it is or with failure actions. It is counted
    /// once, when it succeeds.
    ///
    /// # Errors
    /// If a transformer fails twice, or its instance cannot be recovered.
    pub async fn process(
        &mut self,
        journaled: JournaledBatch,
    ) -> Result<Vec<SampleList>, ChainError> {
        if self.slots.is_empty() {
            self.history = History::new(journaled.offset, Vec::new());
            self.note(RunMode::Live, TapPoint::Before, PassOutcome::Transformed, &journaled.batch);
            self.observers.show();
            let samples = SampleList::Batch(journaled.batch);
            return Ok(Some(samples).filter(|samples| !samples.is_empty()).into_iter().collect());
        }
        self.process_with_recovery(journaled, RunMode::Live).await
    }

    /// The same without the flush: for trying a component by hand.
    ///
    /// # Errors
    /// As for [`Self::process`].
    pub async fn process_without_flush(
        &mut self,
        mut journaled: JournaledBatch,
    ) -> Result<Vec<SampleList>, ChainError> {
        journaled.unflushed.extend(0..self.slots.len());
        self.process_with_recovery(journaled, RunMode::Live).await
    }

    /// Processes samples that are not in the journal, from one transformer on, and saves the
    /// states.
    ///
    /// # Errors
    /// If a transformer fails, or a state cannot be saved: then it has no effect.
    pub async fn inject(
        &mut self,
        transformer_index: usize,
        batch: &Arc<Batch>,
    ) -> Result<Vec<Sample>, ChainError> {
        let journaled = JournaledBatch::new(self.offset(), batch, &[]);
        if self.needs_recovery {
            self.recover(&journaled).await?;
        }
        self.begin();
        let input = Arc::clone(batch);
        let run = self.run_from(&journaled, transformer_index, input, RunMode::Live);
        let samples = match run.await {
            Ok(samples) => samples.into_vec(),
            Err(failure) => return Err(self.report(&failure)),
        };
        if !self.save().await {
            // The next batch restarts from the older save, without these samples.
            self.needs_recovery = true;
            let component = self.slots[transformer_index].transformer.name().to_owned();
            let reason = "the state after the injected samples cannot be saved".to_owned();
            let error = TransformError::Failed { component, reason };
            return Err(self.chain_error(transformer_index, &error));
        }
        for slot in &mut self.slots {
            slot.ids.commit();
            mem::take(&mut slot.tally).add_to(&slot.count);
        }
        self.observers.show_injected();
        self.needs_recovery = false;
        Ok(samples)
    }

    /// Returns the samples that failure actions dropped in the last batch, once.
    pub(crate) fn take_dropped(&mut self) -> Vec<DroppedSamples> {
        mem::take(&mut self.dropped)
    }

    pub(super) async fn process_with_recovery(
        &mut self,
        mut journaled: JournaledBatch,
        mode: RunMode,
    ) -> Result<Vec<SampleList>, ChainError> {
        let mut attempts = 0;
        loop {
            if self.needs_recovery {
                self.recover(&journaled).await?;
            }
            attempts += 1;
            self.begin();
            let failure = match self.run(&journaled, mode).await {
                Ok(lists) => {
                    self.commit(journaled, mode).await;
                    return Ok(lists);
                }
                Err(failure) => failure,
            };
            let error = self.report(&failure);
            if attempts < ATTEMPTS {
                continue;
            }
            if !failure.flushing {
                return Err(error);
            }
            // The transformer keeps what it has buffered; the others go on without it.
            events::component::flush_failed(&self.sink, &error.component, &error.reason);
            journaled.unflushed.push(failure.transformer_index);
            attempts = 0;
        }
    }

    /// Begins a batch. Until it is committed the transformers are in the middle of it, also if the
    /// caller is dropped.
    fn begin(&mut self) {
        self.needs_recovery = true;
        self.dropped.clear();
        self.observers.begin();
        for slot in &mut self.slots {
            slot.ids.roll_back();
            slot.tally = Tally::default();
        }
    }

    /// Processes one batch once. In [`RunMode::Recovery`] the output has no ids.
    pub(super) async fn run(
        &mut self,
        journaled: &JournaledBatch,
        mode: RunMode,
    ) -> Result<Vec<SampleList>, TransformerFailure> {
        let mut lists = Vec::new();
        let batch = Arc::clone(&journaled.batch);
        self.note(mode, TapPoint::Before, PassOutcome::Transformed, &batch);
        let samples = self.run_from(journaled, 0, batch, mode).await?;
        lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        for index in 0..self.slots.len() {
            if journaled.unflushed.contains(&index) || self.slots[index].down {
                continue;
            }
            let flushed = self.flush(journaled, index, mode).await?;
            if flushed.is_empty() {
                continue;
            }
            let batch = Batch {
                source: Arc::clone(&journaled.batch.source),
                cycle_start: journaled.batch.cycle_start,
                samples: flushed,
                removed: Vec::new(),
            };
            let batch = Arc::new(batch);
            self.note(mode, TapPoint::After(index), PassOutcome::Flushed, &batch);
            let samples = self.run_from(journaled, index + 1, batch, mode).await?;
            lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        }
        Ok(lists)
    }

    /// Runs samples through the transformers from `first` on.
    async fn run_from(
        &mut self,
        journaled: &JournaledBatch,
        first: usize,
        mut batch: Arc<Batch>,
        mode: RunMode,
    ) -> Result<SampleList, TransformerFailure> {
        for index in first..self.slots.len() {
            if batch.samples.is_empty() && batch.removed.is_empty() {
                break;
            }
            let (transformed, outcome) = self.transform(journaled, index, &batch, mode).await?;
            if let Transformed::Samples(samples) = transformed {
                let Batch { source, cycle_start, removed, .. } = &*batch;
                let (source, cycle_start, removed) =
                    (Arc::clone(source), *cycle_start, removed.clone());
                batch = Arc::new(Batch { source, cycle_start, samples, removed });
            }
            self.note(mode, TapPoint::After(index), outcome, &batch);
        }
        Ok(SampleList::Batch(batch))
    }

    async fn transform(
        &mut self,
        journaled: &JournaledBatch,
        index: usize,
        batch: &Arc<Batch>,
        mode: RunMode,
    ) -> Result<(Transformed, PassOutcome), TransformerFailure> {
        let nothing = |outcome| Ok((Transformed::Samples(Vec::new()), outcome));
        let slot = &mut self.slots[index];
        let count = batch.samples.len() as u64;
        let action = journaled.action(index).or(slot.down.then_some(FailureAction::Drop));
        slot.tally.samples_in += count;
        match action {
            Some(FailureAction::Drop) => {
                slot.tally.failed += count;
                if mode == RunMode::Live && count > 0 {
                    let samples = batch.samples.clone();
                    self.dropped.push(DroppedSamples { transformer_index: index, samples });
                }
                return nothing(PassOutcome::Dropped);
            }
            Some(FailureAction::Keep) => {
                slot.tally.passed += count;
                return Ok((Transformed::Unchanged, PassOutcome::Kept));
            }
            None => {}
        }
        match slot.transformer.transform(batch).await {
            Ok(Transformed::Unchanged) => {
                slot.tally.passed += count;
                Ok((Transformed::Unchanged, PassOutcome::Transformed))
            }
            Ok(Transformed::Samples(mut samples)) => {
                if mode != RunMode::Recovery {
                    slot.tally.absorbed += absorbed(&batch.samples, &samples);
                    let created = slot.ids.assign(&mut samples);
                    slot.tally.created += created;
                    slot.tally.passed += samples.len() as u64 - created;
                }
                Ok((Transformed::Samples(samples), PassOutcome::Transformed))
            }
            Err(TransformError::Rejected { reason, .. }) => {
                slot.tally.rejected += count;
                if mode == RunMode::Live {
                    let (name, count) = (slot.transformer.name(), batch.samples.len());
                    events::component::samples_rejected(&self.sink, name, count, &reason);
                }
                nothing(PassOutcome::Rejected(reason))
            }
            Err(error) => {
                let reason = error.reason().to_owned();
                let input = Some(Arc::clone(batch));
                Err(TransformerFailure { transformer_index: index, reason, flushing: false, input })
            }
        }
    }

    async fn flush(
        &mut self,
        journaled: &JournaledBatch,
        index: usize,
        mode: RunMode,
    ) -> Result<Vec<Sample>, TransformerFailure> {
        let slot = &mut self.slots[index];
        match slot.transformer.flush(journaled.batch.cycle_start).await {
            Ok(mut samples) => {
                if mode != RunMode::Recovery {
                    slot.tally.created += slot.ids.assign(&mut samples);
                }
                Ok(samples)
            }
            Err(TransformError::Rejected { reason, .. }) => {
                if mode == RunMode::Live {
                    let name = slot.transformer.name();
                    events::component::flush_failed(&self.sink, name, &reason);
                }
                Ok(Vec::new())
            }
            Err(error) => {
                let (reason, input) = (error.reason().to_owned(), None);
                Err(TransformerFailure { transformer_index: index, reason, flushing: true, input })
            }
        }
    }

    /// Logs a failure and turns it into an error of the chain.
    pub(super) fn report(&self, failure: &TransformerFailure) -> ChainError {
        let index = failure.transformer_index;
        let component = self.slots[index].transformer.name().to_owned();
        let error = TransformError::Failed { component, reason: failure.reason.clone() };
        let mut error = self.chain_error(index, &error);
        error.input.clone_from(&failure.input);
        events::component::failed(&self.sink, &error.component, &error.reason);
        error
    }

    pub(super) fn chain_error(&self, index: usize, error: &TransformError) -> ChainError {
        ChainError {
            sink: Arc::clone(&self.sink),
            transformer_index: index,
            component: self.slots[index].transformer.name().to_owned(),
            reason: error.reason().to_owned(),
            state_refused: matches!(error, TransformError::State { .. }),
            input: None,
        }
    }

    /// Notes what a batch has become at a point. It is shown when the whole batch has succeeded: a
    /// failed attempt is repeated.
    fn note(&mut self, mode: RunMode, point: TapPoint, outcome: PassOutcome, batch: &Arc<Batch>) {
        if mode != RunMode::Live {
            return;
        }
        let (component, next) = match point {
            TapPoint::After(index) => {
                (Some(self.slots[index].transformer.name().into()), index + 1)
            }
            TapPoint::Source | TapPoint::Before => (None, 0),
        };
        let (sink, is_output) = (Some(Arc::clone(&self.sink)), next == self.slots.len());
        let batch = Arc::clone(batch);
        self.observers.note(Passage { point, sink, component, outcome, is_output, batch });
    }

    /// Counts a batch that succeeded, and appends it to the history.
    async fn commit(&mut self, journaled: JournaledBatch, mode: RunMode) {
        for slot in &mut self.slots {
            slot.ids.commit();
            let tally = mem::take(&mut slot.tally);
            if mode == RunMode::Live {
                tally.add_to(&slot.count);
            }
        }
        if mode == RunMode::Live {
            self.observers.show_flushed(&journaled, |index| self.slots[index].down);
        }
        let forgotten = self.history.push(journaled);
        if forgotten > 0 {
            events::component::recovery_history_truncated(&self.sink, forgotten);
        }
        // A transformer without an instance has no state to save; the next batch rebuilds it.
        self.needs_recovery = self.slots.iter().any(|slot| slot.down);
        if self.history.is_due() && !self.needs_recovery && self.save().await {
            self.recycle();
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
