//! `nephometer run`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::{Common, Logging};
use super::{Failure, output};
use crate::app::{App, Options, Reload};
use nephometer_config as config;
use nephometer_store::Recorder;
use nephometer_telemetry::{Ledger, Service, ServiceThread, events};

/// The limit on open files, enough for every agent. Higher limits slow down programs that close
/// descriptors one by one.
const MAX_OPEN_FILES: u64 = 65_536;

/// Run the agent until SIGTERM or SIGINT
///
/// Changed components and configuration files are applied while it runs, and on SIGHUP. On SIGTERM
/// or SIGINT it sends what is pending for at most `shutdown_grace`, and prints its ledger. A second
/// signal ends it at once. Exits with 0 if no samples are pending, otherwise with 69.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    recording: Recording,
}

/// Options of `--record`.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// Copy every batch into this file as it enters the sinks, for `nephometer replay`. An existing
    /// file, or one that reaches the size limit, is renamed to FILE.1
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Size limit of the recording, and of FILE.1 beside it
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, default_value = "256MiB")]
    record_size: u64,
}

impl Recording {
    fn start(&self) -> Result<Option<Recorder>> {
        let recorder = self.record.as_ref().map(|file| Recorder::begin(file, self.record_size));
        Ok(recorder.transpose()?)
    }
}

impl Run {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        raise_file_limit();
        let spec = self.common.load()?;
        let inputs = self.common.inputs();
        let files = config::files(&inputs);
        let load = move || match config::load(&inputs) {
            Ok(loaded) => Ok(loaded.spec),
            Err(error) => Err(error.to_string()),
        };
        let (service, thread) = supervised()?;
        let result = block_on(runtime()?, async {
            let reload = Reload { load: Arc::new(load), files, hangups: hangups()? };
            let recorder = self.recording.start()?;
            let options = Options { reload: Some(reload), recorder, service, ..Options::default() };
            let app = App::build(spec, options).await?;
            let ledger = app.ledger();
            let ended = run_until_signal(app).await;
            outcome(ended, report_ledger(&ledger))
        });
        thread.end();
        result
    }
}

/// The connection to the service manager that has started this process, if one has.
fn supervised() -> Result<(Service, ServiceThread)> {
    let supervised = std::env::var_os("NOTIFY_SOCKET").is_some();
    Service::start(supervised).context("cannot start the thread for the service manager")
}

/// Raises the soft limit on open files. Services start with 1,024, for programs that use `select`.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let target = maximum.map_or(MAX_OPEN_FILES, |most| most.min(MAX_OPEN_FILES));
    // `None` means unlimited.
    if current.is_none_or(|current| current >= target) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum }) {
        Ok(()) => events::process::descriptors_raised(current, target),
        Err(error) => events::process::descriptors_not_raised(current, &error.into()),
    }
}

/// Receives SIGHUP for the life of the process, so that it never ends the agent.
pub(super) fn hangups() -> Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    // Signals carry no data, so one is enough.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // A signal is pending already, or the agent is shutting down.
            let _full = sender.try_send(());
        }
    });
    Ok(receiver)
}

/// The runtime for everything but components.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// How long blocking calls may take at the end of the process, such as the last writes to disk.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

/// Runs a future to its end. A blocking call that hangs then, such as one to a dead file system, ends
/// with the process; its data is still pending.
pub(super) fn block_on<T>(runtime: tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    let output = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKING_GRACE);
    output
}

/// Runs an agent until it ends by itself or on a signal. The first signal drains it, the second one
/// does not wait.
pub(super) async fn run_until_signal(app: App) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    let run = app.run(stopped);
    tokio::pin!(run);
    loop {
        tokio::select! {
            ended = &mut run => return Ok(ended?),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.send_replace(true) {
            return Ok(());
        }
    }
}

/// Prints the ledger, and checks it.
pub(super) fn report_ledger(ledger: &Arc<Ledger>) -> Result<()> {
    output::print_error(&ledger.to_string());
    check_ledger(ledger)
}

/// Pending samples, and numbers that do not add up, are failures.
pub(super) fn check_ledger(ledger: &Ledger) -> Result<()> {
    // First: pending samples have a cause outside, wrong numbers are a bug.
    let breaches = ledger.breaches();
    if !breaches.is_empty() {
        anyhow::bail!("the ledger does not add up: {}", breaches.join("; "));
    }
    if ledger.pending() != (0, 0) {
        return Err(Failure::Unavailable.into());
    }
    Ok(())
}

/// The result of a run. A failed task comes first: pending samples follow from it.
pub(super) fn outcome(ended: Result<()>, ledger: Result<()>) -> Result<()> {
    ended.and(ledger)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::classify;
    use super::*;
    use crate::app::{AppError, TaskFailure};

    // With pending samples, the exit code was that of an unreachable receiver.
    #[test]
    fn a_ledger_that_does_not_add_up_is_an_internal_error() {
        let ledger = Arc::<Ledger>::default();
        let sink = ledger.sink(&Arc::from("s"));
        sink.entered.fetch_add(3, Relaxed);
        sink.pending.fetch_add(1, Relaxed);
        let error = report_ledger(&ledger).unwrap_err();
        assert!(error.to_string().contains("sink s: 3 samples in, 1 accounted for"), "{error}");
        sink.processed.fetch_add(2, Relaxed);
        let error = report_ledger(&ledger).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>(), Some(&Failure::Unavailable));
    }

    // The exit code was that of an unreachable receiver, and the task was not named.
    #[test]
    fn a_failed_task_is_reported_although_samples_are_pending() {
        let ledger = Arc::<Ledger>::default();
        let sink = ledger.sink(&Arc::from("s"));
        sink.entered.fetch_add(1, Relaxed);
        sink.pending.fetch_add(1, Relaxed);
        let source = TaskFailure::EndedEarly;
        let task = AppError::Task { name: "publisher p".to_owned(), source };
        let error = outcome(Err(task.into()), report_ledger(&ledger)).unwrap_err();
        assert!(error.to_string().contains("publisher p"), "{error}");
        assert_eq!(classify(&error), Failure::Software);
        let error = outcome(Ok(()), report_ledger(&ledger)).unwrap_err();
        assert_eq!(classify(&error), Failure::Unavailable);
    }

    // The end of the runtime once waited for every blocking call, even one that never ends.
    #[test]
    fn a_hung_blocking_call_does_not_delay_the_end() {
        let (never, hangs) = std::sync::mpsc::channel::<()>();
        let (began, begun) = std::sync::mpsc::channel();
        let done = block_on(runtime().unwrap(), async move {
            tokio::task::spawn_blocking(move || {
                began.send(()).unwrap();
                hangs.recv()
            });
            begun.recv().unwrap();
            7
        });
        assert_eq!(done, 7);
        assert!(never.send(()).is_ok(), "the call still hangs");
    }
}
