use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use thiserror::Error;

use super::history::History;
use super::ids::Names;
use super::journaled_batch::{FailureAction, JournaledBatch};
use super::tally::{Tally, absorbed};
use super::{Identity, SampleList, StateTotal, TransformError, Transformed, Transformer};
use nephometer_model::{Batch, Bound, HostId, Offset, Sample};
use nephometer_telemetry::{Account, TransformerCount, events};

/// How often an event is run before its failure is the sink's to decide on.
const TRIES: usize = 2;

/// A stage failed twice on an event, the second time on a recovered instance, or could not be
/// recovered.
#[derive(Debug, Error)]
#[error("{component} (transformer {slot} of sink {sink}) failed: {reason}")]
pub struct ChainError {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Position of the stage in the sink, from 0.
    pub slot: usize,
    /// The component's name.
    pub component: String,
    /// What happened and, for a limit, which key to change.
    pub reason: String,
    /// Whether the component did not take the state that it was to start from.
    pub state_refused: bool,
    /// What the stage was given, if it failed on that.
    pub input: Option<Arc<Batch>>,
}

/// Rows that were dropped at a stage because of a verdict.
#[derive(Debug, Clone)]
pub struct DroppedSamples {
    /// Position of the stage in the sink, from 0.
    pub slot: usize,
    /// As they came to it.
    pub samples: Vec<Sample>,
}

/// The transformers of one sink, one after the other.
///
/// What a component keeps to itself depends on everything that it has seen. So the state of all
/// stages is saved at one position, and a chain of which one stage failed starts from there: all
/// instances are made anew and run the events since, silently, with the verdicts that were given
/// on them. A chain that takes the place of another one, after a restart of the agent or beside the
/// running one, starts in the same way: [`Self::resume`], then [`Self::replay`].
pub struct Chain {
    pub(super) sink: Arc<str>,
    pub(super) slots: Vec<TransformerSlot>,
    pub(super) history: History,
    /// Some stage's state is not that after the last event of the history.
    pub(super) stale: bool,
    lost: Vec<DroppedSamples>,
    /// What the states of all chains take.
    pub(super) total: Arc<StateTotal>,
}

pub(super) struct TransformerSlot {
    pub(super) transformer: Box<dyn Transformer>,
    count: Arc<TransformerCount>,
    pub(super) names: Names,
    /// No instance could be made; only events that pass it over can be run.
    pub(super) down: bool,
    /// What the event that is being run adds to the ledger.
    pub(super) tally: Tally,
}

/// What an event is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// For its outcome.
    Live,
    /// To bring new instances to where others were: only what is named counts, so that later ids
    /// are the same.
    Replay,
    /// To bring the chain's own instances back to where they were.
    Again,
}

/// Why an event could not be run to its end.
pub(super) struct Failure {
    pub(super) slot: usize,
    reason: String,
    /// Whether it was the flush of that stage.
    pub(super) flushing: bool,
    /// What it was given; `None` at a flush.
    input: Option<Arc<Batch>>,
}

impl Chain {
    /// A chain of configured transformers with their counters, in order.
    pub fn new(
        sink: &Arc<str>,
        host_id: HostId,
        slots: Vec<(Box<dyn Transformer>, Arc<TransformerCount>)>,
    ) -> Self {
        let history = History::new(0, vec![None; slots.len()]);
        let slots = (0..).zip(slots).map(|(slot, (transformer, count))| TransformerSlot {
            transformer,
            count,
            names: Names::new(host_id, Arc::clone(sink), slot),
            down: false,
            tally: Tally::default(),
        });
        let (slots, lost) = (slots.collect(), Vec::new());
        let total = StateTotal::new(Bound::TotalStates.most());
        Self { sink: Arc::clone(sink), slots, history, stale: false, lost, total }
    }

    /// The same, where its saved states are bounded together with those of other chains.
    #[must_use]
    pub fn within(mut self, total: &Arc<StateTotal>) -> Self {
        self.total = Arc::clone(total);
        self
    }

    /// The sink's name.
    pub fn sink(&self) -> &Arc<str> {
        &self.sink
    }

    /// What its stages are, in order.
    pub fn identities(&self) -> Vec<Identity> {
        self.slots.iter().map(|slot| slot.transformer.identity()).collect()
    }

