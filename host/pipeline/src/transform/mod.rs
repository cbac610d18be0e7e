//! Transformers: samples in, samples out. Every transformer is a WebAssembly component.
//!
//! A [`Chain`] runs the transformers of one sink, flushes them at the end of a polling cycle, and
//! saves and restores their states. It recovers once from a component that fails; a second failure
//! on the same batch is returned to the sink, which chooses the failure action.

mod batch_log;
mod chain;
mod component;
mod history;
mod journaled_batch;
mod observers;
mod recovery;
mod sample_ids;
mod sample_queue;
mod samples;
mod shadow_feed;
mod state_budget;
#[cfg(test)]
pub(crate) mod summing_transformer;
mod tally;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

pub(crate) use batch_log::BatchLog;
pub use chain::{Chain, ChainError};
pub use component::ComponentTransformer;
pub use journaled_batch::{AppliedAction, FailureAction, JournaledBatch};
pub use nephometer_wasm::{State, Transformed};
pub(crate) use sample_queue::{QueueReader, QueueWriter, sample_queue};
pub use samples::SampleList;
#[cfg(test)]
pub(crate) use shadow_feed::ShadowQueue;
pub(crate) use shadow_feed::{MissedBatches, ShadowBatch, ShadowCall, ShadowFeed};
pub use state_budget::StateBudget;

use nephometer_model::{Batch, Moment, Sample};

/// One transformer of a chain.
#[async_trait]
pub trait Transformer: Send + Sync {
    /// The component's name.
    fn name(&self) -> &str;

    /// Code and options: two transformers of equal identity behave the same.
    fn identity(&self) -> Identity;

    /// Transforms the samples of a batch. Returns the output in its order. New samples have the nil
    /// id, which the chain replaces; all others are samples of the batch, each at most once.
    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, TransformError>;

    /// Called after all samples of a polling cycle. Returns the samples that were buffered until
    /// then, with nil ids.
    async fn flush(&mut self, now: Moment) -> Result<Vec<Sample>, TransformError>;

    /// The state as bytes; `None` for a transformer without a state.
    async fn save(&mut self) -> Result<Option<State>, TransformError>;

    /// Replaces the instance by a new one with this state.
    ///
    /// # Errors
    /// [`TransformError::State`] if the component rejects the state.
    async fn rebuild(&mut self, state: Option<&State>) -> Result<(), TransformError>;

    /// Drops the instance; [`Self::rebuild`] creates a new one.
    fn discard(&mut self);

    /// How much of its memory limit the instance uses, in percent.
    fn memory_percent(&self) -> u64;

    /// Processor time of all calls so far, in nanoseconds.
    fn cpu_nanos(&self) -> u64;
}

/// The code and options of a transformer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The component's name.
    pub component: Arc<str>,
    /// SHA-256 of the component's file.
    pub digest: [u8; 32],
    /// The options as JSON text.
    pub options: String,
}

/// A failed call of a transformer.
#[derive(Debug, Error)]
pub enum TransformError {
    /// The component rejects this input. Its instance is intact.
    #[error("{component} rejects the input: {reason}")]
    Rejected {
        /// The component's name.
        component: String,
        /// The component's own text.
        reason: String,
    },
    /// The instance is lost: a trap, a limit, malformed output, or an error that the component
    /// reports as broken.
    #[error("{component} failed: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// The failure and, for a limit, the configuration key to change.
        reason: String,
    },
    /// The component rejects the state that it is to start from.
    #[error("{component} rejects its saved state: {reason}")]
    State {
        /// The component's name.
        component: String,
        /// The component's own text.
        reason: String,
    },
}

impl TransformError {
    /// The reason without the component's name.
    pub fn reason(&self) -> &str {
        match self {
            Self::Rejected { reason, .. }
            | Self::Failed { reason, .. }
            | Self::State { reason, .. } => reason,
        }
    }
}
