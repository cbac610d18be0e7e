//! The threads that guests, and nothing else, run on. A guest can delay other guests by one epoch,
//! and no other part of the agent.

use std::cell::Cell;
use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::error::ComponentError;
use nephometer_telemetry::Heartbeats;

/// Shared by the transformers of all sinks. Two let one sink proceed while the guest of another is
/// busy, and leave the rest of the machine to its virtual machines.
const WORKERS: usize = 2;

/// Threads for reading and compiling components. Not for guests: their name lookups have threads of
/// their own.
const BLOCKING: usize = 4;

/// Runs work that makes many calls on the guest threads, which saves a thread switch per call.
#[derive(Clone)]
pub struct GuestThreads(Arc<Threads>);

impl GuestThreads {
    pub(super) fn new(threads: &Arc<Threads>) -> Self {
        Self(Arc::clone(threads))
    }

    /// Runs `work` to its end on the guest threads, even if the returned future is dropped.
    ///
    /// # Panics
    /// If the work panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.0.spawn(self.0.heartbeats.watch("transformers of a sink", work)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The threads have ended: the work will never finish.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl std::fmt::Debug for GuestThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestThreads")
    }
}

/// The runtime of the guest threads. Shuts down in the background when dropped, which is allowed
/// within another runtime.
pub(super) struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    heartbeats: Heartbeats,
}

thread_local! {
    /// Whether this is a guest thread.
    static CURRENT: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    /// Whether the caller runs on a guest thread.
    pub(super) fn is_current() -> bool {
        CURRENT.get()
    }

    pub(super) fn start() -> io::Result<Self> {
        let count = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name_fn(move || format!("guest-{}", count.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(|| CURRENT.set(true))
            .enable_all()
            .build()?;
        let heartbeats = Heartbeats::default();
        runtime.spawn(heartbeats.watch("guest threads", pending::<()>()));
        Ok(Self { runtime: Some(runtime), heartbeats })
    }

    /// Of the threads, and of the work of [`GuestThreads::run`].
    pub(super) fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// Spawns a task on the guest threads.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime().spawn(task)
    }

    /// Runs work that calls guests, and waits for it.
    pub(super) async fn guest<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ComponentError>> + Send + 'static,
    ) -> Result<T, ComponentError> {
        self.spawn(work).await.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string())))
    }

    /// Runs blocking work on a thread of its own, and waits for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
    ) -> Result<T, ComponentError> {
        let done = self.runtime().spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string())))
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only drop takes it")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
