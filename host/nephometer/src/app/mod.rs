//! The composition root: a checked configuration becomes tasks, the tasks run, they drain.
//!
//! The only module that sees both columns. Read it as the life of the process: [`App::build`] makes
//! everything without starting anything, [`App::run`] starts it, waits, and lets it run dry from
//! the front: polls end, then the router, then the sinks, then the publishers' drivers. What is
//! replaced in between is the supervisor's.

mod admin;
mod build;
mod factory;
mod plan;
mod polls;
mod queries;
mod refusals;
mod reload_request;
mod sources;
mod supervisor;
mod swap;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::control::ControlError;
use nephometer_config::{AgentSpec, SourceSpec};
use nephometer_libvirt::hypervisor::{HypervisorError, Pace};
use nephometer_libvirt::poll::{PollContext, PollSchedule};
use nephometer_model::Polled;
use nephometer_pipeline::publish::{self, PublisherTask};
use nephometer_pipeline::{DrainedSink, OutputObserver, Sink, SinkHandle, route};
use nephometer_store::{Journal, Recorder, Spools, StoreError};
use nephometer_telemetry::{Ledger, events};
use nephometer_wasm::ComponentError;

pub use factory::ComponentProblem;
use polls::Polls;
pub use queries::answer as answer_for_store;
use supervisor::{Change, Supervisor};
pub use tasks::TaskFailure;
use tasks::Tasks;

/// Batches on their way from the poll tasks to the router, which never waits for a sink: a few
/// are enough to let two poll tasks finish at once.
const BATCHES: usize = 4;
/// Changes on their way from the supervisor: it waits for each to be taken up.
const CHANGES: usize = 1;

/// What is asked of an agent beside its configuration.
pub struct Options {
    /// Publishers are told. Without, samples end at the observer.
    pub publish: bool,
    /// Transformers are applied.
    pub transform: bool,
    /// Only this sink.
    pub sink: Option<String>,
    /// When polling ends by itself.
    pub rounds: PollSchedule,
    /// Whether the store may be written: `once` leaves no trace.
    pub store: bool,
    /// Gets a copy of all output.
    pub observer: Option<OutputObserver>,
    /// Where batches are copied to as they enter the sinks.
    pub recorder: Option<Recorder>,
    /// How the configuration is read again while the agent runs; `None`: never, and nothing is
    /// taken up again. Without, components are compiled before the agent begins.
    pub reload: Option<Reload>,
}

/// How a running agent gets to its configuration again.
pub struct Reload {
    /// Reads and checks all of it.
    pub load: Arc<dyn Fn() -> Result<AgentSpec, String> + Send + Sync>,
    /// The files that it reads.
    pub files: Vec<PathBuf>,
    /// Somebody asks for it.
    pub hangups: mpsc::Receiver<()>,
}

impl Default for Options {
    fn default() -> Self {
        let rounds = PollSchedule { max_cycles: None, interval: None };
        Self {
            publish: true,
            transform: true,
            sink: None,
            rounds,
            store: true,
            observer: None,
            recorder: None,
            reload: None,
        }
    }
}

