//! Threads on which guests run, and nothing else does: a guest can delay its neighbours here by
//! one epoch tick, and nobody elsewhere.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::error::ComponentError;

/// Transformers of all sinks share these; two let one sink work while another one's guest is
/// busy, and leave the rest of the machine to its virtual machines.
const WORKERS: usize = 2;

/// Threads for reading and compiling: one component after the other, the rest spare. Guests have
/// nothing here: the names that they look up have threads of their own.
const BLOCKING: usize = 4;

/// Where guests run, for work that consists of many calls: one switch there and one back, instead of two
/// with each call.
#[derive(Clone)]
pub struct GuestThreads(Arc<Threads>);

impl GuestThreads {
    pub(super) fn new(threads: &Arc<Threads>) -> Self {
        Self(Arc::clone(threads))
    }

    /// Does all of the work there. Work that nobody waits for any more goes on to its end.
    ///
    /// # Panics
    /// If the work does.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.0.spawn(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The threads have ended, and with them all that could be waited for.
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

/// A runtime of its own for guests. Ends in the background when dropped, also within another
/// runtime.
pub(super) struct Threads(Option<Runtime>);

thread_local! {
    /// Whether guests run on this thread.
    static CURRENT: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    /// Whether the caller is on one of these threads.
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
        Ok(Self(Some(runtime)))
    }

    /// Runs a task on the guests' threads.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime().spawn(task)
    }

    /// Runs something with guests in it.
    pub(super) async fn guest<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ComponentError>> + Send + 'static,
    ) -> Result<T, ComponentError> {
        self.spawn(work).await.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string())))
    }

    /// Runs blocking work beside the guests' threads, and waits for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
    ) -> Result<T, ComponentError> {
        let done = self.runtime().spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string())))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("only drop takes it")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
