//! The handle of a transformer: transforms batches, flushes, saves state.

use std::sync::Arc;

use super::TransformerRole;
use crate::convert::Transformed;
use crate::error::ComponentError;
use crate::handle::{CallFuture, InstanceHandle, Restore};
use crate::instance::Configured;
use crate::state::State;
use nephometer_model::{Batch, Sample, Timestamp};

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The component rejected the input. The instance is kept.
    Rejected(String),
    /// The instance was discarded, with the cause.
    Failed(String),
}

impl Restore for TransformerRole {
    async fn restore(instance: &mut Configured<Self>, state: &State) -> Result<(), ComponentError> {
        instance.restore(state).await
    }
}

impl InstanceHandle<TransformerRole> {
    /// Transforms a batch. New samples have the nil id.
    ///
    /// # Errors
    /// If the component rejects the batch or fails.
    pub async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, CallError> {
        let batch = Arc::clone(batch);
        self.result(move |instance| {
            Box::pin(async move { with_usable(instance.transform(&batch).await) })
        })
        .await
    }

    /// Ends the polling cycle of time `now` and returns buffered samples; none for a component
    /// without state.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        self.result(move |instance| Box::pin(async move { with_usable(instance.flush(now).await) }))
            .await
    }

    /// Saves the state; `None` for a component without state.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn save(&mut self) -> Result<Option<State>, CallError> {
        self.result(|instance| Box::pin(async move { with_usable(instance.save().await) })).await
    }

    async fn result<T: Send + 'static>(
        &mut self,
        call: impl for<'a> FnOnce(
            &'a mut Configured<TransformerRole>,
        ) -> CallFuture<'a, Result<T, CallError>>
        + Send
        + 'static,
    ) -> Result<T, CallError> {
        let discarded = || Err(CallError::Failed("instance was discarded".to_owned()));
        self.call(call).await.unwrap_or_else(discarded)
    }
}

/// Adds whether the instance can be used again.
fn with_usable<T>(result: Result<T, CallError>) -> (Result<T, CallError>, bool) {
    let usable = !matches!(result, Err(CallError::Failed(_)));
    (result, usable)
}
