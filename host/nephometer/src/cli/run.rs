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
use nephometer_telemetry::{Ledger, events};

/// Open files that are enough for every agent; more only cost programs that close them one by one.
const DESCRIPTORS: u64 = 65_536;

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
    fn begin(&self) -> Result<Option<Recorder>> {
        let begun = self.record.as_ref().map(|file| Recorder::begin(file, self.record_size));
        Ok(begun.transpose()?)
    }
}

impl Run {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        raise_descriptors();
        let spec = self.common.load()?;
        let inputs = self.common.inputs();
        let files = config::files(&inputs);
        let load = move || match config::load(&inputs) {
            Ok(loaded) => Ok(loaded.spec),
            Err(error) => Err(error.to_string()),
        };
        complete(runtime()?, async {
            let reload = Reload { load: Arc::new(load), files, hangups: hangups()? };
            let recorder = self.recording.begin()?;
            let options = Options { reload: Some(reload), recorder, ..Options::default() };
            let app = App::build(spec, options).await?;
            let ledger = app.ledger();
            let ended = until_signalled(app).await;
            outcome(ended, settle(&ledger))
        })
    }
}

/// Raises the limit on open files to what the system allows without asking: the soft limit that a
/// service starts with, 1,024, is there for programs that use `select`.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    // No limit is none that has to be raised.
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => events::process::descriptors_raised(current, wanted),
        Err(error) => events::process::descriptors_not_raised(current, &error.into()),
    }
}

/// SIGHUP, for as long as the process lives: it never ends the agent.
fn hangups() -> Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    // One says all there is to say.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // One waits already, or the agent is ending.
            let _full = sender.try_send(());
        }
    });
    Ok(receiver)
}

/// The threads for everything but guest code.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .context("threads cannot be started")
}

/// How long calls may still take that block a thread, once all else is over: the last writes to disk.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Runs something to its end. A call that hangs then, such as one to a file system that does not
/// answer, ends with the process: what it was about is held still.
pub(super) fn complete<T>(runtime: tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_CALLS);
    done
}

/// Runs an agent until it ends by itself or a signal ends it: the first one drains, the second one
/// does not wait for that.
pub(super) async fn until_signalled(app: App) -> Result<()> {
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

/// Prints the ledger. Anything held, or a number that does not add up, is a failure.
pub(super) fn settle(ledger: &Arc<Ledger>) -> Result<()> {
    output::print_error(&ledger.to_string());
    // First: what is held is a state of the world, numbers that do not add up are a fault of ours.
    let breaches = ledger.breaches();
    if !breaches.is_empty() {
        anyhow::bail!("the ledger does not add up: {}", breaches.join("; "));
    }
    if ledger.pending() != (0, 0) {
        return Err(Failure::Unavailable.into());
    }
    Ok(())
}

/// What a run comes to: where a task has failed, samples that are held are only what follows from it.
pub(super) fn outcome(ended: Result<()>, ledger: Result<()>) -> Result<()> {
    ended.and(ledger)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::classify;
    use super::*;
    use crate::app::{AppError, TaskFailure};

    // Where something was held as well, the exit code was that of a receiver that is away.
    #[test]
    fn a_ledger_that_does_not_add_up_is_a_failure_of_its_own() {
        let ledger = Arc::<Ledger>::default();
        let sink = ledger.sink(&Arc::from("s"));
        sink.entered.fetch_add(3, Relaxed);
        sink.pending.fetch_add(1, Relaxed);
        let error = settle(&ledger).unwrap_err();
        assert!(error.to_string().contains("sink s: 3 samples in, 1 accounted for"), "{error}");
        sink.processed.fetch_add(2, Relaxed);
        let error = settle(&ledger).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>(), Some(&Failure::Unavailable));
    }

    // The exit code was that of a receiver that is away, and the task was not named at all.
    #[test]
    fn a_task_that_failed_is_reported_also_where_samples_are_held() {
        let ledger = Arc::<Ledger>::default();
        let sink = ledger.sink(&Arc::from("s"));
        sink.entered.fetch_add(1, Relaxed);
        sink.pending.fetch_add(1, Relaxed);
        let source = TaskFailure::EndedEarly;
        let task = AppError::Task { name: "publisher p".to_owned(), source };
        let error = outcome(Err(task.into()), settle(&ledger)).unwrap_err();
        assert!(error.to_string().contains("publisher p"), "{error}");
        assert_eq!(classify(&error), Failure::Software);
        let error = outcome(Ok(()), settle(&ledger)).unwrap_err();
        assert_eq!(classify(&error), Failure::Unavailable);
    }

    // The end of the runtime once waited for each call that blocks, also for one that never ends.
    #[test]
    fn a_call_that_hangs_does_not_hold_up_the_end() {
        let (never, hangs) = std::sync::mpsc::channel::<()>();
        let (began, begun) = std::sync::mpsc::channel();
        let done = complete(runtime().unwrap(), async move {
            tokio::task::spawn_blocking(move || {
                began.send(()).unwrap();
                hangs.recv()
            });
            begun.recv().unwrap();
            7
        });
        assert_eq!(done, 7);
        assert!(never.send(()).is_ok(), "it hangs still");
    }
}
