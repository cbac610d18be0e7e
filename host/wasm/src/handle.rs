use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::error::ComponentError;
use super::host::{ComponentHost, Recipe};
use super::instance::{CallError, Instance};
use super::load::Digest;
use nephometer_model::{Batch, Sample, Timestamp};

/// Calls that wait for an instance. Its one caller waits for each answer, so that more could
/// never be used.
const MAILBOX: usize = 1;

/// One place in a pipeline: an instance in a task of its own, and how to make it anew.
///
/// After [`CallError::Failed`] the instance is gone and every call fails until
/// [`InstanceHandle::rebuild`]. A call that was not waited for ends all the same; its answer is
/// dropped.
pub struct InstanceHandle {
    host: ComponentHost,
    recipe: Recipe,
    mailbox: Option<mpsc::Sender<Call>>,
}

/// What an instance saved: the host never looks into the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `state-version` of the component that saved it.
    pub version: u32,
    /// In that version's format. Shared, because it may be large and several hold it.
    pub bytes: Arc<Vec<u8>>,
}

type Reply<T> = oneshot::Sender<Result<T, CallError>>;

enum Call {
    Transform(Arc<Batch>, Reply<Vec<Sample>>),
    Flush(Timestamp, Reply<Vec<Sample>>),
    Save(Reply<Option<State>>),
}

impl InstanceHandle {
    pub(super) fn new(host: ComponentHost, recipe: Recipe) -> Self {
        Self { host, recipe, mailbox: None }
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.recipe.loaded.name
    }

    /// The digest of the component's file.
    pub fn digest(&self) -> Digest {
        self.recipe.loaded.digest
    }

    /// The options that every instance is configured with.
    pub fn options(&self) -> &Map<String, Value> {
        &self.recipe.options
    }

    /// Throws the instance away; [`Self::rebuild`] makes a new one.
    pub fn discard(&mut self) {
        self.mailbox = None;
    }

    /// Throws the instance away and makes a new one, with what an earlier one saved.
    pub async fn rebuild(&mut self, state: Option<&State>) -> Result<(), ComponentError> {
        self.mailbox = None;
        let state = state.cloned();
        let instance = self.host.build(self.recipe.clone(), state).await?;
        let (sender, receiver) = mpsc::channel(MAILBOX);
        self.host.spawn(serve(instance, receiver));
        self.mailbox = Some(sender);
        Ok(())
    }

    /// What takes the place of the batch's samples. Those that the component made carry the nil
    /// id.
    pub async fn transform(&mut self, batch: &Arc<Batch>) -> Result<Vec<Sample>, CallError> {
        let batch = Arc::clone(batch);
        self.call(|reply| Call::Transform(batch, reply)).await
    }

    /// What was held back until now; nothing for a component that does not remember.
    pub async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        self.call(|reply| Call::Flush(now, reply)).await
    }

    /// The state; `None` for a component that does not remember.
    pub async fn save(&mut self) -> Result<Option<State>, CallError> {
        self.call(Call::Save).await
    }

    async fn call<T>(&mut self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, CallError> {
        let gone = || CallError::Failed("its instance is gone".to_owned());
        let mailbox = self.mailbox.as_ref().ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        mailbox.send(call(reply)).await.map_err(|_| gone())?;
        let result = answer.await.unwrap_or_else(|_| Err(gone()));
        if matches!(result, Err(CallError::Failed(_))) {
            self.mailbox = None;
        }
        result
    }
}

/// Takes calls until the handle is gone, or until one fails: then the instance ends with it.
async fn serve(mut instance: Instance, mut calls: mpsc::Receiver<Call>) {
    while let Some(call) = calls.recv().await {
        let well = match call {
            Call::Transform(batch, reply) => answer(instance.transform(&batch).await, reply),
            Call::Flush(now, reply) => answer(instance.flush(now).await, reply),
            Call::Save(reply) => answer(instance.save().await, reply),
        };
        if !well {
            return;
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
