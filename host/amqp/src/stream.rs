//! The stream that the AMQP library reads from: a socket, plain or TLS, with a `FrameGuard` on the
//! input, which ends when its `CloseOnDrop` is dropped.
//!
//! The library accepts only the stream type of its reactor. Therefore this module has a reactor of
//! its own, which delegates everything but streams to Tokio's.

use std::future::{Future, ready};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready as poll};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::tcp::AsyncTcpStream;
use tokio::sync::watch;

use crate::frame_error::FrameError;
use crate::frames::FrameGuard;
use nephometer_model::Bound;

/// Reads that are discarded before the library may write again.
const READS: usize = 64;

/// The guarded stream: a plain or TLS socket.
pub(crate) type BrokerStream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime that is passed to the library.
pub(crate) type Runtime = async_rs::Runtime<RuntimeParts<Tokio, GuardedReactor>>;

/// Tokio's threads and timers, and guarded streams.
pub(crate) fn runtime() -> Runtime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), GuardedReactor(tokio)))
}

/// Ends a stream when it is dropped. The library's own thread reads the stream, and would otherwise
/// run until the broker closes the connection, long after its owner is dropped.
pub(crate) struct CloseOnDrop(watch::Sender<()>);

impl CloseOnDrop {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut end = self.0.subscribe();
        // Nothing is ever sent: this resolves when the sender is dropped.
        async move { drop(end.changed().await) }
    }
}

/// A stream whose incoming frames are validated.
pub(crate) struct GuardedStream<S> {
    inner: S,
    guard: FrameGuard,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    /// The rejection, after which nothing more is read.
    rejected: Option<FrameError>,
    /// Bytes that were discarded.
    discarded: usize,
}

impl<S> GuardedStream<S> {
    pub(crate) fn new(inner: S, guard: FrameGuard, close_on_drop: &CloseOnDrop) -> Self {
        let end = Box::pin(close_on_drop.end());
        Self { inner, guard, end, ended: false, rejected: None, discarded: 0 }
    }

    /// Whether the `CloseOnDrop` was dropped. If not, the task is woken when it is.
    fn ended(&mut self, context: &mut Context<'_>) -> bool {
        self.ended = self.ended || self.end.as_mut().poll(context).is_ready();
        self.ended
    }
}

impl<S: AsyncRead + Unpin> GuardedStream<S> {
    /// Discards what is received, until the peer closes the connection. The consumer still has to
    /// write: it refuses a message, and closes the connection. If input were left unread, the system
    /// would reset the connection, and the broker might lose the refusal. One that sends without end is
    /// cut off: it would deliver the message again, and be read at full speed for ever.
    fn poll_discard(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..READS {
            let read = poll!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            self.discarded += read;
            // What an honest broker has on its way then is in the buffers of two sockets.
            if let Err(over) = Bound::Discarded.check(self.discarded) {
                let error = FrameError::Bound(over);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.ended(context) {
            let reason = "the client has dropped the connection";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)));
        }
        if this.guard.has_reported() {
            return this.poll_discard(context, buffer);
        }
        if this.rejected.is_none() {
            let read = poll!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            match this.guard.check(&buffer[..read]) {
                Ok(()) => return Poll::Ready(Ok(read)),
                Err(error) => this.rejected = Some(error),
            }
            // The library may wait for a reply that came before the delivery.
            if this.guard.has_reported() && this.guard.complete() > 0 {
                return Poll::Ready(Ok(this.guard.complete()));
            }
        }
        match this.rejected {
            Some(error) if !this.guard.has_reported() => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
            _ => this.poll_discard(context, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS sends a last record, which a peer that does not read could block for ever.
        if self.ended(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Tokio's reactor without its streams: those are connected and guarded before the library is
/// called.
#[derive(Debug, Clone)]
pub(crate) struct GuardedReactor(Tokio);

/// The error for a stream that the library requests. It does not, because it gets a connected one.
fn unguarded() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "stream without a guard")
}

impl Reactor for GuardedReactor {
    type TcpStream = GuardedStream<BrokerStream>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(unguarded())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        ready(Err(unguarded()))
    }
}
