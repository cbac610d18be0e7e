//! A batch on its way through a chain, and what was decided on it.

use std::sync::Arc;

use nephometer_model::{Batch, Position};

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

/// One batch on its way through a chain, with its place in the journal and what was decided on it.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) position: Position,
    pub(super) batch: Arc<Batch>,
    verdicts: Vec<Verdict>,
    /// Stages that were not asked at the end of the tick, because they failed at it.
    pub(super) unflushed: Vec<usize>,
}

impl Event {
    /// The batch at `position` of the journal, with what was decided on it.
    pub fn new(position: Position, batch: &Arc<Batch>, verdicts: &[Verdict]) -> Self {
        let batch = Arc::clone(batch);
        Self { position, batch, verdicts: verdicts.to_vec(), unflushed: Vec::new() }
    }

    /// The same with one more verdict.
    #[must_use]
    pub fn with(mut self, verdict: Verdict) -> Self {
        self.verdicts.push(verdict);
        self
    }

    /// Rows that come to a stage are lost from now on.
    pub(super) fn drop_at(&mut self, stage: usize) {
        self.verdicts.push(Verdict { stage, decision: Decision::Drop });
    }

    /// Its place in the journal.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What was decided on the rows that come to a stage.
    pub(super) fn decision(&self, stage: usize) -> Option<Decision> {
        let verdict = self.verdicts.iter().rev().find(|verdict| verdict.stage == stage);
        verdict.map(|verdict| verdict.decision)
    }

    /// How many rows it has: what holding it costs.
    pub fn rows(&self) -> usize {
        self.batch.samples.len()
    }
}
