//! Logs standard output and standard error of a guest, within the line budget of its log. Runs
//! within the guest's call, and so on its processor time.

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
use crate::stats::ComponentCounters;
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// Bytes accepted per write.
const WRITE_CHUNK: usize = 64 << 10;

/// One of the two streams.
#[derive(Debug, Clone)]
pub(super) struct StdioLog {
    component: Arc<str>,
    counters: Arc<ComponentCounters>,
    error: bool,
}

impl StdioLog {
    /// `error` for standard error, which is logged as a warning.
    pub(super) fn new(
        component: &Arc<str>,
        counters: &Arc<ComponentCounters>,
        error: bool,
    ) -> Self {
        Self { component: Arc::clone(component), counters: Arc::clone(counters), error }
    }

    fn write(&self, line: &[u8]) {
        if !self.counters.may_log(&self.component) {
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

impl IsTerminal for StdioLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for StdioLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter::new(self))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter::new(self))
    }
}

/// Splits written bytes into lines.
struct LineWriter {
    log: StdioLog,
    line: Vec<u8>,
}

impl LineWriter {
    fn new(log: &StdioLog) -> Self {
        Self { log: log.clone(), line: Vec::new() }
    }

    fn append(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.log.write(&self.line);
                self.line.clear();
            } else if self.line.len() <= Bound::TextBytes.size() {
                self.line.push(*byte);
            }
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.log.write(&self.line);
        }
    }
}

#[async_trait]
impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_CHUNK)
    }
}

#[async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.append(bytes);
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
    fn all_streams_share_one_line_budget() {
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        let most = Bound::LogLines.most();
        for i in 0..most {
            let log = StdioLog::new(&Arc::from("chatty"), &counters, i % 2 == 0);
            log.p2_stream().write(Bytes::from_static(b"one line\n")).unwrap();
        }
        assert_eq!(counters.stats().log_dropped, 0);
        let log = StdioLog::new(&Arc::from("chatty"), &counters, true);
        // An unterminated line is logged when the stream is dropped.
        log.p2_stream().write(Bytes::from_static(b"a\n\nb")).unwrap();
        assert_eq!(counters.stats().log_dropped, 3);
    }

    #[test]
    fn long_lines_are_not_buffered_beyond_the_log_limit() {
        let counters = Arc::new(ComponentCounters::new(Digest::from([0; 32])));
        let mut writer = LineWriter::new(&StdioLog::new(&Arc::from("chatty"), &counters, false));
        writer.append(&vec![b'x'; 1 << 20]);
        assert_eq!(writer.line.len(), Bound::TextBytes.size() + 1);
    }
}
