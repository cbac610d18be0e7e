//! One place in a pipeline: an instance in a task of its own, and how to make it anew.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::digest::Digest;
use super::error::ComponentError;
use super::instance::{Configured, InstanceSpec, Unconfigured};
use super::role::Role;
use super::state::State;
use super::threads::Threads;

/// Calls that wait for an instance. Its one caller waits for each answer, so that more could
/// never be used.
const MAILBOX: usize = 1;

/// What instances of a role do.
pub trait Serve: Role {
    /// What an instance is asked for, with where the result goes.
    type Call: Send + 'static;

    /// Hands an earlier instance's state to a new one. Those that keep none have nothing to do.
    fn restore(
        instance: &mut Configured<Self>,
        state: &State,
    ) -> impl Future<Output = Result<(), ComponentError>> + Send;

    /// Makes a call. Whether the instance can be used again.
    fn serve(
        instance: &mut Configured<Self>,
        call: Self::Call,
    ) -> impl Future<Output = bool> + Send;
}

/// One place in a pipeline: an instance in a task of its own, and how to make it anew.
///
/// After a call that failed the instance is gone and every call fails until a new one is made. A
/// call that was not waited for ends all the same; its answer is dropped.
pub struct InstanceHandle<R: Serve> {
    threads: Arc<Threads>,
    spec: InstanceSpec<R>,
    running: Option<Running<R>>,
}

struct Running<R: Serve> {
    mailbox: mpsc::Sender<R::Call>,
    wish: R::Wish,
}

impl<R: Serve> InstanceHandle<R> {
    /// Without an instance yet.
    pub(crate) fn new(threads: &Arc<Threads>, spec: InstanceSpec<R>) -> Self {
        Self { threads: Arc::clone(threads), spec, running: None }
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.spec.loaded.name
    }

    /// The digest of the component's file.
    pub fn digest(&self) -> Digest {
        self.spec.loaded.digest
    }

    /// The options that every instance is configured with.
    pub fn options(&self) -> &Map<String, Value> {
        &self.spec.options
    }

    /// Throws the instance away; a new one is made by [`Self::rebuild`].
    pub fn discard(&mut self) {
        self.running = None;
    }

    /// Throws the instance away and makes a new one, with what an earlier one saved.
    ///
    /// # Errors
    /// If none can be made.
    pub async fn rebuild(&mut self, state: Option<&State>) -> Result<(), ComponentError> {
        self.running = None;
        let (spec, state) = (self.spec.clone(), state.cloned());
        let making = async move { build(&spec, state.as_ref()).await };
        let instance = self.threads.guest(making).await?;
        let (wish, (mailbox, calls)) = (instance.wish, mpsc::channel(MAILBOX));
        // The end of the task shows in the mailbox that it closes.
        drop(self.threads.spawn(serve(instance, calls)));
        self.running = Some(Running { mailbox, wish });
        Ok(())
    }

    /// What the instance wants, if there is one.
    pub(crate) fn wish(&self) -> Option<R::Wish> {
        self.running.as_ref().map(|running| running.wish)
    }

    /// Hands a call to the instance. `None` if it is gone.
    pub(crate) async fn send(&self, call: R::Call) -> Option<()> {
        self.running.as_ref()?.mailbox.send(call).await.ok()
    }
}

/// Takes calls until the handle is gone, or until one fails: then the instance ends with it.
async fn serve<R: Serve>(mut instance: Configured<R>, mut calls: mpsc::Receiver<R::Call>) {
    while let Some(call) = calls.recv().await {
        if !R::serve(&mut instance, call).await {
            return;
        }
    }
}

/// Makes an instance: describe, configure, restore.
async fn build<R: Serve>(
    spec: &InstanceSpec<R>,
    state: Option<&State>,
) -> Result<Configured<R>, ComponentError> {
    let mut bare = Unconfigured::new(spec).await?;
    let description = bare.describe().await?;
    let mut instance = bare.configure(&description, &spec.options).await?;
    if let Some(state) = state {
        R::restore(&mut instance, state).await?;
    }
    Ok(instance)
}
