//! A stream whose peer may be neither silent nor slow for ever.

use std::io::{Error, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::exchange::ConnectionState;
use nephometer_model::Bound;

/// How long a peer may take nothing of a reply.
const STALL_TIME: Duration = Duration::from_millis(Bound::HttpStallTime.most());
/// Read at once: requests are small.
const CHUNK: usize = 4096;

/// Ends with an error when its connection exceeds a time limit.
pub(super) struct TimedStream<S> {
    inner: S,
    state: Arc<ConnectionState>,
    /// Runs while a read waits; the deadline changes with the phase.
    read_timer: Pin<Box<Sleep>>,
    /// Runs while a write waits.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedStream<S> {
    pub(super) fn new(inner: S, state: Arc<ConnectionState>) -> Self {
        Self { inner, state, read_timer: Box::pin(sleep_until(Instant::now())), write_timer: None }
    }

    /// Called when the peer takes nothing: an error once that has lasted too long.
    fn stalled<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let due = || {
            let stall = Instant::now() + STALL_TIME;
            self.state.write_deadline().map_or(stall, |deadline| deadline.min(stall))
        };
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(due())));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes the reply too slowly")))
    }

    /// The outcome of a write: progress resets the timer, unless the whole reply takes too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<Result<T, Error>>,
    ) -> Poll<Result<T, Error>> {
        match written {
            Poll::Ready(done) => {
                self.write_timer = None;
                Poll::Ready(done)
            }
            Poll::Pending => self.stalled(context),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut chunk = [0; CHUNK];
        let size = buffer.remaining().min(CHUNK);
        let mut read = ReadBuf::new(&mut chunk[..size]);
        if let Poll::Ready(done) = Pin::new(&mut self.inner).poll_read(context, &mut read) {
            done?;
            if !read.filled().is_empty() {
                self.state.received();
            }
            buffer.put_slice(read.filled());
            return Poll::Ready(Ok(()));
        }
        let Some(deadline) = self.state.read_deadline() else {
            self.state.wait_for_limit(context.waker());
            return Poll::Pending;
        };
        if self.read_timer.deadline() != deadline {
            self.read_timer.as_mut().reset(deadline);
        }
        ready!(self.read_timer.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client is silent, or too slow")))
    }
}

impl<S: AsyncWrite + Unpin> Write for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        if self.state.write_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            let slow = "the client takes the reply too slowly";
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, slow)));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(context);
        self.written(context, ended)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        if self.state.write_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            let slow = "the client takes the reply too slowly";
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, slow)));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.written(context, written)
    }
}