/// Why an agent cannot be built or cannot go on.
#[derive(Debug, Error)]
pub enum AppError {
    /// Something that the configuration names cannot be used: all of it, each with its place.
    #[error("{}", factory::lines(.0))]
    Configuration(Vec<ComponentProblem>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Domains cannot be read at all.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The sink that was asked for is not there.
    #[error("there is no sink {name:?}; the pipeline has {known}")]
    NoSuchSink {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A publisher cannot be made.
    #[error("publisher {label}")]
    Publisher {
        /// Its URL without credentials.
        label: Arc<str>,
        /// What is wrong with it.
        source: publish::PublisherError,
    },
    /// A task ended where none may.
    #[error("task {name:?} failed; this is a bug in the agent, please report it")]
    Task {
        /// Which one.
        name: String,
        /// How it ended.
        source: TaskFailure,
    },
    /// The threads for components cannot be made.
    #[error("cannot start the component engine")]
    Components(#[source] ComponentError),
}

/// An agent that is complete and has not begun.
pub struct App {
    spec: AgentSpec,
    ledger: Arc<Ledger>,
    context: PollContext,
    pace: Pace,
    rounds: PollSchedule,
    sources: Vec<SourceSpec>,
    journal: Journal,
    spools: Spools,
    recorder: Option<Recorder>,
    sinks: Vec<(Sink, SinkHandle)>,
    publishers: Vec<PublisherTask>,
    background_tasks: Option<BackgroundTasks>,
    /// Held for as long as the agent lives: the lock on the store, the threads of the components.
    _kept: build::StoreHandles,
}

/// Those who look after a running agent.
struct BackgroundTasks {
    supervisor: Supervisor,
    admin: admin::AdminService,
    changes: mpsc::Receiver<Change>,
    control: Option<crate::control::Server>,
}

impl App {
    /// The counters, which stay readable when the agent has ended.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Runs until polling ends by itself or `stop` says so, then drains for at most the grace
    /// period. What the ledger calls held afterwards was not delivered; with a store it is still
    /// there at the next start.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), AppError> {
        let (batches, receiver) = mpsc::channel::<Polled>(BATCHES);
        let mut polls = Polls::new(self.context, self.pace, self.rounds, batches);
        polls.set(&self.sources);
        let mut running_tasks = RunningTasks::default();
        running_tasks.router.spawn("router", route(receiver, self.journal.clone(), self.recorder));
        let mut handles = Vec::new();
        for (sink, handle) in self.sinks {
            running_tasks.sinks.spawn(format!("sink {}", sink.name()), sink.run());
            handles.push(handle);
        }
        self.publishers.into_iter().for_each(|task| running_tasks.publisher(task));
        let changes = running_tasks.attend(self.background_tasks);
        let ended = running_tasks.until_over(&mut polls, changes, stop).await;
        polls.stop();
        let grace = self.spec.shutdown_grace;
        let deadline = Instant::now() + grace;
        let mut remains = Vec::new();
        let draining = running_tasks.drain(&mut polls, &handles, &mut remains);
        let drained = tokio::time::timeout_at(deadline, draining).await.unwrap_or_else(|_| {
            events::poll::drain_ended(grace);
            Ok(())
        });
        running_tasks.attending.shutdown().await;
        polls.shutdown().await;
        // A sink that is stopped here lets go of its publishers, whose spools close by that.
        running_tasks.sinks.shutdown().await;
        running_tasks.router.shutdown().await;
        let delivered = running_tasks.deliver(deadline).await;
        self.spools.sync().await;
        join_all(remains.into_iter().map(DrainedSink::finish)).await;
        self.journal.sync().await;
        ended.and(drained).and(delivered)
    }
}

/// The tasks of a running agent but for the polls. Each that ends while it may not ends the agent.
#[derive(Default)]
struct RunningTasks {
    router: Tasks<()>,
    sinks: Tasks<DrainedSink>,
    /// One for each publisher, until it has sent what it held when its sink let go of it.
    publishers: Tasks<()>,
    /// The supervisor and the control socket.
    attending: Tasks<()>,
}

impl RunningTasks {
    fn publisher(&mut self, task: PublisherTask) {
        self.publishers.spawn(format!("publisher {}", task.label()), task.run());
    }

    /// Starts those who look after the agent. Gives what they want to have changed.
    fn attend(&mut self, background_tasks: Option<BackgroundTasks>) -> mpsc::Receiver<Change> {
        let Some(BackgroundTasks { supervisor, admin, changes, control }) = background_tasks else {
            return mpsc::channel(CHANGES).1;
        };
        if let Some(control) = control {
            let admin = Arc::new(admin);
            let serving = control.serve(move |request| {
                let admin = Arc::clone(&admin);
                async move { admin.answer(request).await }
            });
            self.attending.spawn("control socket", serving);
        }
        self.attending.spawn("supervisor", supervisor.run());
        changes
    }

    /// Waits until all polls have ended, some task has failed, or the stop says so.
    async fn until_over(
        &mut self,
        polls: &mut Polls,
        mut changes: mpsc::Receiver<Change>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), AppError> {
        loop {
            tokio::select! {
                biased;
                ended = polls.ended() => match ended {
                    None => return Ok(()),
                    Some(ended) => ended?,
                },
                error = self.failure() => return Err(error),
                Some(change) = changes.recv() => match change {
                    Change::Sources(sources) => polls.set(&sources),
                    Change::Publisher(task) => self.publisher(task),
                },
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Waits until a task fails: all of them go on for as long as there are polls, but for publishers
    /// that a sink has let go of.
    async fn failure(&mut self) -> AppError {
        let (name, failure) = loop {
            tokio::select! {
                Some((name, ended)) = self.router.next() => break (name, ended.err()),
                Some((name, ended)) = self.sinks.next() => break (name, ended.err()),
                Some((name, ended)) = self.attending.next() => break (name, ended.err()),
                Some((name, ended)) = self.publishers.next() => match ended {
                    Ok(()) => {}
                    Err(failure) => break (name, Some(failure)),
                },
                else => std::future::pending().await,
            }
        };
        AppError::Task { name, source: failure.unwrap_or(TaskFailure::EndedEarly) }
    }

    /// From the front to the back: each part ends when nothing can come any more.
    async fn drain(
        &mut self,
        polls: &mut Polls,
        handles: &[SinkHandle],
        remains: &mut Vec<DrainedSink>,
    ) -> Result<(), AppError> {
        while let Some(ended) = polls.ended().await {
            ended?;
        }
        while let Some((name, ended)) = self.router.next().await {
            ended.map_err(|source| AppError::Task { name, source })?;
        }
        // What is being compiled is worth waiting for; what cannot be made is not.
        join_all(handles.iter().map(SinkHandle::wait_until_prepared)).await;
        join_all(handles.iter().map(SinkHandle::shut_down)).await;
        while let Some((name, ended)) = self.sinks.next().await {
            remains.push(ended.map_err(|source| AppError::Task { name, source })?);
        }
        Ok(())
    }

    /// Lets the publishers send what they hold, up to the deadline. What is left is in the counts.
    async fn deliver(&mut self, deadline: Instant) -> Result<(), AppError> {
        let mut delivered = Ok(());
        while let Ok(Some((name, ended))) =
            tokio::time::timeout_at(deadline, self.publishers.next()).await
        {
            delivered = delivered.and(ended.map_err(|source| AppError::Task { name, source }));
        }
        self.publishers.shutdown().await;
        delivered
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn running_tasks() -> RunningTasks {
        let mut running_tasks = RunningTasks::default();
        running_tasks.router.spawn("router", pending());
        running_tasks.sinks.spawn("sink s", pending());
        running_tasks.publishers.spawn("publisher p", pending());
        running_tasks.attending.spawn("supervisor", pending());
        running_tasks
    }

    fn name(error: AppError) -> (String, bool) {
        match error {
            AppError::Task { name, source } => (name, matches!(source, TaskFailure::EndedEarly)),
            error => panic!("{error}"),
        }
    }

    // Nobody joined them: a publisher whose task had panicked filled its spool and dropped the oldest,
    // and a reload was never heard of again, while the agent looked healthy.
    #[tokio::test]
    async fn a_task_that_panics_or_ends_ends_the_agent_with_its_name() {
        let mut panicking = running_tasks();
        panicking.publishers.spawn("publisher q", async { panic!("on purpose") });
        assert_eq!(name(panicking.failure().await), ("publisher q".to_owned(), false));
        let mut ending = running_tasks();
        ending.attending.spawn("control socket", async {});
        assert_eq!(name(ending.failure().await), ("control socket".to_owned(), true));
    }

    // Their tasks were kept for as long as the agent ran, one more with each change of a publisher.
    #[tokio::test]
    async fn publishers_that_have_sent_all_leave_nothing_behind() {
        let mut running_tasks = running_tasks();
        let (fail, failing) = tokio::sync::oneshot::channel::<()>();
        let (gone, all_gone) = tokio::sync::oneshot::channel::<()>();
        for number in 0..100 {
            running_tasks.publishers.spawn(format!("publisher {number}"), async {});
        }
        running_tasks.router.spawn("second router", async move { drop(failing.await) });
        running_tasks.publishers.spawn("publisher last", async move { gone.send(()).unwrap() });
        let failure = running_tasks.failure();
        let failing = async move {
            drop(all_gone.await);
            tokio::task::yield_now().await;
            drop(fail);
        };
        let (error, ()) = tokio::join!(failure, failing);
        assert_eq!(name(error), ("second router".to_owned(), true));
        assert!(
            running_tasks.publishers.len() < 100,
            "{} tasks are left",
            running_tasks.publishers.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_deadline_and_names_what_panicked() {
        let mut running_tasks = running_tasks();
        running_tasks.publishers.spawn("publisher q", async { panic!("on purpose") });
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        let error = running_tasks.deliver(deadline).await.unwrap_err();
        assert_eq!(name(error), ("publisher q".to_owned(), false));
        assert_eq!((Instant::now(), running_tasks.publishers.len()), (deadline, 0));
    }
}
