use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The AMQP library reports as errors what the publisher handles and says once, such as a broker
/// that is away.
const QUIET: &str = "lapin=off";

/// Starts logging to standard error. `filter` is a level or a list of directives as tracing's
/// `EnvFilter` reads them; what it cannot read is an error. Libraries that are loud without need
/// are quiet unless the filter names them.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| format!("the log filter {filter:?} cannot be read: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(rustix::termios::isatty(rustix::stdio::stderr()));
    match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().with_target(false).flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}

/// Lines that are kept instead of being written, for tests of components.
#[derive(Debug, Clone, Default)]
pub struct Recorded(Arc<Mutex<Vec<String>>>);

impl Recorded {
    /// What has been said since the last call: `warn: too old`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts to keep what is said instead of writing it, of what this program says at any level.
pub fn record() -> Result<Recorded, String> {
    let recorded = Recorded::default();
    let filter = EnvFilter::new("off,nephometer=trace");
    let subscriber = Registry::default().with(filter).with(recorded.clone());
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(recorded)
}

impl<S: Subscriber> Layer<S> for Recorded {
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
