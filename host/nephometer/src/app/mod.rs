//! The composition root: builds an agent from a checked configuration, runs it, drains it.
//!
//! The only module that uses both the polling and the publishing side. [`App::build`] builds
//! everything and starts nothing. [`App::run`] starts the tasks, waits, and drains them from front to
//! back: polls, router, sinks, publishers. The supervisor replaces parts of a running agent.

mod admin;
mod agent_metrics;
mod build;
mod catalog;
mod cpu;
mod explain;
mod factory;
mod guard_rollback;
mod guards;
mod health;
mod inspections;
mod ledger_json;
mod listeners;
mod page;
mod page_state;
mod plan;
mod polls;
mod process;
mod promote;
mod queries;
mod refusals;
mod reload_history;
mod reload_request;
mod rotation;
mod running;
mod running_tasks;
mod selection;
mod shadow_list;
mod shadows;
mod sources;
mod supervisor;
mod supply;
mod support;
mod swap;
mod tap;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::control::ControlError;
use nephometer_config::{AgentSpec, SourceSpec};
use nephometer_libvirt::hypervisor::{HypervisorError, Pace};
use nephometer_libvirt::poll::{PollContext, PollSchedule};
use nephometer_model::Polled;
use nephometer_openstack::{CloudSettings, Refresher, ServerFeed};
use nephometer_pipeline::publish::{self, PublisherTask};
use nephometer_pipeline::{DrainedSink, OutputObserver, Sink, SinkHandle, route};
use nephometer_store::{Journal, Recorder, Spools, StoreError};
use nephometer_telemetry::{Heartbeats, Ledger, Service, events};
use nephometer_wasm::{ComponentError, ComponentHost};

pub use factory::ComponentProblem;
use health::Health;
use listeners::Listeners;
use polls::PollTasks;
pub use queries::handle_store_request;
pub(crate) use running::running_components;
use running_tasks::RunningTasks;
use supervisor::{Change, Supervisor, SupervisorChannels};
pub(crate) use supply::{PullWork, SuppliedComponent, SupplyError, provisions, pull, supplied};
pub use tasks::TaskFailure;

/// Capacity of the channel from the poll tasks to the router. The router never waits for a sink, so
/// a few batches are enough.
const BATCHES: usize = 4;
/// Capacity of the channel of changes: the supervisor waits until each is applied.
const CHANGES: usize = 1;

/// How long the first cycle of an agent waits for Nova.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// The same if it polls a few times only, as `once`.
const FIRST_ANSWER_ONCE: Duration = Duration::from_secs(60);

/// Options of an agent beside its configuration.
pub struct Options {
    /// Whether samples are published. Without it they end at the observer.
    pub publish: bool,
    /// Whether transformers are applied.
    pub transform: bool,
    /// Run only this sink.
    pub sink: Option<String>,
    /// How often to poll, and how long between polls.
    pub schedule: PollSchedule,
    /// Whether the store is on disk. `once` and `check` keep it in memory.
    pub store: bool,
    /// Receives a copy of the output of every sink.
    pub observer: Option<OutputObserver>,
    /// Receives a copy of every batch that enters the sinks.
    pub recorder: Option<Recorder>,
    /// How a running agent reloads its configuration. `None` disables reloads; components are then
    /// compiled before the start.
    pub reload: Option<Reload>,
    /// What learns that the agent is ready, reloads, stops, and works.
    pub service: Service,
}

/// How a running agent reloads its configuration.
pub struct Reload {
    /// Reads and checks the whole configuration.
    pub load: Arc<dyn Fn() -> Result<AgentSpec, String> + Send + Sync>,
    /// The files that `load` reads.
    pub files: Vec<PathBuf>,
    /// Requests for a reload, by SIGHUP.
    pub hangups: mpsc::Receiver<()>,
}

impl Default for Options {
    fn default() -> Self {
        let schedule = PollSchedule { max_cycles: None, interval: None };
        Self {
            publish: true,
            transform: true,
            sink: None,
            schedule,
            store: true,
            observer: None,
            recorder: None,
            reload: None,
            service: Service::default(),
        }
    }
}

