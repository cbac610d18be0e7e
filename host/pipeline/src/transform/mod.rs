//! Transformers: samples in, samples out. Every one of them is a wasm component.
//!
//! Given: the samples of a tick, then a flush. Gives back: what a sink publishes. A chain recovers
//! by itself from a component that fails, once; what to do after that is the sink's decision.

mod chain;
mod component;
mod history;
mod ids;
mod journaled_batch;
mod recovery;
mod samples;
mod states;
#[cfg(test)]
pub(crate) mod summing;
mod tally;
mod window;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

pub use chain::{Chain, ChainError, DroppedSamples};
pub use component::ComponentTransformer;
pub use journaled_batch::{AppliedAction, FailureAction, JournaledBatch};
pub use nephometer_wasm::{State, Transformed};
pub use samples::SampleList;
pub use states::StateTotal;
pub use window::Window;

use nephometer_model::{Batch, Moment, Sample};

/// One place in a sink.
#[async_trait]
pub trait Transformer: Send + Sync {
    /// The component's name.
    fn name(&self) -> &str;

    /// What it is: two transformers of equal identity do the same.
    fn identity(&self) -> Identity;

    /// Takes the batch's samples, returns those that go on, in their order. Those that it made
    /// have the nil id, which the chain replaces; all others are samples of the batch, each at
    /// most once.
    async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, TransformError>;

    /// Called after all samples of a tick have passed; what was held back until now, with nil
    /// ids.
    async fn flush(&mut self, now: Moment) -> Result<Vec<Sample>, TransformError>;

    /// The state as bytes; `None` if there is none to keep.
    async fn save(&mut self) -> Result<Option<State>, TransformError>;

    /// Throws the instance away and makes a new one, with this state. A state that the component
    /// does not take is [`TransformError::State`].
    async fn rebuild(&mut self, state: Option<&State>) -> Result<(), TransformError>;

    /// Throws the instance away; [`Self::rebuild`] makes a new one.
    fn discard(&mut self);
}

/// What a transformer is: its code and its options.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The component's name.
    pub component: Arc<str>,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
    /// Its options, as JSON text.
    pub options: String,
}

/// Why a component did not do its work.
#[derive(Debug, Error)]
pub enum TransformError {
    /// The component says that this input cannot be worked on. Its instance is well.
    #[error("{component} rejects the input: {reason}")]
    Rejected {
        /// The component's name.
        component: String,
        /// Its own words.
        reason: String,
    },
    /// The instance is gone: a trap, a limit, a malformed answer, or the component said broken.
    #[error("{component} failed: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// What happened and, for a limit, which key to change.
        reason: String,
    },
    /// The component does not take the state that it was given to start from.
    #[error("{component} does not take its state: {reason}")]
    State {
        /// The component's name.
        component: String,
        /// Its own words.
        reason: String,
    },
}

impl TransformError {
    /// What happened, without the component's name.
    pub fn reason(&self) -> &str {
        match self {
            Self::Rejected { reason, .. }
            | Self::Failed { reason, .. }
            | Self::State { reason, .. } => reason,
        }
    }
}
