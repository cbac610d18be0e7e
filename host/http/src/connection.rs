//! One connection: its phase, which decides how long it may be silent, and its requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::access::{Access, Caller};
use super::body::ReplyBody;
use super::router::Router;
use super::stream::TimedStream;
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
    fn begin(state: &Arc<ConnectionState>) -> Self {
        *state.phase() = Phase::Handling;
        Self(Arc::clone(state))
    }

    fn reply_begins(&self) {
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

/// What all connections of a listener share.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) access: Access,
}

/// Serves the requests of a connection until it ends. `stop` lets it end after the request that is
/// under way.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (state, caller): (Arc<ConnectionState>, Caller),
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let stream = TimedStream::new(stream, Arc::clone(&state));
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let exchange = Exchange::begin(&state);
        let service = Arc::clone(&service);
        async move {
            Ok::<_, std::convert::Infallible>(answer(&service, request, caller, exchange).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(Bound::HttpHeadBytes.size())
        .max_headers(Bound::HttpHeaders.size())
        // The stream has its own time limits.
        .header_read_timeout(None)
        .serve_connection(stream, answer);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn answer(
    service: &Service,
    request: hyper::Request<Incoming>,
    connected: Caller,
    exchange: Exchange,
) -> hyper::Response<ReplyBody> {
    let reply = service.router.answer(&service.access, request, connected).await;
    exchange.reply_begins();
    reply.response(exchange)
}
