//! The log: starts it on standard error, or records it for tests of components.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The AMQP library logs errors that the publisher handles and logs itself, such as a lost connection.
const QUIET: &str = "lapin=off";

/// Starts logging to standard error. `filter` is a level or a list of directives as tracing's
/// `EnvFilter` parses them. The AMQP library is silenced unless the filter names it.
///
/// # Errors
///
/// If `filter` cannot be parsed, or logging was started before.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| format!("invalid log filter {filter:?}: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| TailedError)
        .with_ansi(rustix::termios::isatty(rustix::stdio::stderr()));
    match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().with_target(false).flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}

/// The last lines of the log, for reports of bugs.
static TAIL: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
/// Lines that are kept.
const TAIL_LINES: usize = 500;
/// Characters of one line that are kept.
const TAIL_LENGTH: usize = 1000;

/// The last lines that were logged, oldest first.
pub fn tail() -> Vec<String> {
    TAIL.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// Standard error, whose last lines are kept. Each event is written at once.
struct TailedError;

impl Write for TailedError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        let line = String::from_utf8_lossy(bytes);
        tail.push_back(line.trim_end().chars().take(TAIL_LENGTH).collect());
        drop(tail);
        // The whole event or an error: what a caller writes next would be another line.
        io::stderr().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Log lines in memory, for tests of components.
#[derive(Debug, Clone, Default)]
pub struct RecordedLog(Arc<Mutex<Vec<String>>>);

impl RecordedLog {
    /// The lines since the last call, such as `warn: too old`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Records the log in memory instead of writing it: this program's lines of any level, none of its
/// libraries.
///
/// # Errors
///
/// If logging was started before.
pub fn record() -> Result<RecordedLog, String> {
    let recorded = RecordedLog::default();
    let filter = EnvFilter::new("off,nephometer=trace");
    let subscriber = Registry::default().with(filter).with(recorded.clone());
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(recorded)
}

impl<S: Subscriber> Layer<S> for RecordedLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = event.metadata().level().as_str().to_lowercase();
        let line = format!("{level}: {}", message.0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
