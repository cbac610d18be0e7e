use tracing_subscriber::EnvFilter;

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
