//! The composition root: a checked configuration becomes tasks, the tasks run, they drain.
//!
//! The only room that sees both columns. Read it as the life of the process: [`App::build`] makes
//! everything without starting anything, [`App::run`] starts it, waits, and lets it run dry from
//! the front: polls end, then the router, then the sinks, then the publishers' drivers.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::component::{ComponentError, ComponentHost};
use crate::config::{AgentSpec, OnError, Place, PublisherSpec, SinkSpec};
use crate::inspect::{self, Hypervisor, InspectError, Pace};
use crate::model::{Batch, HostGeneration};
use crate::pipeline::{Routes, Sink, Tap, route};
use crate::poll::{self, PollContext, PollCounts, PollTask, Rounds};
use crate::publish::{self, PublisherHandle, PublisherTask};
use crate::schedule::Clock;
use crate::store::{self, Store, StoreError, WhenFull};
use crate::telemetry::{self, Ledger, StageCount, events};
use crate::transform::{Chain, ComponentTransformer, Transformer};

/// Batches on their way from the poll tasks to the router, which never waits for a sink: a few
/// are enough to let two poll tasks finish at once.
const BATCHES: usize = 4;
/// Samples that the journal of one sink holds: seven ticks of 5,000 domains, days of a small host.
/// About 100 bytes each, resources being shared.
const JOURNAL: u64 = 500_000;
/// Bytes that the spool of one publisher holds: some 40,000 samples in signed messages.
const SPOOL: u64 = 64 << 20;

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
}

impl Default for Options {
    fn default() -> Self {
        let rounds = Rounds { count: None, every: None };
        Self { publish: true, transform: true, sink: None, rounds, store: true, tap: None }
    }
}

/// Why an agent cannot be built or cannot go on.
#[derive(Debug, Error)]
pub enum AppError {
    /// Something that the configuration names cannot be used: all of it, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<ComponentProblem>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// A component that cannot be used at one place of `pipeline.yaml`.
#[derive(Debug)]
pub struct ComponentProblem {
    /// Where the file names it, or the option that is wrong.
    pub place: Place,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl std::fmt::Display for ComponentProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// An agent that is complete and has not begun.
pub struct App {
    spec: AgentSpec,
    ledger: Arc<Ledger>,
    polls: Vec<PollTask>,
    rounds: Rounds,
    routes: Routes,
    sinks: Vec<Sink>,
    publishers: Vec<PublisherTask>,
    /// Held for as long as the agent lives: the lock on the store, the threads of the components.
    _store: Option<Store>,
    _components: ComponentHost,
}

impl App {
    /// Makes everything, starts nothing. Components are loaded, compiled and configured here, so
    /// that all that is wrong with them is known before the first sample.
    pub async fn build(spec: AgentSpec, options: Options) -> Result<Self, AppError> {
        let store = if options.store { Some(Store::open(&spec.store)?) } else { None };
        let generation = match &store {
            Some(store) => store.generation(),
            None => store::generation_for_reading(&spec.store),
        };
        let clock = Clock::start();
        let hypervisor = inspect::open(&spec.libvirt.uri, &spec.libvirt, clock)?;
        let components =
            ComponentHost::start(&spec.components, &spec.cache).map_err(AppError::Components)?;
        let mut builder = Builder {
            spec: &spec,
            options: &options,
            components: &components,
            generation,
            // A recording does not outrun its readers: nothing of it may be dropped.
            when_full: match hypervisor.pace() {
                Pace::Clock => WhenFull::DropOldest,
                Pace::Recorded => WhenFull::Wait,
            },
            ledger: Ledger::default(),
            routes: HashMap::new(),
            sinks: Vec::new(),
            publishers: Vec::new(),
        };
        builder.sinks().await?;
        let Builder { ledger, routes, sinks, publishers, .. } = builder;
        let fail_fast = options.rounds.count.is_some();
        let context = poll_context(&spec, &hypervisor, fail_fast, generation, &ledger);
        // What no sink is there for, because only one was asked for, is not polled.
        let sources = spec.pipeline.sources.iter();
        let sources: Vec<_> =
            sources.filter(|source| routes.contains_key(&source.name)).cloned().collect();
        let polls = poll::by_interval(&sources, hypervisor.pace())
            .into_iter()
            .map(|(interval, sources)| PollTask::new(context.clone(), interval, &sources))
            .collect();
        Ok(Self {
            rounds: options.rounds,
            ledger: Arc::new(ledger),
            polls,
            routes,
            sinks,
            publishers,
            _store: store,
            _components: components,
            spec,
        })
    }

