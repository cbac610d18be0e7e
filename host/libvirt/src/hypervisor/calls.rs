//! Blocking calls to libvirt from async code.
//!
//! Each call has a thread and a connection to itself, and a deadline. A C call cannot be
//! cancelled: past the deadline the thread and its connection are given up, and what the call
//! answers in the end is thrown away. How many may hang at once is bounded.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::{HypervisorError, Load};
use crate::libvirt::{Connection, VirtError};
use nephometer_config::without_user;
use nephometer_telemetry::events::hypervisor as events;

/// Connections that wait for the next call. More than are ever in flight are of no use.
const MAX_IDLE: usize = 8;
/// Calls that may enter a guest's monitor, in flight or hanging: each that hangs holds a worker
/// of libvirtd (20 by default) for as long as its guest does not answer.
pub(super) const MAX_MONITOR: usize = 3;
/// Calls that enter no monitor: these hang only if all of libvirtd does.
const MAX_PLAIN: usize = 4;

/// Why a call gave nothing.
#[derive(Debug, Error)]
pub(super) enum CallError {
    /// No answer in time; the call was abandoned, or there was no room for it.
    #[error("no answer within {0:?}")]
    TimeOut(Duration),
    /// libvirt cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// libvirt said no.
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

/// Makes calls to one URI.
pub(super) struct Calls {
    shared: Arc<CallState>,
    deadline: Duration,
    monitor: Arc<Semaphore>,
    plain: Arc<Semaphore>,
}

/// What calls and their threads share.
struct CallState {
    uri: String,
    idle: Mutex<Vec<Connection>>,
    /// Whether the last that was heard of libvirt is that it cannot be reached.
    lost: AtomicBool,
    /// Calls past their deadline that may be in a monitor.
    abandoned: AtomicUsize,
    /// Whether statistics that need a monitor are not asked for.
    avoiding: AtomicBool,
    /// Calls that have ended, and how long they took together, ns.
    ended: AtomicU64,
    busy: AtomicU64,
}

/// Leave to make a call that may enter a monitor.
pub(super) struct MonitorPermit(OwnedSemaphorePermit);

impl Calls {
    /// Opens nothing yet.
    pub(super) fn new(uri: String, deadline: Duration) -> Self {
        let shared = CallState {
            uri,
            idle: Mutex::default(),
            lost: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
            avoiding: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            deadline,
            monitor: Arc::new(Semaphore::new(MAX_MONITOR)),
            plain: Arc::new(Semaphore::new(MAX_PLAIN)),
        }
    }

    /// What was asked of libvirtd until now.
    pub(super) fn load(&self) -> Load {
        Load {
            calls: self.shared.ended.load(SeqCst),
            busy: Duration::from_nanos(self.shared.busy.load(SeqCst)),
            hanging: self.shared.abandoned.load(SeqCst),
        }
    }

    /// Leave to make a call that may enter a monitor; `None` when too many of those hang.
    pub(super) async fn monitor_permit(&self) -> Option<MonitorPermit> {
        let free = Arc::clone(&self.monitor).acquire_owned();
        let permit = if self.shared.abandoned.load(SeqCst) < MAX_MONITOR {
            timeout(self.deadline, free).await.ok().and_then(Result::ok)
        } else {
            None
        };
        if permit.is_none() && !self.shared.avoiding.swap(true, SeqCst) {
            events::monitor_avoided(self.shared.abandoned.load(SeqCst));
        }
        if permit.is_some() && self.shared.avoiding.swap(false, SeqCst) {
            events::monitor_used_again();
        }
        permit.map(MonitorPermit)
    }

    /// A call that enters no monitor.
    pub(super) async fn plain<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let free = Arc::clone(&self.plain).acquire_owned();
        let Ok(Ok(permit)) = timeout(self.deadline, free).await else {
            return Err(CallError::TimeOut(self.deadline));
        };
        self.call(what, permit, call).await
    }

