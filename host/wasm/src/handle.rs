//! The handle of a component in a pipeline: owns its instance and can build a new one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::digest::Digest;
use super::error::{ComponentError, OptionError};
use super::instance::{Configured, InstanceSpec, Unconfigured};
use super::role::Role;
use super::state::State;
use super::threads::Threads;

/// A role whose instances may restore the state of an earlier one.
pub trait Restore: Role {
    /// Passes the state of an earlier instance to a new one. Does nothing without state.
    fn restore(
        instance: &mut Configured<Self>,
        state: &State,
    ) -> impl Future<Output = Result<(), ComponentError>> + Send;
}

/// A call's result, and whether the instance can be used again.
pub(crate) type CallFuture<'a, T> = Pin<Box<dyn Future<Output = (T, bool)> + Send + 'a>>;

/// Holds the instance between calls.
type InstanceSlot<R> = Arc<Mutex<Option<Box<Configured<R>>>>>;

/// A component in a pipeline: its current instance, and the spec to build a new one.
///
/// Calls run on the guest threads. A failed call discards the instance, and every further call
/// fails until [`Self::rebuild`]. A call whose future is dropped still runs to its end, before the
/// next one begins.
pub struct InstanceHandle<R: Restore> {
    threads: Arc<Threads>,
    spec: InstanceSpec<R>,
    slot: InstanceSlot<R>,
    requirements: Option<R::Requirements>,
    ignored_options: Vec<OptionError>,
}

impl<R: Restore> InstanceHandle<R> {
    /// A handle without an instance.
    pub(crate) fn new(threads: &Arc<Threads>, spec: InstanceSpec<R>) -> Self {
        Self {
            threads: Arc::clone(threads),
            spec,
            slot: InstanceSlot::<R>::default(),
            requirements: None,
            ignored_options: Vec::new(),
        }
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.spec.loaded.name
    }

    /// The digest of the component file.
    pub fn digest(&self) -> Digest {
        self.spec.loaded.digest
    }

    /// The options of every instance.
    pub fn options(&self) -> &Map<String, Value> {
        &self.spec.options
    }

    /// Options that the component's schema does not describe, as of the last instance.
    pub fn ignored_options(&self) -> &[OptionError] {
        &self.ignored_options
    }

    /// How much of `limits.memory` the component uses, in percent. The memory of an instance never
    /// shrinks: what it frees, only it can use again.
    pub fn memory_percent(&self) -> u64 {
        let used = self.spec.counters.stats().memory;
        used.saturating_mul(100) / self.spec.limits.memory.max(1)
    }

    /// Processor time of all calls so far, nanoseconds.
    pub fn cpu_nanos(&self) -> u64 {
        self.spec.counters.stats().cpu_nanos
    }

    /// Discards the instance. [`Self::rebuild`] creates a new one.
    pub fn discard(&mut self) {
        let slot = std::mem::take(&mut self.slot);
        self.requirements = None;
        // Memory is released on a guest thread, so that the caller does not wait for it.
        drop(self.threads.spawn(async move { drop(slot) }));
    }

    /// Discards the instance and builds a new one, with the state that an earlier one saved.
    ///
    /// # Errors
    /// If no instance can be built.
    pub async fn rebuild(&mut self, state: Option<&State>) -> Result<(), ComponentError> {
        self.discard();
        let (spec, state) = (self.spec.clone(), state.cloned());
        let work = async move { build(&spec, state.as_ref()).await };
        let instance = self.threads.guest(work).await?;
        self.requirements = Some(instance.requirements);
        self.ignored_options.clone_from(&instance.ignored_options);
        self.slot = Arc::new(Mutex::new(Some(Box::new(instance))));
        Ok(())
    }

    /// The requirements of the instance, if there is one.
    pub(crate) fn requirements(&self) -> Option<R::Requirements> {
        self.requirements
    }

    /// Calls the instance. `None` if it was discarded.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl for<'a> FnOnce(&'a mut Configured<R>) -> CallFuture<'a, T> + Send + 'static,
    ) -> Option<T> {
        let slot = Arc::clone(&self.slot);
        let work = async move {
            let mut slot = slot.lock().await;
            // An interrupted call leaves no instance behind.
            let mut instance = slot.take()?;
            let (result, usable) = call(&mut instance).await;
            if usable {
                *slot = Some(instance);
            }
            Some(result)
        };
        // Transformer chains run on a guest thread already.
        if Threads::is_current() { work.await } else { self.threads.spawn(work).await.ok()? }
    }
}

impl<R: Restore> Drop for InstanceHandle<R> {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Builds an instance: describe, configure, restore.
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
