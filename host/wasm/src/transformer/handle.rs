//! What the place of a transformer is asked for.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::TransformerRole;
use crate::error::ComponentError;
use crate::handle::{InstanceHandle, Serve};
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

type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// A call with where its result goes.
pub enum TransformerCall {
    /// Work on a batch.
    Transform(Arc<Batch>, Reply<Vec<Sample>>),
    /// Emit what was held back until now.
    Flush(Timestamp, Reply<Vec<Sample>>),
    /// Hand out the state.
    Save(Reply<Option<State>>),
}

impl Serve for TransformerRole {
    type Call = TransformerCall;

    async fn restore(instance: &mut Configured<Self>, state: &State) -> Result<(), ComponentError> {
        instance.restore(state).await
    }

    async fn serve(instance: &mut Configured<Self>, call: TransformerCall) -> bool {
        match call {
            TransformerCall::Transform(batch, reply) => {
                answer(instance.transform(&batch).await, reply)
            }
            TransformerCall::Flush(now, reply) => answer(instance.flush(now).await, reply),
            TransformerCall::Save(reply) => answer(instance.save().await, reply),
        }
    }
}

/// Whether the instance can be used again.
fn answer<T>(result: Result<T, CallError>, reply: Reply<T>) -> bool {
    let well = !matches!(result, Err(CallError::Failed(_)));
    // Nobody waits any more: the caller was cancelled.
    let _ = reply.send(result);
    well
}

impl InstanceHandle<TransformerRole> {
    /// What takes the place of the batch's samples. Those that the component made carry the nil
    /// id.
    ///
    /// # Errors
    /// If the component rejects the batch or fails on it.
    pub async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Vec<Sample>, CallError> {
        let batch = Arc::clone(batch);
        self.call(|reply| TransformerCall::Transform(batch, reply)).await
    }

    /// What was held back until now; nothing for a component that does not remember.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        self.call(|reply| TransformerCall::Flush(now, reply)).await
    }

    /// The state; `None` for a component that does not remember.
    ///
    /// # Errors
    /// If the component fails.
    pub async fn save(&mut self) -> Result<Option<State>, CallError> {
        self.call(TransformerCall::Save).await
    }

    async fn call<T>(
        &mut self,
        call: impl FnOnce(Reply<T>) -> TransformerCall,
    ) -> Result<T, CallError> {
        let gone = || CallError::Failed("its instance is gone".to_owned());
        let (reply, answer) = oneshot::channel();
        self.send(call(reply)).await.ok_or_else(gone)?;
        let result = answer.await.unwrap_or_else(|_| Err(gone()));
        if matches!(result, Err(CallError::Failed(_))) {
            self.discard();
        }
        result
    }
}
