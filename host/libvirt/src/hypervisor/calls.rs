//! Blocking calls to libvirt from async code.
//!
//! Each call has its own thread and connection, and a deadline. A C call cannot be cancelled: past
//! the deadline its thread and connection are abandoned, and a late answer is dropped. The number
//! of abandoned calls is bounded.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::{CallStats, HypervisorError};
use crate::libvirt::{Connection, VirtError};
use nephometer_config::without_user;
use nephometer_telemetry::events::hypervisor as events;

/// Idle connections kept for the next call. At least the number of calls in flight.
const MAX_IDLE: usize = 8;
/// Calls that may enter a guest's monitor, in flight or abandoned. An abandoned one occupies a
/// worker of libvirtd (20 by default) until its guest answers.
pub(super) const MAX_MONITOR: usize = 3;
/// Calls that never enter a monitor. They hang only if all of libvirtd does.
const MAX_WITHOUT_MONITOR: usize = 4;

/// Why a call failed.
#[derive(Debug, Error)]
pub(super) enum CallError {
    /// No answer before the deadline: the call was abandoned, or could not start.
    #[error("no answer within {0:?}")]
    TimeOut(Duration),
    /// libvirt cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// libvirt returned an error.
    #[error(transparent)]
    Virt(#[from] VirtError),
}

impl From<CallError> for HypervisorError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::TimeOut(deadline) => Self::TimeOut(deadline),
            other => Self::Libvirt(other.to_string()),
        }
    }
}

/// Makes calls to libvirt at one URI.
pub(super) struct Calls {
    shared: Arc<CallState>,
    deadline: Duration,
    with_monitor: Arc<Semaphore>,
    without_monitor: Arc<Semaphore>,
}

/// State shared by calls and their threads.
struct CallState {
    uri: String,
    idle: Mutex<Vec<Connection>>,
    /// Whether the last attempt to reach libvirt failed.
    unreachable: AtomicBool,
    /// Calls past their deadline that may be in a monitor.
    abandoned: AtomicUsize,
    /// Whether statistics that need a monitor are currently not requested.
    avoiding_monitor: AtomicBool,
    /// Finished calls, and their total duration.
    finished: AtomicU64,
    busy_ns: AtomicU64,
}

/// Permission for one call that may enter a monitor.
pub(super) struct MonitorPermit(OwnedSemaphorePermit);

impl Calls {
    /// Connects on the first call only.
    pub(super) fn new(uri: String, deadline: Duration) -> Self {
        let shared = CallState {
            uri,
            idle: Mutex::default(),
            unreachable: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
            avoiding_monitor: AtomicBool::new(false),
            finished: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            deadline,
            with_monitor: Arc::new(Semaphore::new(MAX_MONITOR)),
            without_monitor: Arc::new(Semaphore::new(MAX_WITHOUT_MONITOR)),
        }
    }

    /// Calls made so far.
    pub(super) fn stats(&self) -> CallStats {
        CallStats {
            calls: self.shared.finished.load(SeqCst),
            busy: Duration::from_nanos(self.shared.busy_ns.load(SeqCst)),
            abandoned: self.shared.abandoned.load(SeqCst),
        }
    }

    /// Waits for a permit to enter a monitor; `None` if too many of these calls hang.
    pub(super) async fn monitor_permit(&self) -> Option<MonitorPermit> {
        let free = Arc::clone(&self.with_monitor).acquire_owned();
        let permit = if self.shared.abandoned.load(SeqCst) < MAX_MONITOR {
            timeout(self.deadline, free).await.ok().and_then(Result::ok)
        } else {
            None
        };
        if permit.is_none() && !self.shared.avoiding_monitor.swap(true, SeqCst) {
            events::qemu_statistics_suspended(self.shared.abandoned.load(SeqCst));
        }
        if permit.is_some() && self.shared.avoiding_monitor.swap(false, SeqCst) {
            events::qemu_statistics_resumed();
        }
        permit.map(MonitorPermit)
    }

    /// Makes a call that never enters a monitor.
    pub(super) async fn without_monitor<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let free = Arc::clone(&self.without_monitor).acquire_owned();
        let Ok(Ok(permit)) = timeout(self.deadline, free).await else {
            return Err(CallError::TimeOut(self.deadline));
        };
        self.call(what, permit, call).await
    }

    /// Makes a call that may enter a monitor.
    pub(super) async fn with_monitor<T: Send + 'static>(
        &self,
        what: &'static str,
        permit: MonitorPermit,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let finished = Arc::new(AtomicBool::new(false));
        let abandoned =
            MonitorCallGuard { shared: Arc::clone(&self.shared), finished: Arc::clone(&finished) };
        let answer = self.call(what, (permit.0, abandoned), call).await;
        if matches!(answer, Err(CallError::TimeOut(_))) {
            self.shared.abandoned.fetch_add(1, SeqCst);
            if finished.swap(true, SeqCst) {
                // It returned after the deadline, but before it was counted.
                self.shared.abandoned.fetch_sub(1, SeqCst);
            }
        }
        answer
    }

    /// Makes a call on a thread of its own. The thread keeps `guard` until the call returns,
    /// however late.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        guard: impl Send + 'static,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let (sender, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let body = move || {
            let begun = Instant::now();
            let answer = shared.run(&call);
            let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.busy_ns.fetch_add(took, SeqCst);
            shared.finished.fetch_add(1, SeqCst);
            drop(guard);
            // The receiver is dropped if the call was abandoned.
            drop(sender.send(answer));
        };
        let thread = thread::Builder::new().name("libvirt".to_owned()).spawn(body);
        thread
            .map_err(|error| CallError::Unreachable(format!("cannot start a thread: {error}")))?;
        match timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Unreachable("the thread of the call panicked".to_owned())),
            Err(_) => {
                events::call_abandoned(what, self.deadline);
                Err(CallError::TimeOut(self.deadline))
            }
        }
    }
}

