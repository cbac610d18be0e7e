//! A batch on its way through a chain, and what was decided on it.

use std::sync::Arc;

use nephometer_model::{Batch, Offset};

/// What is to be done with the rows that a stage failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// They are lost, and counted.
    Drop,
    /// They pass that stage as they are.
    Keep,
}

/// A decision on one stage for one event. It is part of the event from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedAction {
    /// Position of the stage in the sink, from 0.
    pub slot: usize,
    /// What becomes of the rows that come to it.
    pub action: FailureAction,
}

/// One batch on its way through a chain, with its place in the journal and what was decided on it.
#[derive(Debug, Clone)]
pub struct JournaledBatch {
    pub(super) offset: Offset,
    pub(super) batch: Arc<Batch>,
    actions: Vec<AppliedAction>,
    /// Stages that were not asked at the end of the tick, because they failed at it.
    pub(super) unflushed: Vec<usize>,
}

impl JournaledBatch {
    /// The batch at `offset` of the journal, with what was decided on it.
    pub fn new(offset: Offset, batch: &Arc<Batch>, actions: &[AppliedAction]) -> Self {
        let batch = Arc::clone(batch);
        Self { offset, batch, actions: actions.to_vec(), unflushed: Vec::new() }
    }

    /// The same with one more verdict.
    #[must_use]
    pub fn with(mut self, action: AppliedAction) -> Self {
        self.actions.push(action);
        self
    }

    /// Rows that come to a stage are lost from now on.
    pub(super) fn drop_at(&mut self, slot: usize) {
        self.actions.push(AppliedAction { slot, action: FailureAction::Drop });
    }

    /// Its place in the journal.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// What was decided on the rows that come to a stage.
    pub(super) fn action(&self, slot: usize) -> Option<FailureAction> {
        let action = self.actions.iter().rev().find(|action| action.slot == slot);
        action.map(|action| action.action)
    }

    /// How many rows it has: what holding it costs.
    pub fn rows(&self) -> usize {
        self.batch.samples.len()
    }
}