/// Why an agent cannot be built or cannot continue.
#[derive(Debug, Error)]
pub enum AppError {
    /// Components that cannot be used, each with its place in the configuration.
    #[error("{}", factory::join_lines(.0))]
    Configuration(Vec<ComponentProblem>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The hypervisor cannot be used.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The selected sink is not in the configuration.
    #[error("unknown sink {name:?}; known sinks: {known}")]
    NoSuchSink {
        /// The selected sink.
        name: String,
        /// The sinks of the configuration.
        known: String,
    },
    /// A publisher cannot be built.
    #[error("publisher {label}")]
    Publisher {
        /// Its URL without credentials.
        label: Arc<str>,
        /// What is wrong with it.
        source: publish::PublisherError,
    },
    /// A task ended that the agent needs.
    #[error("task {name:?} failed; this is a bug in the agent, please report it")]
    Task {
        /// The name of the task.
        name: String,
        /// How it ended.
        source: TaskFailure,
    },
    /// The engine for components cannot be started.
    #[error("cannot start the component engine")]
    Components(#[source] ComponentError),
}

/// An agent that is built and has not started.
pub struct App {
    spec: AgentSpec,
    ledger: Arc<Ledger>,
    context: PollContext,
    /// Asks Nova, if the settings need it.
    nova: Option<(Refresher, ServerFeed, CloudSettings)>,
    pace: Pace,
    schedule: PollSchedule,
    sources: Vec<SourceSpec>,
    journal: Journal,
    spools: Spools,
    recorder: Option<Recorder>,
    sinks: Vec<(Sink, SinkHandle)>,
    publishers: Vec<PublisherTask>,
    background_tasks: Option<BackgroundTasks>,
    listeners: Listeners,
    warnings: Vec<ComponentProblem>,
    service: Service,
    heartbeats: Heartbeats,
    keep_alive: build::KeepAlive,
}

/// The supervisor, the admin service and its control socket.
struct BackgroundTasks {
    supervisor: Supervisor,
    channels: SupervisorChannels,
    admin: Arc<admin::AdminService>,
    changes: mpsc::Receiver<Change>,
    control: Option<crate::control::Server>,
}

impl App {
    /// What the options of components contain without effect.
    pub(crate) fn into_warnings(self) -> Vec<ComponentProblem> {
        self.warnings
    }

    /// The counters. They stay readable after the agent has ended.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// What runs the components.
    pub(crate) fn component_host(&self) -> ComponentHost {
        self.keep_alive.components.clone()
    }

    /// Runs until polling ends or `stop` is true, then drains for at most `shutdown_grace`. What the
    /// ledger counts as pending afterwards was not delivered; with a store on disk it is sent after the
    /// next start.
    ///
    /// # Errors
    /// If a task failed. The others have drained all the same.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), AppError> {
        let (batches, receiver) = mpsc::channel::<Polled>(BATCHES);
        let mut running_tasks = RunningTasks::new(&self.heartbeats, &self.ledger.tasks);
        let mut cloud = None;
        if let Some((refresher, feed, settings)) = self.nova {
            running_tasks.background.spawn("nova", refresher.run());
            wait_for_servers(feed, &self.schedule, stop.clone()).await;
            cloud = Some(settings);
        }
        let watched = (&self.heartbeats, self.ledger.tasks.part("polling"));
        let mut polls = PollTasks::new((self.context, self.pace, self.schedule), batches, watched);
        polls.set_sources(&self.sources);
        let observer = self.listeners.observer();
        let routing = route(receiver, self.journal.clone(), self.recorder, observer);
        running_tasks.router.spawn("router", routing);
        self.listeners.spawn(&mut running_tasks.listeners);
        let mut handles = Vec::new();
        for (sink, handle) in self.sinks {
            running_tasks.sinks.spawn(format!("sink {}", sink.name()), sink.run());
            handles.push(handle);
        }
        self.publishers.into_iter().for_each(|task| running_tasks.spawn_publisher(task));
        // Weak: the admin service, with its access to the store, ends with its tasks.
        let admin = self.background_tasks.as_ref().map(|tasks| Arc::downgrade(&tasks.admin));
        let changes = running_tasks.spawn_background(self.background_tasks);
        if let Some(admin) = admin {
            let line = move || admin.upgrade().map(|admin| Health::of(&admin).line());
            let line = move || line().unwrap_or_else(|| "stopping".to_owned());
            self.service.ready(&self.heartbeats, Box::new(line));
            running_tasks.background.spawn("startup pages", process::give_back_startup_pages());
        }
        let changing = (&mut polls, &self.listeners, cloud);
        let ended = running_tasks.run_until_stopped(changing, changes, stop).await;
        self.service.stopping();
        polls.stop();
        let grace = self.spec.shutdown_grace;
        let deadline = Instant::now() + grace;
        let mut drained_sinks = Vec::new();
        let draining = running_tasks.drain(&mut polls, &handles, &mut drained_sinks);
        let drained = tokio::time::timeout_at(deadline, draining).await.unwrap_or_else(|_| {
            events::poll::grace_period_expired(grace);
            Ok(())
        });
        self.listeners.stop(&mut running_tasks.listeners).await;
        running_tasks.background.shutdown().await;
        polls.shutdown().await;
        // An aborted sink drops its publishers, which closes their spools.
        running_tasks.sinks.shutdown().await;
        running_tasks.router.shutdown().await;
        let delivered = running_tasks.drain_publishers(deadline).await;
        self.spools.close().await;
        join_all(drained_sinks.into_iter().map(DrainedSink::finish)).await;
        self.journal.sync().await;
        ended.and(drained).and(delivered)
    }
}

/// Gives Nova a moment to answer before the first cycle, so that the first samples are complete.
async fn wait_for_servers(
    mut feed: ServerFeed,
    schedule: &PollSchedule,
    mut stop: watch::Receiver<bool>,
) {
    let most = if schedule.max_cycles.is_some() { FIRST_ANSWER_ONCE } else { FIRST_ANSWER };
    tokio::select! {
        () = feed.first(most) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
