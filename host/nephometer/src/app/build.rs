//! Makes an agent out of its configuration, without starting anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha224};
use tokio::sync::mpsc;

use super::admin::{AdminService, AgentViews};
use super::factory::{ComponentProblem, Factory};
use super::sources::sources_of;
use super::supervisor::Supervisor;
use super::{App, AppError, BackgroundTasks, CHANGES, Options, Reload};
use crate::control;
use nephometer_config::{self as config, AgentSpec, SinkSpec, SourceSpec, StoreSpec};
use nephometer_libvirt::hypervisor::{self, Hypervisor, Pace};
use nephometer_libvirt::poll::{PollContext, PollCounts};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::{HostId, Timestamp};
use nephometer_pipeline::publish::PublisherTask;
use nephometer_pipeline::transform::StateBudget;
use nephometer_pipeline::{PublisherFanout, Sink, SinkEvent, SinkHandle, SinkParts};
use nephometer_store::{DeadLetters, Journal, JournalBounds, Spools, Store, WhenFull};
use nephometer_telemetry::events;
use nephometer_wasm::ComponentHost;

/// What the journal holds besides its bound in bytes: what is known of a batch is in memory, and where
/// there is no disk all of it, about 100 bytes a sample.
const JOURNAL_SAMPLES: u64 = 5_000_000;
/// Notices of sinks: each sink has at most one generation to come back.
const NOTICES: usize = 16;

/// What is only held.
pub(super) struct StoreHandles {
    _store: Store,
    _components: ComponentHost,
}

impl App {
    /// Makes everything, starts nothing. Components are loaded and configured here, so that all
    /// that is wrong with them is known before the first sample; in an agent that can take them up
    /// later, those that have to be compiled first are left for then.
    pub async fn build(spec: AgentSpec, options: Options) -> Result<Self, AppError> {
        let folder = &spec.store.path;
        let store = if options.store { Store::open(folder)? } else { Store::in_memory(folder) };
        let clock = Clock::start();
        let hypervisor = hypervisor::open(&spec.libvirt.uri, &spec.libvirt, clock)?;
        let components =
            ComponentHost::start(&spec.components, &spec.cache).map_err(AppError::Components)?;
        let factory = factory(&spec, &hypervisor, &components, &store, options.transform);
        factory.ledger.take_up(store.accounts()?);
        factory.bound(&spec.store, &spec.components);
        let journal = store.journal(journal_bounds(&spec.store), factory.when_full)?;
        journal.count_for(&factory.ledger);
        let (sink_events, told) = mpsc::channel(NOTICES);
        let mut builder = Builder {
            spec: &spec,
            options: &options,
            factory: &factory,
            journal,
            dead_letters: store.dead_letters(),
            sink_events,
            compile: options.reload.is_none() || hypervisor.pace() == Pace::Recorded,
            sinks: Vec::new(),
            publishers: Vec::new(),
        };
        builder.sinks().await?;
        let Builder { journal, dead_letters, sinks, publishers, .. } = builder;
        if options.sink.is_none() {
            look_for_strangers(&journal, &factory.spools, &spec.store).await;
        }
        let context = poll_context(&spec, &hypervisor, &options, &factory, store.cycles()?);
        let sources = polled(&spec, &sinks);
        let handles = handles(&sinks);
        let ledger = Arc::clone(&factory.ledger);
        let spools = factory.spools.clone();
        let control = options.reload.is_some().then(|| control::Server::bind(&spec.control));
        let control = control.transpose()?;
        let factory = Arc::new(factory);
        let background_tasks = options.reload.map(|reload| {
            let (hypervisor, spools) = (Arc::clone(&hypervisor), spools.clone());
            let views = AgentViews { hypervisor, dead_letters, spools, gaps: store.gaps() };
            let parts = (&spec, &journal, handles);
            background_tasks(reload, control, &factory, parts, (told, views))
        });
        Ok(Self {
            rounds: options.rounds,
            pace: hypervisor.pace(),
            ledger,
            context,
            sources,
            journal,
            spools,
            recorder: options.recorder,
            sinks: sinks.into_iter().map(|(_, sink, handle)| (sink, handle)).collect(),
            publishers,
            background_tasks,
            _kept: StoreHandles { _store: store, _components: components },
            spec,
        })
    }
}

/// Those who look after the agent while it runs.
fn background_tasks(
    reload: Reload,
    control: Option<control::Server>,
    factory: &Arc<Factory>,
    (spec, journal, handles): (&AgentSpec, &Journal, Vec<(Arc<str>, SinkHandle)>),
    (told, views): (mpsc::Receiver<SinkEvent>, AgentViews),
) -> BackgroundTasks {
    let (changes, receiver) = mpsc::channel(CHANGES);
    let (reload_requests, given) = mpsc::channel(1);
    let admin =
        AdminService::new(&factory.ledger, &factory.components, &handles, reload_requests, views);
    let supervisor =
        Supervisor::new(Arc::clone(factory), journal.clone(), spec.clone(), handles, reload);
    let supervisor = supervisor.listening(changes, told, given, admin.reloads());
    BackgroundTasks { supervisor, admin, changes: receiver, control }
}