    /// The counters, which stay readable when the agent has ended.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Runs until polling ends by itself or `stop` says so, then drains for at most the grace
    /// period. What the ledger calls held afterwards was not delivered.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), AppError> {
        let (batches, receiver) = mpsc::channel::<Arc<Batch>>(BATCHES);
        let mut polls = JoinSet::new();
        for poll in self.polls {
            polls.spawn(poll.run(self.rounds, stop.clone(), batches.clone()));
        }
        drop(batches);
        let mut work = JoinSet::new();
        work.spawn(route(receiver, self.routes));
        for sink in self.sinks {
            work.spawn(sink.run());
        }
        let ended = until_over(&mut polls, &mut work, stop).await;
        let grace = self.spec.shutdown_grace;
        let deadline = Instant::now() + grace;
        let drained = tokio::time::timeout_at(deadline, async {
            while let Some(ended) = polls.join_next().await {
                ended.map_err(AppError::Task)??;
            }
            while let Some(ended) = work.join_next().await {
                ended.map_err(AppError::Task)?;
            }
            Ok(())
        });
        let drained = drained.await.unwrap_or_else(|_| {
            events::poll::drain_ended(grace);
            Ok(())
        });
        polls.shutdown().await;
        // A sink that is stopped here lets go of its publishers, whose spools close by that.
        work.shutdown().await;
        join_all(self.publishers.into_iter().map(|publisher| publisher.drain(deadline))).await;
        ended.and(drained)
    }
}

/// Waits until all polls have ended, one of them has failed, or the stop says so. Whatever comes
/// behind the polls ends only after them, so if a part of that ends here, it has failed.
async fn until_over(
    polls: &mut JoinSet<Result<(), InspectError>>,
    work: &mut JoinSet<()>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AppError> {
    loop {
        tokio::select! {
            biased;
            ended = polls.join_next() => match ended {
                None => return Ok(()),
                Some(ended) => ended.map_err(AppError::Task)??,
            },
            Some(Err(error)) = work.join_next() => return Err(AppError::Task(error)),
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

fn poll_context(
    spec: &AgentSpec,
    hypervisor: &Arc<dyn Hypervisor>,
    fail_fast: bool,
    generation: HostGeneration,
    ledger: &Ledger,
) -> PollContext {
    PollContext {
        hypervisor: Arc::clone(hypervisor),
        host: spec.host.as_str().into(),
        sample_source: Arc::clone(&spec.message.sample_source),
        unowned: spec.libvirt.unowned,
        parallel: spec.libvirt.parallel,
        fail_fast,
        reading: Arc::default(),
        generation,
        counts: PollCounts {
            polled: Arc::clone(&ledger.polled),
            ticks_skipped: Arc::clone(&ledger.ticks_skipped),
            missing: Arc::clone(&ledger.missing),
            absent: Arc::clone(&ledger.absent),
        },
    }
}

/// Builds the right column, sink by sink.
struct Builder<'a> {
    spec: &'a AgentSpec,
    options: &'a Options,
    components: &'a ComponentHost,
    generation: HostGeneration,
    when_full: WhenFull,
    ledger: Ledger,
    routes: Routes,
    sinks: Vec<Sink>,
    publishers: Vec<PublisherTask>,
}

impl<'a> Builder<'a> {
    async fn sinks(&mut self) -> Result<(), AppError> {
        let mut problems = Vec::new();
        for sink in self.wanted()? {
            problems.append(&mut self.sink(sink).await?);
        }
        if problems.is_empty() { Ok(()) } else { Err(AppError::Configuration(problems)) }
    }

    fn wanted(&self) -> Result<Vec<&'a SinkSpec>, AppError> {
        let spec: &'a AgentSpec = self.spec;
        let all = &spec.pipeline.sinks;
        let Some(name) = &self.options.sink else { return Ok(all.iter().collect()) };
        let wanted: Vec<&SinkSpec> = all.iter().filter(|sink| *sink.name == **name).collect();
        if wanted.is_empty() {
            let known = all.iter().map(|sink| &*sink.name).collect::<Vec<_>>().join(", ");
            return Err(AppError::NoSuchSink { name: name.clone(), known });
        }
        Ok(wanted)
    }

    /// Adds one sink; gives what is wrong with its components.
    async fn sink(&mut self, sink: &SinkSpec) -> Result<Vec<ComponentProblem>, AppError> {
        let count = self.ledger.sink(&sink.name);
        let (chain, on_error) = match self.chain(sink).await {
            Ok(chain) => chain,
            Err(problems) => return Ok(problems),
        };
        let (writer, journal) = store::journal(JOURNAL, self.when_full, &count);
        for source in &self.spec.pipeline.sources {
            if source.sinks.contains(&sink.name) {
                self.routes.entry(Arc::clone(&source.name)).or_default().push(writer.clone());
            }
        }
        let mut publishers = Vec::new();
        if self.options.publish {
            for publisher in &sink.publishers {
                let handle = self.publisher(publisher)?;
                publishers.push(handle);
            }
        }
        let name = Arc::clone(&sink.name);
        let tap = self.options.tap.clone();
        let failing = false;
        let sink = Sink { name, journal, chain, on_error, publishers, tap, count, failing };
        self.sinks.push(sink);
        Ok(Vec::new())
    }

    async fn chain(
        &mut self,
        sink: &SinkSpec,
    ) -> Result<(Chain, Vec<OnError>), Vec<ComponentProblem>> {
        let mut stages: Vec<(Box<dyn Transformer>, Arc<StageCount>)> = Vec::new();
        let (mut on_error, mut problems) = (Vec::new(), Vec::new());
        let transformers: &[_] = if self.options.transform { &sink.transformers } else { &[] };
        for spec in transformers {
            let count = self.ledger.stage(&spec.name);
            match ComponentTransformer::create(self.components, spec).await {
                Ok(transformer) => stages.push((Box::new(transformer), count)),
                Err(ComponentError::Options { faults, .. }) => {
                    problems.extend(faults.into_iter().map(|fault| ComponentProblem {
                        place: spec.positions.place(&fault.pointer).clone(),
                        reason: format!("{}: {}: {}", spec.name, fault.pointer, fault.reason),
                    }));
                }
                Err(error) => problems.push(ComponentProblem {
                    place: spec.place.clone(),
                    reason: telemetry::Chain(&error).to_string(),
                }),
            }
            let by_name = &self.spec.components.by_name;
            on_error.push(by_name.get(&*spec.name).map_or_else(OnError::default, |c| c.on_error));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok((Chain::new(&sink.name, self.generation, stages), on_error))
    }

    fn publisher(&mut self, spec: &PublisherSpec) -> Result<PublisherHandle, AppError> {
        let settings = publish::Settings {
            host: self.spec.host.clone(),
            secret: self.spec.message.telemetry_secret.clone(),
            generation: self.generation,
            spool_bytes: SPOOL,
            when_full: self.when_full,
        };
        let count = self.ledger.publisher(&spec.label);
        let label = Arc::clone(&spec.label);
        let (handle, task) = publish::open(spec, &settings, &count)
            .map_err(|source| AppError::Publisher { label, source })?;
        self.publishers.push(task);
        Ok(handle)
    }
}