/// Kept by the thread of a call that may enter a monitor: if the call was abandoned, uncounts it
/// when it returns.
struct MonitorCallGuard {
    shared: Arc<CallState>,
    finished: Arc<AtomicBool>,
}

impl Drop for MonitorCallGuard {
    fn drop(&mut self) {
        if self.finished.swap(true, SeqCst) {
            self.shared.abandoned.fetch_sub(1, SeqCst);
        }
    }
}

impl CallState {
    /// Makes a call on an idle connection, or on a new one. A dead connection is replaced once.
    fn run<T>(
        &self,
        call: &impl Fn(&mut Connection) -> Result<T, VirtError>,
    ) -> Result<T, CallError> {
        if let Some(mut connection) = self.take_idle() {
            match call(&mut connection) {
                Err(error) if !connection.is_alive() => self.connection_lost(&error),
                answer => {
                    self.put_idle(connection);
                    return Ok(answer?);
                }
            }
        }
        let mut connection = self.open()?;
        match call(&mut connection) {
            Err(error) if !connection.is_alive() => {
                self.connection_lost(&error);
                Err(CallError::Unreachable(error.to_string()))
            }
            answer => {
                self.put_idle(connection);
                Ok(answer?)
            }
        }
    }

    fn open(&self) -> Result<Connection, CallError> {
        match Connection::open(&self.uri) {
            Ok(connection) => {
                if self.unreachable.swap(false, SeqCst) {
                    events::libvirt_reachable(&without_user(&self.uri));
                }
                Ok(connection)
            }
            Err(error) => {
                self.connection_lost(&error);
                Err(CallError::Unreachable(error.to_string()))
            }
        }
    }

    /// Drops all idle connections: those to one target die together.
    fn connection_lost(&self, reason: &VirtError) {
        if !self.unreachable.swap(true, SeqCst) {
            events::libvirt_unreachable(&without_user(&self.uri), reason);
        }
        let dead = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dead);
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_idle(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        // Closing takes a round trip, which must not block the thread that drops this.
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        if !idle.is_empty() {
            let closer =
                thread::Builder::new().name("libvirt".to_owned()).spawn(move || drop(idle));
            if let Err(error) = closer {
                tracing::debug!(%error, "idle libvirt connections not closed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A call that hangs until the sender is dropped.
    fn hanging_call() -> (mpsc::Sender<()>, impl Fn(&mut Connection) -> Result<(), VirtError>) {
        let (release, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let call = move |_: &mut Connection| {
            // Ends when the sender is dropped.
            assert!(wait.lock().unwrap().recv().is_err());
            Ok(())
        };
        (release, call)
    }

    #[tokio::test]
    async fn abandoned_monitor_calls_are_bounded() {
        let calls = Calls::new("test:///default".to_owned(), Duration::from_millis(200));
        let mut hung = Vec::new();
        for _ in 0..MAX_MONITOR {
            let (release, call) = hanging_call();
            let permit = calls.monitor_permit().await.unwrap();
            let answer = calls.with_monitor("test", permit, call).await;
            assert!(matches!(answer, Err(CallError::TimeOut(_))));
            hung.push(release);
        }
        assert!(calls.monitor_permit().await.is_none());
        assert!(calls.without_monitor("test", |connection| connection.list()).await.is_ok());
        drop(hung.pop());
        while calls.shared.abandoned.load(SeqCst) == MAX_MONITOR {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let permit = calls.monitor_permit().await.unwrap();
        assert!(calls.with_monitor("test", permit, |connection| connection.list()).await.is_ok());
        drop(hung);
        while calls.shared.abandoned.load(SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn panicking_call_is_an_error_and_releases_its_permit() {
        let calls = Calls::new("test:///default".to_owned(), Duration::from_secs(5));
        for _ in 0..=MAX_WITHOUT_MONITOR {
            let answer =
                calls.without_monitor("test", |_| -> Result<(), _> { panic!("on purpose") }).await;
            assert!(matches!(answer, Err(CallError::Unreachable(_))));
        }
    }
}
