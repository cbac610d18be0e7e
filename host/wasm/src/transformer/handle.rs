//! What the place of a transformer is asked for.

use std::sync::Arc;

use super::TransformerRole;
use crate::convert::Transformed;
use crate::error::ComponentError;
use crate::handle::{Called, InstanceHandle, Restore};
use crate::instance::Configured;
use crate::state::State;
use nephometer_model::{Batch, Sample, Timestamp};

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The component says that this input cannot be worked on. The instance is well.
    Rejected(String),
    /// The instance is gone, with what happened.
    Failed(String),
}

impl Restore for TransformerRole {
    async fn restore(instance: &mut Configured<Self>, state: &State) -> Result<(), ComponentError> {
        instance.restore(state).await
    }
}

impl InstanceHandle<TransformerRole> {
    /// What replaces the batch's samples. Those that the component made have the nil id.
    ///
    /// # Errors
    /// If the component rejects the batch or fails on it.
    pub async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Transformed, CallError> {
        let batch = Arc::clone(batch);
        self.result(move |instance| {
            Box::pin(async move { usable(instance.transform(&batch).await) })
        })
        .await
    }

    /// What was held back until now; nothing for a component without state.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        self.result(move |instance| Box::pin(async move { usable(instance.flush(now).await) }))
            .await
    }

    /// The state; `None` for a component without.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn save(&mut self) -> Result<Option<State>, CallError> {
        self.result(|instance| Box::pin(async move { usable(instance.save().await) })).await
    }

    async fn result<T: Send + 'static>(
        &mut self,
        call: impl for<'a> FnOnce(
            &'a mut Configured<TransformerRole>,
        ) -> Called<'a, Result<T, CallError>>
        + Send
        + 'static,
    ) -> Result<T, CallError> {
        let gone = || Err(CallError::Failed("its instance is gone".to_owned()));
        self.call(call).await.unwrap_or_else(gone)
    }
}

/// With whether the instance can be used again.
fn usable<T>(result: Result<T, CallError>) -> (Result<T, CallError>, bool) {
    let usable = !matches!(result, Err(CallError::Failed(_)));
    (result, usable)
}