    /// A call that may enter a monitor.
    pub(super) async fn monitor<T: Send + 'static>(
        &self,
        what: &'static str,
        permit: MonitorPermit,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let ended = Arc::new(AtomicBool::new(false));
        let abandoned = Abandoned { shared: Arc::clone(&self.shared), ended: Arc::clone(&ended) };
        let answer = self.call(what, (permit.0, abandoned), call).await;
        if matches!(answer, Err(CallError::TimeOut(_))) {
            self.shared.abandoned.fetch_add(1, SeqCst);
            if ended.swap(true, SeqCst) {
                // It ended just now.
                self.shared.abandoned.fetch_sub(1, SeqCst);
            }
        }
        answer
    }

    /// `held` is what the thread holds until the call is over, however late.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        held: impl Send + 'static,
        call: impl Fn(&mut Connection) -> Result<T, VirtError> + Send + 'static,
    ) -> Result<T, CallError> {
        let (sender, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let body = move || {
            let begun = Instant::now();
            let answer = shared.run(&call);
            let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.busy.fetch_add(took, SeqCst);
            shared.ended.fetch_add(1, SeqCst);
            drop(held);
            // Nobody listens any more if the call was abandoned.
            drop(sender.send(answer));
        };
        let thread = thread::Builder::new().name("libvirt".to_owned()).spawn(body);
        thread
            .map_err(|error| CallError::Unreachable(format!("no thread for the call: {error}")))?;
        match timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(CallError::Unreachable("the call ended without an answer".to_owned()))
            }
            Err(_) => {
                events::call_abandoned(what, self.deadline);
                Err(CallError::TimeOut(self.deadline))
            }
        }
    }
}

/// Held by the thread of a call that may enter a monitor: takes it off the count when it ends
/// after all.
struct Abandoned {
    shared: Arc<CallState>,
    ended: Arc<AtomicBool>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.ended.swap(true, SeqCst) {
            self.shared.abandoned.fetch_sub(1, SeqCst);
        }
    }
}

impl CallState {
    /// Makes a call on an idle connection, or on a new one. A connection that turns out to be
    /// dead is replaced once.
    fn run<T>(
        &self,
        call: &impl Fn(&mut Connection) -> Result<T, VirtError>,
    ) -> Result<T, CallError> {
        if let Some(mut connection) = self.take() {
            match call(&mut connection) {
                Err(error) if !connection.is_alive() => self.lose(&error),
                answer => {
                    self.put(connection);
                    return Ok(answer?);
                }
            }
        }
        let mut connection = self.open()?;
        match call(&mut connection) {
            Err(error) if !connection.is_alive() => {
                self.lose(&error);
                Err(CallError::Unreachable(error.to_string()))
            }
            answer => {
                self.put(connection);
                Ok(answer?)
            }
        }
    }

    fn open(&self) -> Result<Connection, CallError> {
        match Connection::open(&self.uri) {
            Ok(connection) => {
                if self.lost.swap(false, SeqCst) {
                    events::libvirt_back(&without_user(&self.uri));
                }
                Ok(connection)
            }
            Err(error) => {
                self.lose(&error);
                Err(CallError::Unreachable(error.to_string()))
            }
        }
    }

    /// The connections of one target die together.
    fn lose(&self, reason: &VirtError) {
        if !self.lost.swap(true, SeqCst) {
            events::libvirt_lost(&without_user(&self.uri), reason);
        }
        let dead = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dead);
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        // Closing takes a round trip, which must not hold up whoever drops this.
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        if !idle.is_empty() {
            let closer =
                thread::Builder::new().name("libvirt".to_owned()).spawn(move || drop(idle));
            if let Err(error) = closer {
                tracing::debug!(%error, "connections to libvirt are closed by nobody");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A call that hangs until the sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl Fn(&mut Connection) -> Result<(), VirtError>) {
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
    async fn only_so_many_calls_may_hang() {
        let calls = Calls::new("test:///default".to_owned(), Duration::from_millis(200));
        let mut hung = Vec::new();
        for _ in 0..MAX_MONITOR {
            let (release, call) = hanging();
            let permit = calls.monitor_permit().await.unwrap();
            let answer = calls.monitor("test", permit, call).await;
            assert!(matches!(answer, Err(CallError::TimeOut(_))));
            hung.push(release);
        }
        assert!(calls.monitor_permit().await.is_none());
        assert!(calls.plain("test", |connection| connection.list()).await.is_ok());
        drop(hung.pop());
        while calls.shared.abandoned.load(SeqCst) == MAX_MONITOR {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let permit = calls.monitor_permit().await.unwrap();
        assert!(calls.monitor("test", permit, |connection| connection.list()).await.is_ok());
        drop(hung);
        while calls.shared.abandoned.load(SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_frees_its_place() {
        let calls = Calls::new("test:///default".to_owned(), Duration::from_secs(5));
        for _ in 0..=MAX_PLAIN {
            let answer = calls.plain("test", |_| -> Result<(), _> { panic!("on purpose") }).await;
            assert!(matches!(answer, Err(CallError::Unreachable(_))));
        }
    }
}