fn factory(
    spec: &AgentSpec,
    hypervisor: &Arc<dyn Hypervisor>,
    components: &ComponentHost,
    store: &Store,
    transform: bool,
) -> Factory {
    // A recording does not outrun its readers: nothing of it may be dropped.
    let when_full = match (hypervisor.pace(), spec.store.when_full) {
        (Pace::Recorded, _) | (_, config::WhenFull::Block) => WhenFull::Wait,
        (_, config::WhenFull::DropOldest) => WhenFull::DropOldest,
        (_, config::WhenFull::DropNewest) => WhenFull::DropNewest,
    };
    Factory {
        components: components.clone(),
        host_id: store.host_id(),
        spools: store.spools(),
        when_full,
        ledger: Arc::default(),
        states: StateBudget::new(0),
        transform,
    }
}

fn journal_bounds(store: &StoreSpec) -> JournalBounds {
    JournalBounds { bytes: store.bytes, samples: JOURNAL_SAMPLES, age: Some(store.age) }
}

fn poll_context(
    spec: &AgentSpec,
    hypervisor: &Arc<dyn Hypervisor>,
    options: &Options,
    factory: &Factory,
    before: HashMap<Arc<str>, Timestamp>,
) -> PollContext {
    let host_id: HostId = factory.host_id;
    let ledger = &factory.ledger;
    PollContext {
        hypervisor: Arc::clone(hypervisor),
        host: spec.host.as_str().into(),
        sample_source: Arc::clone(&spec.message.sample_source),
        unowned: spec.libvirt.unowned,
        metering: spec.metering,
        phase: if spec.spread && options.rounds.max_cycles.is_none() {
            phase(&spec.host)
        } else {
            0.0
        },
        parallel: spec.libvirt.parallel,
        fail_fast: options.rounds.max_cycles.is_some(),
        read_lock: Arc::default(),
        last_polled: Arc::new(Mutex::new(before)),
        host_id,
        counts: PollCounts {
            polled: Arc::clone(&ledger.polled),
            cycles_skipped: Arc::clone(&ledger.cycles_skipped),
            missing: Arc::clone(&ledger.missing),
            absent: Arc::clone(&ledger.absent),
        },
    }
}

/// Where in an interval a host's ticks are: evenly over a fleet, and the same at every start.
fn phase(host: &str) -> f64 {
    let digest = Sha224::digest(host);
    f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / 2_f64.powi(32)
}

/// Builds the right column, sink by sink.
struct Builder<'a> {
    spec: &'a AgentSpec,
    options: &'a Options,
    factory: &'a Factory,
    journal: Journal,
    dead_letters: DeadLetters,
    sink_events: mpsc::Sender<SinkEvent>,
    /// Compile before the agent begins: nobody can do it later, or a recording would not wait.
    compile: bool,
    sinks: Vec<(Arc<str>, Sink, SinkHandle)>,
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
        let count = self.factory.ledger.sink(&sink.name);
        let now = match self.factory.is_ready(sink).await {
            Ok(ready) => ready || self.compile,
            Err(problems) => return Ok(problems),
        };
        let revision = if now {
            match self.factory.revision(self.spec, sink).await {
                Ok(revision) => Some(revision),
                Err(problems) => return Ok(problems),
            }
        } else {
            None
        };
        let mut publishers = Vec::new();
        if self.options.publish {
            let problems = self.factory.try_publishers(&sink.publishers, self.compile).await;
            if !problems.is_empty() {
                return Ok(problems);
            }
            for (at, publisher) in sink.publishers.iter().enumerate() {
                let made = self.factory.publisher(self.spec, sink, at).await?;
                publishers.push((publisher.clone(), made.0));
                self.publishers.push(made.1);
            }
        }
        let sources = sources_of(self.spec, sink);
        let (sink, handle) = Sink::new(SinkParts {
            name: Arc::clone(&sink.name),
            journal: self.journal.reader(&sink.name, &sources, &count)?,
            revision,
            fanout: PublisherFanout::new(publishers, self.options.observer.clone()),
            count,
            dead_letters: self.dead_letters.clone(),
            sink_events: self.sink_events.clone(),
            guest_threads: Some(self.factory.components.guest_threads()),
        });
        self.sinks.push((Arc::clone(sink.name()), sink, handle));
        Ok(Vec::new())
    }
}

fn handles(sinks: &[(Arc<str>, Sink, SinkHandle)]) -> Vec<(Arc<str>, SinkHandle)> {
    sinks.iter().map(|(name, _, handle)| (Arc::clone(name), handle.clone())).collect()
}

/// What an earlier run held for sinks that are not in the configuration any more is removed; what is in
/// spools stays.
async fn look_for_strangers(journal: &Journal, spools: &Spools, store: &StoreSpec) {
    for (sink, samples) in journal.orphans() {
        events::store::stranger(&sink, samples);
    }
    journal.forget_orphans().await.iter().for_each(|sink| events::store::forgotten(sink));
    spools.report_orphans().await;
    if let Some(share) = spools.share_below(store.bytes) {
        events::store::share(store.total, share, store.bytes);
    }
}

/// What no sink is there for, because only one was asked for, is not polled.
fn polled(spec: &AgentSpec, sinks: &[(Arc<str>, Sink, SinkHandle)]) -> Vec<SourceSpec> {
    let has_sink = |name: &Arc<str>| sinks.iter().any(|(known, _, _)| known == name);
    let sources = spec.pipeline.sources.iter();
    sources.filter(|source| source.sinks.iter().any(has_sink)).cloned().collect()
}
