//! One place in a pipeline: an instance, and how to make it anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::digest::Digest;
use super::error::ComponentError;
use super::instance::{Configured, InstanceSpec, Unconfigured};
use super::role::Role;
use super::state::State;
use super::threads::Threads;

/// A role whose instances may have the state of an earlier one.
pub trait Restore: Role {
    /// Hands an earlier instance's state to a new one. Those that keep none have nothing to do.
    fn restore(
        instance: &mut Configured<Self>,
        state: &State,
    ) -> impl Future<Output = Result<(), ComponentError>> + Send;
}

/// What a call returns, and whether the instance can be used again.
pub(crate) type Called<'a, T> = Pin<Box<dyn Future<Output = (T, bool)> + Send + 'a>>;

/// Where the instance is, while it takes no call.
type InstanceSlot<R> = Arc<Mutex<Option<Box<Configured<R>>>>>;

/// One place in a pipeline: an instance, and how to make it anew.
///
/// Its calls run on the guests' threads. After a call that failed the instance is gone and every call
/// fails until a new one is made. A call that was not waited for ends all the same, before the next one
/// begins.
pub struct InstanceHandle<R: Restore> {
    threads: Arc<Threads>,
    spec: InstanceSpec<R>,
    slot: InstanceSlot<R>,
    wish: Option<R::Wish>,
}

impl<R: Restore> InstanceHandle<R> {
    /// Without an instance yet.
    pub(crate) fn new(threads: &Arc<Threads>, spec: InstanceSpec<R>) -> Self {
        Self { threads: Arc::clone(threads), spec, slot: InstanceSlot::<R>::default(), wish: None }
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
        let slot = std::mem::take(&mut self.slot);
        self.wish = None;
        // Its memory is given back there, beside whoever has no use for it any more.
        drop(self.threads.spawn(async move { drop(slot) }));
    }

    /// Throws the instance away and makes a new one, with what an earlier one saved.
    ///
    /// # Errors
    /// If none can be made.
    pub async fn rebuild(&mut self, state: Option<&State>) -> Result<(), ComponentError> {
        self.discard();
        let (spec, state) = (self.spec.clone(), state.cloned());
        let making = async move { build(&spec, state.as_ref()).await };
        let instance = self.threads.guest(making).await?;
        self.wish = Some(instance.wish);
        self.slot = Arc::new(Mutex::new(Some(Box::new(instance))));
        Ok(())
    }

    /// What the instance wants, if there is one.
    pub(crate) fn wish(&self) -> Option<R::Wish> {
        self.wish
    }

    /// Calls the instance. `None` if it is gone.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl for<'a> FnOnce(&'a mut Configured<R>) -> Called<'a, T> + Send + 'static,
    ) -> Option<T> {
        let slot = Arc::clone(&self.slot);
        let work = async move {
            let mut held = slot.lock().await;
            // Whoever stops in the middle of a call leaves no instance behind.
            let mut instance = held.take()?;
            let (result, usable) = call(&mut instance).await;
            if usable {
                *held = Some(instance);
            }
            Some(result)
        };
        // A chain is there already.
        if Threads::is_current() { work.await } else { self.threads.spawn(work).await.ok()? }
    }
}

impl<R: Restore> Drop for InstanceHandle<R> {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Makes an instance: describe, configure, restore.
async fn build<R: Restore>(
    spec: &InstanceSpec<R>,
    state: Option<&State>,
) -> Result<Configured<R>, ComponentError> {
    let mut unconfigured = Unconfigured::new(spec).await?;
    let description = unconfigured.describe().await?;
    let mut instance = unconfigured.configure(&description, spec).await?;
    if let Some(state) = state {
        R::restore(&mut instance, state).await?;
    }
    Ok(instance)
}
