//! Threads on which guests run, and nothing else does: a guest can delay its neighbours here by
//! one epoch tick, and nobody elsewhere.

use std::future::Future;
use std::io;
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

/// A runtime of its own for guests. Ends in the background when dropped, also within another
/// runtime.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    pub(super) fn start() -> io::Result<Self> {
        let count = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name_fn(move || format!("guest-{}", count.fetch_add(1, Ordering::Relaxed)))
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
