//! A batch with its offset in the journal and the failure actions that apply to it.

use std::sync::Arc;

use nephometer_model::{Batch, Offset, Sample};

/// What happens to the samples that a transformer failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// They are dropped and counted.
    Drop,
    /// They bypass the transformer unchanged.
    Keep,
}

/// A failure action for one transformer and one batch. The batch carries it from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedAction {
    /// Index of the transformer in the sink, from 0.
    pub transformer_index: usize,
    /// What happens to the samples that reach it.
    pub action: FailureAction,
}

/// Samples that a failure action dropped.
#[derive(Debug, Clone)]
pub(crate) struct DroppedSamples {
    /// Index of the transformer in the sink, from 0.
    pub transformer_index: usize,
    /// The transformer's input.
    pub samples: Vec<Sample>,
}

/// A batch of the journal on its way through a chain.
#[derive(Debug, Clone)]
pub struct JournaledBatch {
    pub(super) offset: Offset,
    pub(super) batch: Arc<Batch>,
    actions: Vec<AppliedAction>,
    /// Indexes of transformers that are not flushed after this batch, because their flush failed.
    pub(super) unflushed: Vec<usize>,
}

impl JournaledBatch {
    /// The batch at `offset` of the journal, with these failure actions.
    pub fn new(offset: Offset, batch: &Arc<Batch>, actions: &[AppliedAction]) -> Self {
        let batch = Arc::clone(batch);
        Self { offset, batch, actions: actions.to_vec(), unflushed: Vec::new() }
    }

    /// Adds a failure action. For one transformer the last one applies.
    #[must_use]
    pub(crate) fn with_action(mut self, action: AppliedAction) -> Self {
        self.actions.push(action);
        self
    }

    /// Drops the samples that reach a transformer from now on.
    pub(super) fn drop_at(&mut self, transformer_index: usize) {
        self.actions.push(AppliedAction { transformer_index, action: FailureAction::Drop });
    }

    /// The batch itself.
    pub(crate) fn input(&self) -> Arc<Batch> {
        Arc::clone(&self.batch)
    }

    /// Offset in the journal.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The failure action for a transformer.
    pub(super) fn action(&self, transformer_index: usize) -> Option<FailureAction> {
        let mut actions = self.actions.iter().rev();
        let action = actions.find(|action| action.transformer_index == transformer_index);
        action.map(|action| action.action)
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.batch.samples.len()
    }
}
