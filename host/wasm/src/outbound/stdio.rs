//! Standard output and standard error of a guest: lines of its log, out of the same budget. They
//! are taken within the guest's call, so that they cost its processor time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log::clean;
use crate::stats::ComponentCount;
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// Bytes that are taken at once.
const AT_ONCE: usize = 64 << 10;

/// One of the two.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    component: Arc<str>,
    count: Arc<ComponentCount>,
    error: bool,
}

impl Lines {
    /// `error` for standard error, which is logged as a warning.
    pub(super) fn new(component: &Arc<str>, count: &Arc<ComponentCount>, error: bool) -> Self {
        Self { component: Arc::clone(component), count: Arc::clone(count), error }
    }

    fn write(&self, line: &[u8]) {
        if !self.count.may_log(&self.component) {
            return;
        }
        let line = clean(&String::from_utf8_lossy(line));
        if self.error {
            events::component::log_warn(&self.component, &line);
        } else {
            events::component::log_info(&self.component, &line);
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer::new(self))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer::new(self))
    }
}

/// Cuts what is written into lines.
struct Writer {
    lines: Lines,
    line: Vec<u8>,
}

impl Writer {
    fn new(lines: &Lines) -> Self {
        Self { lines: lines.clone(), line: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.lines.write(&self.line);
                self.line.clear();
            } else if self.line.len() <= Bound::TextBytes.size() {
                self.line.push(*byte);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.lines.write(&self.line);
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(AT_ONCE)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn streams_share_one_budget_however_often_they_are_opened() {
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        let most = Bound::LogLines.most();
        for i in 0..most {
            let lines = Lines::new(&Arc::from("chatty"), &count, i % 2 == 0);
            lines.p2_stream().write(Bytes::from_static(b"one line\n")).unwrap();
        }
        assert_eq!(count.numbers().log_dropped, 0);
        let lines = Lines::new(&Arc::from("chatty"), &count, true);
        // What has no end of line is one when the stream is dropped.
        lines.p2_stream().write(Bytes::from_static(b"a\n\nb")).unwrap();
        assert_eq!(count.numbers().log_dropped, 3);
    }

    #[test]
    fn no_more_of_a_line_is_kept_than_is_logged() {
        let count = Arc::new(ComponentCount::new(Digest::from([0; 32])));
        let mut writer = Writer::new(&Lines::new(&Arc::from("chatty"), &count, false));
        writer.take(&vec![b'x'; 1 << 20]);
        assert_eq!(writer.line.len(), Bound::TextBytes.size() + 1);
    }
}
