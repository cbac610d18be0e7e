//! Standard output and standard error of a guest: lines of its log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::component::log::clean;
use crate::telemetry::events;

/// Lines in a window; more help nobody, and a guest can write millions.
const LINES: u64 = 100;
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes of a line that are kept.
const LINE: usize = 1 << 10;

/// One of the two.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    component: Arc<str>,
    error: bool,
}

impl Lines {
    /// `error` for standard error, which is told as a warning.
    pub(super) fn new(component: &Arc<str>, error: bool) -> Self {
        Self { component: Arc::clone(component), error }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        let (lines, window, line) = (self.clone(), Instant::now(), Vec::new());
        Box::new(Writer { lines, window, told: 0, line })
    }
}

/// Cuts what is written into lines.
struct Writer {
    lines: Lines,
    window: Instant,
    told: u64,
    line: Vec<u8>,
}

impl Writer {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.tell();
            } else if self.line.len() < LINE + 1 {
                self.line.push(*byte);
            }
        }
    }

    fn tell(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.window.elapsed() > WINDOW {
            self.drop_told();
            self.window = Instant::now();
        }
        self.told += 1;
        if self.told > LINES {
            return;
        }
        let line = clean(&String::from_utf8_lossy(&line));
        if self.lines.error {
            events::component::warns(&self.lines.component, &line);
        } else {
            events::component::says(&self.lines.component, &line);
        }
    }

    /// Says how many lines of the window were dropped.
    fn drop_told(&mut self) {
        let told = std::mem::take(&mut self.told);
        if told > LINES {
            events::component::log_dropped(&self.lines.component, told - LINES);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.tell();
        }
        self.drop_told();
    }
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
