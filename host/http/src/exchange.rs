//! The phase of a connection, which decides how long its client may be silent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use nephometer_model::Bound;

const HEAD_TIME: Duration = Duration::from_millis(Bound::HttpHeadTime.most());
const REPLY_TIME: Duration = Duration::from_millis(Bound::HttpReplyTime.most());
const IDLE_TIME: Duration = Duration::from_millis(Bound::HttpIdleTime.most());

/// What a connection waits for.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The head of a request, until this time.
    Head(Instant),
    /// The next request after a reply, until this time. Its first byte begins a head.
    Idle(Instant),
    /// The handler of a request.
    Handling,
    /// The client, which takes a reply until this time.
    Reply(Instant),
    /// The client, which takes a reply without an end.
    Stream,
}

/// The phase of a connection. Shared by its stream, which ends it, and its requests.
#[derive(Debug)]
pub(super) struct ConnectionState {
    phase: Mutex<Phase>,
    /// A read that waits without a time limit. hyper reads while it handles a request, and not again
    /// after the reply: without this the time limit of the next phase would never begin.
    reader: Mutex<Option<Waker>>,
}

impl ConnectionState {
    /// A connection whose client has said nothing so far.
    pub(super) fn new() -> Arc<Self> {
        let phase = Mutex::new(Phase::Head(Instant::now() + HEAD_TIME));
        Arc::new(Self { phase, reader: Mutex::default() })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no request is handled on it.
    pub(super) fn is_idle(&self) -> bool {
        matches!(*self.phase(), Phase::Head(_) | Phase::Idle(_))
    }

    /// Bytes of the client have arrived.
    pub(super) fn received(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(Instant::now() + HEAD_TIME);
        }
    }

    /// How long the client may be silent.
    pub(super) fn read_deadline(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Head(until) | Phase::Idle(until) => Some(until),
            Phase::Handling | Phase::Reply(_) | Phase::Stream => None,
        }
    }

    /// Wakes this read when the phase has a time limit for it.
    pub(super) fn wait_for_limit(&self, waker: &Waker) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        *reader = Some(waker.clone());
    }

    /// How long the client may take for the whole reply.
    pub(super) fn write_deadline(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Reply(until) => Some(until),
            _ => None,
        }
    }
}

/// One request and its reply. Dropped when the reply has been sent.
#[derive(Debug)]
pub(super) struct Exchange(Arc<ConnectionState>);

impl Exchange {
    pub(super) fn begin(state: &Arc<ConnectionState>) -> Self {
        *state.phase() = Phase::Handling;
        Self(Arc::clone(state))
    }

    pub(super) fn reply_begins(&self) {
        *self.0.phase() = Phase::Reply(Instant::now() + REPLY_TIME);
    }

    /// The reply has no end: only the progress of the client is limited.
    pub(super) fn never_ends(&self) {
        *self.0.phase() = Phase::Stream;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        *self.0.phase() = Phase::Idle(Instant::now() + IDLE_TIME);
        let mut reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = reader.take() {
            waker.wake();
        }
    }
}
