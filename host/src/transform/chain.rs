use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use super::history::{Event, History};
use super::ids::Names;
use super::{TransformError, Transformer};
use crate::model::{Batch, HostGeneration, Sample};
use crate::telemetry::{Dropped, StageCount, events};

/// How often an event is run before its failure is the sink's to decide on.
const TRIES: usize = 2;

/// What is to be done with the rows that a stage failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They are lost, and counted.
    Drop,
    /// They pass that stage as they are.
    Keep,
}

/// A decision on one stage for one event. It is part of the event from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Position of the stage in the sink, from 0.
    pub stage: usize,
    /// What becomes of the rows that come to it.
    pub decision: Decision,
}

/// A stage failed twice on an event, the second time on a recovered instance, or could not be
/// recovered.
#[derive(Debug, Error)]
#[error("{component} (transformer {stage} of sink {sink}) failed: {reason}")]
pub struct ChainError {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Position of the stage in the sink, from 0.
    pub stage: usize,
    /// The component's name.
    pub component: String,
    /// What happened and, for a limit, which key to change.
    pub reason: String,
}

/// The transformers of one sink, one after the other.
///
/// What a component keeps to itself depends on everything that it has seen. So the state of all
/// stages is saved at one position, and a chain of which one stage failed starts from there: all
/// instances are made anew and run the events since, silently, with the verdicts that were given
/// on them.
pub struct Chain {
    sink: Arc<str>,
    stages: Vec<Stage>,
    history: History,
    /// Some stage's state is not that after the last event of the history.
    stale: bool,
}

struct Stage {
    transformer: Box<dyn Transformer>,
    count: Arc<StageCount>,
    names: Names,
    /// No instance could be made; only events that pass it over can be run.
    down: bool,
    /// What the event that is being run adds to the ledger.
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    rows_in: u64,
    passed: u64,
    rejected: u64,
    failed: u64,
    made: u64,
}

/// Why an event could not be run to its end.
struct Failure {
    stage: usize,
    reason: String,
    /// Whether it was the flush of that stage.
    flushing: bool,
}

impl Chain {
    /// A chain of configured transformers with their counters, in order.
    pub fn new(
        sink: &Arc<str>,
        generation: HostGeneration,
        stages: Vec<(Box<dyn Transformer>, Arc<StageCount>)>,
    ) -> Self {
        let history = History::new(stages.len());
        let stages = (0..).zip(stages).map(|(stage, (transformer, count))| Stage {
            transformer,
            count,
            names: Names::new(generation, Arc::clone(sink), stage),
            down: false,
            tally: Tally::default(),
        });
        Self { sink: Arc::clone(sink), stages: stages.collect(), history, stale: false }
    }

    /// Runs a batch and the flush of its tick through all stages. What comes out are the lists to
    /// be published, in their order: the batch's own samples, then what each stage gave at the
    /// end of the tick, run through the stages behind it; none of them is empty.
    ///
    /// A batch that failed may be given again: to try once more, or with `verdicts` on the stages
    /// that failed. It counts once, when it succeeds.
    pub async fn process(
        &mut self,
        batch: &Arc<Batch>,
        verdicts: &[Verdict],
    ) -> Result<Vec<Vec<Sample>>, ChainError> {
        if self.stages.is_empty() {
            let samples = Some(batch.samples.clone()).filter(|samples| !samples.is_empty());
            return Ok(samples.into_iter().collect());
        }
        self.work_off(Event::new(batch, verdicts)).await
    }

    /// The same without the flush at the end of the tick: for trying a component by hand.
    pub async fn process_unflushed(
        &mut self,
        batch: &Arc<Batch>,
    ) -> Result<Vec<Vec<Sample>>, ChainError> {
        let mut event = Event::new(batch, &[]);
        event.unflushed.extend(0..self.stages.len());
        self.work_off(event).await
    }

