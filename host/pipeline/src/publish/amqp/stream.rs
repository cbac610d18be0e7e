//! The stream that the AMQP library reads from: a socket, or TLS, with a `FrameGuard` on what comes
//! in, and with an end that whoever holds its `Leash` can bring about.
//!
//! The library takes streams of one type only, that of its reactor: therefore a reactor of our own,
//! which is tokio's in all that is no stream.

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

use super::frames::FrameGuard;

/// What is guarded: a socket, in the clear or with TLS.
pub(super) type Wire = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime that the library is given.
pub(super) type Runtime = async_rs::Runtime<RuntimeParts<Tokio, GuardedReactor>>;

/// Tokio's threads and timers, and guarded streams.
pub(super) fn runtime() -> Runtime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), GuardedReactor(tokio)))
}

/// Ends a stream when it is dropped. The library's own thread reads the stream, and would otherwise
/// live for as long as the broker leaves the connection open, whatever became of the publisher.
pub(super) struct Leash(watch::Sender<()>);

impl Leash {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut end = self.0.subscribe();
        // Nothing is ever sent: it changes when the sender is dropped.
        async move { drop(end.changed().await) }
    }
}

/// A stream whose incoming frames are followed.
pub(super) struct GuardedStream<S> {
    inner: S,
    guard: FrameGuard,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    /// Why nothing more is read.
    refused: Option<String>,
}

impl<S> GuardedStream<S> {
    pub(super) fn new(inner: S, guard: FrameGuard, leash: &Leash) -> Self {
        Self { inner, guard, end: Box::pin(leash.end()), ended: false, refused: None }
    }

    /// Whether the leash was dropped; if not, the task is woken when it is.
    fn ended(&mut self, context: &mut Context<'_>) -> bool {
        self.ended = self.ended || self.end.as_mut().poll(context).is_ready();
        self.ended
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
            let reason = "the publisher has dropped the connection";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)));
        }
        if this.refused.is_none() {
            let read = poll!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            match this.guard.follow(&buffer[..read]) {
                Ok(()) => return Poll::Ready(Ok(read)),
                Err(refusal) => this.refused = Some(refusal.to_string()),
            }
        }
        let reason = this.refused.clone().unwrap_or_default();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)))
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
        // TLS sends a last record, which a peer that reads nothing could delay for ever.
        if self.ended(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Tokio's reactor, but for its streams: those are made and guarded before the library is called.
#[derive(Debug, Clone)]
pub(super) struct GuardedReactor(Tokio);

/// The library never asks its reactor for a stream, because it is given a connected one.
fn unguarded() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a stream without a guard")
}

impl Reactor for GuardedReactor {
    type TcpStream = GuardedStream<Wire>;
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
