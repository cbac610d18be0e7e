//! The composition root: a checked configuration becomes tasks, the tasks run, they drain.
//!
//! The only module that sees both columns. Read it as the life of the process: [`App::build`] makes
//! everything without starting anything, [`App::run`] starts it, waits, and lets it run dry from
//! the front: polls end, then the router, then the sinks, then the publishers' drivers. What is
//! replaced in between is the supervisor's.

mod answer;
mod build;
mod desk;
mod plan;
mod polls;
mod refusals;
mod supervisor;
mod swap;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::control::ControlError;
use nephometer_config::{AgentSpec, SourceSpec};
use nephometer_libvirt::inspect::{InspectError, Pace};
use nephometer_libvirt::poll::{PollContext, Rounds};
use nephometer_model::Polled;
use nephometer_pipeline::publish::{self, PublisherTask};
use nephometer_pipeline::{Remains, Sink, SinkHandle, Tap, route};
use nephometer_store::{Journal, Recorder, Spools, StoreError};
use nephometer_telemetry::{Ledger, events};
use nephometer_wasm::ComponentError;

pub use desk::answer as answer_for_store;
use polls::Polls;
use supervisor::{Change, Supervisor};
pub use workshop::ComponentProblem;

/// Batches on their way from the poll tasks to the router, which never waits for a sink: a few
/// are enough to let two poll tasks finish at once.
const BATCHES: usize = 4;
/// Changes on their way from the supervisor: it waits for each to be taken up.
const CHANGES: usize = 1;

/// What is asked of an agent beside its configuration.
pub struct Options {
    /// Publishers are told. Without, samples end at the tap.
    pub publish: bool,
    /// Transformers are applied.
    pub transform: bool,
    /// Only this sink.
    pub sink: Option<String>,
    /// When polling ends by itself.
    pub rounds: Rounds,
    /// Whether the store may be written: `once` leaves no trace.
    pub store: bool,
    /// Who looks on.
    pub tap: Option<Tap>,
    /// Where batches are copied to as they enter the sinks.
    pub recorder: Option<Recorder>,
    /// How the configuration is read again while the agent runs; `None`: never, and nothing is
    /// taken up again. Without, components are compiled before the agent begins.
    pub reload: Option<Reload>,
}

/// How a running agent gets to its configuration again.
pub struct Reload {
    /// Reads and checks all of it.
    pub load: Box<dyn Fn() -> Result<AgentSpec, String> + Send + Sync>,
    /// The files that it reads.
    pub files: Vec<PathBuf>,
    /// Somebody asks for it.
    pub hangups: mpsc::Receiver<()>,
}

impl Default for Options {
    fn default() -> Self {
        let rounds = Rounds { count: None, every: None };
        Self {
            publish: true,
            transform: true,
            sink: None,
            rounds,
            store: true,
            tap: None,
            recorder: None,
            reload: None,
        }
    }
}

/// Why an agent cannot be built or cannot go on.
#[derive(Debug, Error)]
pub enum AppError {
    /// Something that the configuration names cannot be used: all of it, each with its place.
    #[error("{}", workshop::lines(.0))]
    Configuration(Vec<ComponentProblem>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control socket cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Domains cannot be read at all.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The sink that was asked for is not there.
    #[error("there is no sink named {name:?}; there is {known}")]
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
        source: publish::AmqpError,
    },
    /// A task ended where none may.
    #[error("a task of the agent failed")]
    Task(#[source] JoinError),
    /// The threads for components cannot be made.
    #[error("components cannot be run")]
    Components(#[source] ComponentError),
}

/// An agent that is complete and has not begun.
pub struct App {
    spec: AgentSpec,
    ledger: Arc<Ledger>,
    context: PollContext,
    pace: Pace,
    rounds: Rounds,
    sources: Vec<SourceSpec>,
    journal: Journal,
    spools: Spools,
    recorder: Option<Recorder>,
    sinks: Vec<(Sink, SinkHandle)>,
    publishers: Vec<PublisherTask>,
    attendants: Option<Attendants>,
    /// Held for as long as the agent lives: the lock on the store, the threads of the components.
    _kept: build::Kept,
}

/// Those who look after a running agent.
struct Attendants {
    supervisor: Supervisor,
    board: answer::Board,
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
        let mut router = JoinSet::new();
        router.spawn(route(receiver, self.journal.clone(), self.recorder));
        let (mut sinks, mut handles) = (JoinSet::new(), Vec::new());
        for (sink, handle) in self.sinks {
            sinks.spawn(sink.run());
            handles.push(handle);
        }
        let mut life = Life { router, sinks, publishers: self.publishers };
        let (changes, attending) = attend(self.attendants);
        let ended = life.until_over(&mut polls, changes, stop).await;
        polls.stop();
        let grace = self.spec.shutdown_grace;
        let deadline = Instant::now() + grace;
        let mut remains = Vec::new();
        let draining = life.drain(&mut polls, &handles, &mut remains);
        let drained = tokio::time::timeout_at(deadline, draining).await.unwrap_or_else(|_| {
            events::poll::drain_ended(grace);
            Ok(())
        });
        drop(attending);
        polls.shutdown().await;
        // A sink that is stopped here lets go of its publishers, whose spools close by that.
        life.sinks.shutdown().await;
        life.router.shutdown().await;
        join_all(life.publishers.into_iter().map(|publisher| publisher.drain(deadline))).await;
        self.spools.sync().await;
        join_all(remains.into_iter().map(Remains::finish)).await;
        self.journal.sync().await;
        ended.and(drained)
    }
}

/// Starts those who look after the agent. They end when the second value is dropped.
fn attend(attendants: Option<Attendants>) -> (mpsc::Receiver<Change>, JoinSet<()>) {
    let mut attending = JoinSet::new();
    let Some(Attendants { supervisor, board, changes, control }) = attendants else {
        return (mpsc::channel(CHANGES).1, attending);
    };
    if let Some(control) = control {
        let board = Arc::new(board);
        attending.spawn(control.serve(move |request| {
            let board = Arc::clone(&board);
            async move { board.answer(request).await }
        }));
    }
    attending.spawn(supervisor.run());
    (changes, attending)
}

/// The tasks of the right column.
struct Life {
    router: JoinSet<()>,
    sinks: JoinSet<Remains>,
    publishers: Vec<PublisherTask>,
}

impl Life {
    /// Waits until all polls have ended, one of them has failed, or the stop says so. Whatever
    /// comes behind the polls ends only after them, so if a part of that ends here, it has failed.
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
                Some(Err(error)) = self.router.join_next() => return Err(AppError::Task(error)),
                Some(Err(error)) = self.sinks.join_next() => return Err(AppError::Task(error)),
                Some(change) = changes.recv() => match change {
                    Change::Sources(sources) => polls.set(&sources),
                    Change::Publisher(task) => self.publishers.push(task),
                },
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// From the front to the back: each part ends when nothing can come any more.
    async fn drain(
        &mut self,
        polls: &mut Polls,
        handles: &[SinkHandle],
        remains: &mut Vec<Remains>,
    ) -> Result<(), AppError> {
        while let Some(ended) = polls.ended().await {
            ended?;
        }
        while let Some(ended) = self.router.join_next().await {
            ended.map_err(AppError::Task)?;
        }
        // What is being compiled is worth waiting for; what cannot be made is not.
        join_all(handles.iter().map(SinkHandle::prepared)).await;
        join_all(handles.iter().map(SinkHandle::end)).await;
        while let Some(ended) = self.sinks.join_next().await {
            remains.push(ended.map_err(AppError::Task)?);
        }
        Ok(())
    }
}