    async fn work_off(&mut self, mut event: Event) -> Result<Vec<Vec<Sample>>, ChainError> {
        let mut tries = 0;
        loop {
            if self.stale {
                self.recover(&event).await?;
            }
            tries += 1;
            self.begin();
            let failure = match self.run(&event, true).await {
                Ok(lists) => {
                    self.settle(event).await;
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
            event.unflushed.push(failure.stage);
            tries = 0;
        }
    }

    /// An event begins. Until it is settled the stages are somewhere in it, also if whoever waits
    /// for it gives up.
    fn begin(&mut self) {
        self.stale = true;
        for stage in &mut self.stages {
            stage.names.roll_back();
            stage.tally = Tally::default();
        }
    }

    /// Runs one event. Without `live` its outcome is thrown away, and ids are not given.
    async fn run(&mut self, event: &Event, live: bool) -> Result<Vec<Vec<Sample>>, Failure> {
        let mut lists = Vec::new();
        let batch = Arc::clone(&event.batch);
        let samples = self.pass(event, 0, batch, live).await?;
        lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        for stage in 0..self.stages.len() {
            if event.unflushed.contains(&stage) || self.stages[stage].down {
                continue;
            }
            let held = self.flush(event, stage, live).await?;
            if held.is_empty() {
                continue;
            }
            let batch = Batch {
                source: Arc::clone(&event.batch.source),
                tick: event.batch.tick,
                samples: held,
                gone: Vec::new(),
            };
            let samples = self.pass(event, stage + 1, Arc::new(batch), live).await?;
            lists.extend(Some(samples).filter(|samples| !samples.is_empty()));
        }
        Ok(lists)
    }

    /// Runs samples through the stages from `first` on.
    async fn pass(
        &mut self,
        event: &Event,
        first: usize,
        mut batch: Arc<Batch>,
        live: bool,
    ) -> Result<Vec<Sample>, Failure> {
        for index in first..self.stages.len() {
            if batch.samples.is_empty() && batch.gone.is_empty() {
                return Ok(Vec::new());
            }
            let samples = self.transform(event, index, &batch, live).await?;
            let Batch { source, tick, gone, .. } = &*batch;
            let (source, tick, gone) = (Arc::clone(source), *tick, gone.clone());
            batch = Arc::new(Batch { source, tick, samples, gone });
        }
        Ok(Arc::try_unwrap(batch).map_or_else(|shared| shared.samples.clone(), |own| own.samples))
    }

    async fn transform(
        &mut self,
        event: &Event,
        index: usize,
        batch: &Arc<Batch>,
        live: bool,
    ) -> Result<Vec<Sample>, Failure> {
        let stage = &mut self.stages[index];
        let rows = batch.samples.len() as u64;
        let decision = event.decision(index).or(stage.down.then_some(Decision::Drop));
        stage.tally.rows_in += rows;
        match decision {
            Some(Decision::Drop) => {
                stage.tally.failed += rows;
                return Ok(Vec::new());
            }
            Some(Decision::Keep) => {
                stage.tally.passed += rows;
                return Ok(batch.samples.clone());
            }
            None => {}
        }
        match stage.transformer.transform(batch).await {
            Ok(mut samples) => {
                if live {
                    let made = stage.names.name(&mut samples);
                    stage.tally.made += made;
                    stage.tally.passed += samples.len() as u64 - made;
                }
                Ok(samples)
            }
            Err(TransformError::Rejected { reason, .. }) => {
                stage.tally.rejected += rows;
                if live {
                    let (name, rows) = (stage.transformer.name(), batch.samples.len());
                    events::component::rejected(&self.sink, name, rows, &reason);
                }
                Ok(Vec::new())
            }
            Err(TransformError::Failed { reason, .. }) => {
                Err(Failure { stage: index, reason, flushing: false })
            }
        }
    }

    async fn flush(
        &mut self,
        event: &Event,
        index: usize,
        live: bool,
    ) -> Result<Vec<Sample>, Failure> {
        let stage = &mut self.stages[index];
        match stage.transformer.flush(event.batch.tick).await {
            Ok(mut samples) => {
                if live {
                    stage.tally.made += stage.names.name(&mut samples);
                }
                Ok(samples)
            }
            Err(TransformError::Rejected { reason, .. }) => {
                if live {
                    let name = stage.transformer.name();
                    events::component::flush_failed(&self.sink, name, &reason);
                }
                Ok(Vec::new())
            }
            Err(TransformError::Failed { reason, .. }) => {
                Err(Failure { stage: index, reason, flushing: true })
            }
        }
    }

    fn fail(&self, failure: &Failure) -> ChainError {
        let error = self.error(failure.stage, &failure.reason);
        events::component::failed(&self.sink, &error.component, &error.reason);
        error
    }

    fn error(&self, stage: usize, reason: &str) -> ChainError {
        let component = self.stages[stage].transformer.name().to_owned();
        ChainError { sink: Arc::clone(&self.sink), stage, component, reason: reason.to_owned() }
    }

    /// An event succeeded: it counts, and becomes part of what a recovery runs again.
    async fn settle(&mut self, event: Event) {
        for stage in &mut self.stages {
            stage.names.commit();
            mem::take(&mut stage.tally).count(&stage.count);
        }
        let forgotten = self.history.push(event);
        if forgotten > 0 {
            events::component::history_cut(&self.sink, forgotten);
        }
        // A stage that is down has no state to save, and comes back with the next event.
        self.stale = self.stages.iter().any(|stage| stage.down);
        if self.history.is_due() && !self.stale {
            self.save().await;
        }
    }

    /// Saves the state of all stages, at this position.
    async fn save(&mut self) {
        let mut states = Vec::with_capacity(self.stages.len());
        for stage in &mut self.stages {
            match stage.transformer.save().await {
                Ok(state) => states.push(state),
                Err(error) => {
                    let name = stage.transformer.name();
                    events::component::save_failed(&self.sink, name, error.reason());
                    self.stale = matches!(error, TransformError::Failed { .. });
                    self.history.not_saved();
                    return;
                }
            }
        }
        self.history.saved(states);
    }

    /// Brings all stages to where they were after the last event that succeeded. `next` is the
    /// event to come: a stage that it passes over may stay down.
    async fn recover(&mut self, next: &Event) -> Result<(), ChainError> {
        loop {
            for index in 0..self.stages.len() {
                let stage = &mut self.stages[index];
                let built = stage.transformer.rebuild(self.history.state(index)).await;
                stage.down = built.is_err();
                if let Err(error) = built
                    && next.decision(index).is_none()
                {
                    let error = self.error(index, error.reason());
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
                Err((position, failure)) => {
                    let error = self.error(failure.stage, &failure.reason);
                    let (name, reason) = (&error.component, &error.reason);
                    events::component::state_incomplete(&self.sink, name, reason);
                    self.history.pass_over(position, failure.stage, failure.flushing);
                }
            }
        }
    }

    /// Runs all events since the last save, silently.
    async fn run_again(&mut self) -> Result<usize, (usize, Failure)> {
        let events = self.history.events();
        let mut result = Ok(events.len());
        for (position, event) in events.iter().enumerate() {
            if let Err(failure) = self.run(event, false).await {
                result = Err((position, failure));
                break;
            }
        }
        for stage in &mut self.stages {
            stage.tally = Tally::default();
        }
        result
    }
}

impl Tally {
    fn count(self, count: &StageCount) {
        let lost = self.rejected + self.failed;
        count.rows_in.fetch_add(self.rows_in, Relaxed);
        count.passed.fetch_add(self.passed, Relaxed);
        // A component cannot pass more rows than it was given: each one passes once.
        let absorbed = self.rows_in.saturating_sub(self.passed + lost);
        count.absorbed.fetch_add(absorbed, Relaxed);
        count.dropped.add(Dropped::Rejected, self.rejected);
        count.dropped.add(Dropped::Failed, self.failed);
        count.made.fetch_add(self.made, Relaxed);
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