    /// What its stages have counted, by the names under which it is kept.
    pub fn accounts(&self) -> Vec<(String, Account)> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let account = |slot: &TransformerSlot| {
            let component = slot.transformer.name().to_owned();
            let nth = seen.entry(component.clone()).or_insert(0);
            let name = TransformerCount::name(&self.sink, &component, *nth);
            *nth += 1;
            (name, slot.count.account())
        };
        self.slots.iter().map(account).collect()
    }

    /// The place after the last event.
    pub fn offset(&self) -> Offset {
        self.history.offset()
    }

    /// Runs a batch and the flush of its tick through all stages. What comes out are the lists to
    /// be published, in their order: the batch's own samples, then what each stage gave at the
    /// end of the tick, run through the stages behind it; none of them is empty.
    ///
    /// A batch that failed may be given again: to try once more, or with verdicts on the stages
    /// that failed. It counts once, when it succeeds.
    pub async fn process(&mut self, event: JournaledBatch) -> Result<Vec<SampleList>, ChainError> {
        if self.slots.is_empty() {
            self.history = History::new(event.offset, Vec::new());
            let samples = SampleList::Batch(event.batch);
            return Ok(Some(samples).filter(|samples| !samples.is_empty()).into_iter().collect());
        }
        self.work_off(event, Run::Live).await
    }

    /// The same without the flush at the end of the tick: for trying a component by hand.
    pub async fn process_unflushed(
        &mut self,
        mut event: JournaledBatch,
    ) -> Result<Vec<SampleList>, ChainError> {
        event.unflushed.extend(0..self.slots.len());
        self.work_off(event, Run::Live).await
    }

    /// Runs rows from one stage on, once, and saves what they leave behind: for rows that are in no
    /// journal any more. All of it or nothing.
    ///
    /// # Errors
    /// If a stage fails, or what the rows leave behind cannot be saved: then it is undone.
    pub async fn inject(
        &mut self,
        slot: usize,
        batch: &Arc<Batch>,
    ) -> Result<Vec<Sample>, ChainError> {
        let event = JournaledBatch::new(self.offset(), batch, &[]);
        if self.stale {
            self.recover(&event).await?;
        }
        self.begin();
        let samples = match self.pass(&event, slot, Arc::clone(batch), Run::Live).await {
            Ok(samples) => samples.into_vec(),
            Err(failure) => return Err(self.fail(&failure)),
        };
        if !self.save().await {
            // The next event starts from the older save, without these rows.
            self.stale = true;
            let component = self.slots[slot].transformer.name().to_owned();
            let reason = "what the rows leave in the state cannot be saved".to_owned();
            return Err(self.error(slot, &TransformError::Failed { component, reason }));
        }
        for slot in &mut self.slots {
            slot.names.commit();
            mem::take(&mut slot.tally).count(&slot.count);
        }
        self.stale = false;
        Ok(samples)
    }

    /// What verdicts have cost since this was asked last.
    pub(crate) fn take_lost(&mut self) -> Vec<DroppedSamples> {
        mem::take(&mut self.lost)
    }

    pub(super) async fn work_off(
        &mut self,
        mut event: JournaledBatch,
        mode: Run,
    ) -> Result<Vec<SampleList>, ChainError> {
        let mut tries = 0;
        loop {
            if self.stale {
                self.recover(&event).await?;
            }
            tries += 1;
            self.begin();
            let failure = match self.run(&event, mode).await {
                Ok(lists) => {
                    self.settle(event, mode).await;
                    return Ok(lists);
                }
                Err(failure) => failure,
            };
            let error = self.fail(&failure);
            if tries < TRIES {
                continue;
            }
            if !failure.flushing {
                return Err(error);
            }
            // The stage keeps what it would have given out; the others go on without it.
            events::component::flush_failed(&self.sink, &error.component, &error.reason);
            event.unflushed.push(failure.slot);
            tries = 0;
        }
    }

    /// An event begins. Until it is settled the stages are somewhere in it, also if whoever waits
    /// for it gives up.
    fn begin(&mut self) {
        self.stale = true;
        self.lost.clear();
        for slot in &mut self.slots {
            slot.names.roll_back();
            slot.tally = Tally::default();
        }
    }

    /// Runs one event; its outcome is of use only if it is live.
    pub(super) async fn run(
        &mut self,
        event: &JournaledBatch,
        mode: Run,
    ) -> Result<Vec<SampleList>, Failure> {
        let mut lists = Vec::new();
        let batch = Arc::clone(&event.batch);
        let samples = self.pass(event, 0, batch, mode).await?;
        lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        for slot in 0..self.slots.len() {
            if event.unflushed.contains(&slot) || self.slots[slot].down {
                continue;
            }
            let held = self.flush(event, slot, mode).await?;
            if held.is_empty() {
                continue;
            }
            let batch = Batch {
                source: Arc::clone(&event.batch.source),
                cycle_start: event.batch.cycle_start,
                samples: held,
                gone: Vec::new(),
            };
            let samples = self.pass(event, slot + 1, Arc::new(batch), mode).await?;
            lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        }
        Ok(lists)
    }

    /// Runs samples through the stages from `first` on.
    async fn pass(
        &mut self,
        event: &JournaledBatch,
        first: usize,
        mut batch: Arc<Batch>,
        mode: Run,
    ) -> Result<SampleList, Failure> {
        for index in first..self.slots.len() {
            if batch.samples.is_empty() && batch.gone.is_empty() {
                break;
            }
            if let Transformed::Samples(samples) =
                self.transform(event, index, &batch, mode).await?
            {
                let Batch { source, cycle_start, gone, .. } = &*batch;
                let (source, cycle_start, gone) = (Arc::clone(source), *cycle_start, gone.clone());
                batch = Arc::new(Batch { source, cycle_start, samples, gone });
            }
        }
        Ok(SampleList::Batch(batch))
    }

    async fn transform(
        &mut self,
        event: &JournaledBatch,
        index: usize,
        batch: &Arc<Batch>,
        mode: Run,
    ) -> Result<Transformed, Failure> {
        let nothing = || Ok(Transformed::Samples(Vec::new()));
        let slot = &mut self.slots[index];
        let rows = batch.samples.len() as u64;
        let action = event.action(index).or(slot.down.then_some(FailureAction::Drop));
        slot.tally.rows_in += rows;
        match action {
            Some(FailureAction::Drop) => {
                slot.tally.failed += rows;
                if mode == Run::Live && rows > 0 {
                    self.lost.push(DroppedSamples { slot: index, samples: batch.samples.clone() });
                }
                return nothing();
            }
            Some(FailureAction::Keep) => {
                slot.tally.passed += rows;
                return Ok(Transformed::Unchanged);
            }
            None => {}
        }
        match slot.transformer.transform(batch).await {
            Ok(Transformed::Unchanged) => {
                slot.tally.passed += rows;
                Ok(Transformed::Unchanged)
            }
            Ok(Transformed::Samples(mut samples)) => {
                if mode != Run::Again {
                    slot.tally.absorbed += absorbed(&batch.samples, &samples);
                    let made = slot.names.name(&mut samples);
                    slot.tally.made += made;
                    slot.tally.passed += samples.len() as u64 - made;
                }
                Ok(Transformed::Samples(samples))
            }
            Err(TransformError::Rejected { reason, .. }) => {
                slot.tally.rejected += rows;
                if mode == Run::Live {
                    let (name, rows) = (slot.transformer.name(), batch.samples.len());
                    events::component::rejected(&self.sink, name, rows, &reason);
                }
                nothing()
            }
            Err(error) => {
                let reason = error.reason().to_owned();
                let input = Some(Arc::clone(batch));
                Err(Failure { slot: index, reason, flushing: false, input })
            }
        }
    }

    async fn flush(
        &mut self,
        event: &JournaledBatch,
        index: usize,
        mode: Run,
    ) -> Result<Vec<Sample>, Failure> {
        let slot = &mut self.slots[index];
        match slot.transformer.flush(event.batch.cycle_start).await {
            Ok(mut samples) => {
                if mode != Run::Again {
                    slot.tally.made += slot.names.name(&mut samples);
                }
                Ok(samples)
            }
            Err(TransformError::Rejected { reason, .. }) => {
                if mode == Run::Live {
                    let name = slot.transformer.name();
                    events::component::flush_failed(&self.sink, name, &reason);
                }
                Ok(Vec::new())
            }
            Err(error) => {
                let reason = error.reason().to_owned();
                Err(Failure { slot: index, reason, flushing: true, input: None })
            }
        }
    }

    pub(super) fn fail(&self, failure: &Failure) -> ChainError {
        let component = self.slots[failure.slot].transformer.name().to_owned();
        let error = TransformError::Failed { component, reason: failure.reason.clone() };
        let mut error = self.error(failure.slot, &error);
        error.input.clone_from(&failure.input);
        events::component::failed(&self.sink, &error.component, &error.reason);
        error
    }

    pub(super) fn error(&self, slot: usize, error: &TransformError) -> ChainError {
        ChainError {
            sink: Arc::clone(&self.sink),
            slot,
            component: self.slots[slot].transformer.name().to_owned(),
            reason: error.reason().to_owned(),
            state_refused: matches!(error, TransformError::State { .. }),
            input: None,
        }
    }

    /// An event succeeded: it counts, and becomes part of what a recovery runs again.
    async fn settle(&mut self, event: JournaledBatch, mode: Run) {
        for slot in &mut self.slots {
            slot.names.commit();
            let tally = mem::take(&mut slot.tally);
            if mode == Run::Live {
                tally.count(&slot.count);
            }
        }
        let forgotten = self.history.push(event);
        if forgotten > 0 {
            events::component::history_cut(&self.sink, forgotten);
        }
        // A stage that is down has no state to save, and comes back with the next event.
        self.stale = self.slots.iter().any(|slot| slot.down);
        if self.history.is_due() && !self.stale {
            self.save().await;
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
