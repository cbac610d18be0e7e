//! Builds an agent from its configuration, without starting a task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha224};
use tokio::sync::{mpsc, watch};

use super::admin::{AdminResources, AdminService, PageAccess};
use super::factory::{ComponentProblem, Factory, message_form, problems_of};
use super::listeners::Listeners;
use super::shadow_list::ShadowList;
use super::shadows::{Promotions, shadow_of};
use super::sources::sources_of;
use super::supervisor::{Supervisor, SupervisorChannels};
use super::supply::{Supply, provisions};
use super::{App, AppError, BackgroundTasks, CHANGES, Options, Reload};
use crate::control;
use nephometer_config::{
    self as config, AgentSpec, SinkSpec, SourceSpec, StoreSpec, TransformerSpec,
};
use nephometer_libvirt::hypervisor::{self, Hypervisor, Pace};
use nephometer_libvirt::poll::{Discovery, PollContext, PollCounts};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::{HostId, ServerSource, Timestamp};
use nephometer_openstack::{CloudSettings, Refresher, ServerFeed};
use nephometer_pipeline::publish::{PublisherTask, Rotation, StreamContext};
use nephometer_pipeline::transform::{ComponentTransformer, StateBudget};
use nephometer_pipeline::{PublisherFanout, Sink, SinkEvent, SinkHandle, SinkParts, Taps};
use nephometer_store::{DeadLetters, Identity, Journal, JournalBounds, Spools, Store, WhenFull};
use nephometer_telemetry::{Service, events};
use nephometer_view::View;
use nephometer_wasm::ComponentHost;

/// The bound on samples in the journal, besides its bound in bytes. Heads of batches are in memory;
/// without a disk the batches are too, about 100 bytes per sample.
const JOURNAL_SAMPLES: u64 = 5_000_000;
/// Capacity of the channel of sink events. Each sink has at most one rollback at a time.
const SINK_EVENTS: usize = 16;

/// What asks Nova, if it is to be asked.
fn nova(spec: &AgentSpec, options: &Options) -> Option<(Refresher, ServerFeed, CloudSettings)> {
    let folder = options.store.then_some(&*spec.store.path);
    Refresher::new(&spec.host, &spec.discovery, folder)
}

/// Values that have to live as long as the agent and are not used: the lock on the store, and the
/// threads of the components.
pub(super) struct KeepAlive {
    _store: Store,
    pub(super) components: ComponentHost,
}

impl App {
    /// Builds an agent without starting it. Loads and configures the components, so that their errors
    /// are reported before the first sample. With [`Options::reload`], components that have to be
    /// compiled are loaded after the start.
    ///
    /// # Errors
    /// If a component, the store, the hypervisor or the control socket cannot be used.
    pub async fn build(mut spec: AgentSpec, options: Options) -> Result<Self, AppError> {
        provide(&mut spec, &options).await;
        let store = open_store(&spec, &options)?;
        let clock = Clock::start();
        let hypervisor = hypervisor::open(&spec.libvirt.uri, &spec.libvirt, clock)?;
        let components = component_host(&mut spec, options.store).await?;
        let factory = factory(&spec, &hypervisor, &components, &store, options.transform);
        factory.ledger.restore(store.accounts()?);
        factory.set_bounds(&spec.store, &spec.components);
        let journal = store.journal(journal_bounds(&spec.store), factory.when_full)?;
        journal.attach_ledger(&factory.ledger);
        let (sink_events, sink_event_receiver) = mpsc::channel(SINK_EVENTS);
        let mut builder = Builder {
            spec: &spec,
            options: &options,
            factory: &factory,
            journal,
            dead_letters: store.dead_letters(),
            sink_events,
            compile: compiles_first(&options, &*hypervisor),
            built: BuiltSinks::default(),
        };
        builder.sinks().await?;
        let Builder { journal, dead_letters, built, .. } = builder;
        if options.sink.is_none() {
            report_orphans(&journal, &factory.spools, &spec.store).await;
        }
        let nova = nova(&spec, &options);
        let known = (nova.as_ref().map(|(_, feed, _)| feed), store.last_cycles()?);
        let context = poll_context(&spec, &hypervisor, &options, &factory, known);
        let control = control_server(&spec, &options)?;
        let factory = Arc::new(factory);
        let resources = admin_resources((&store, &spec), dead_letters, &hypervisor, &factory)?;
        let background_tasks = options.reload.map(|reload| {
            let parts = (&spec, &journal, handles(&built.sinks));
            let reload = ((reload, options.service.clone()), clock);
            background_tasks(reload, control, &factory, parts, (sink_event_receiver, resources))
        });
        Ok(Self {
            listeners: listeners(&spec, background_tasks.as_ref()),
            schedule: options.schedule,
            pace: hypervisor.pace(),
            ledger: Arc::clone(&factory.ledger),
            context,
            nova,
            sources: polled_sources(&spec, options.sink.as_deref()),
            journal,
            spools: factory.spools.clone(),
            recorder: options.recorder,
            sinks: built.sinks.into_iter().map(|(_, sink, handle)| (sink, handle)).collect(),
            publishers: built.publishers,
            background_tasks,
            warnings: built.warnings,
            service: options.service,
            heartbeats: components.heartbeats(),
            keep_alive: KeepAlive { _store: store, components },
            spec,
        })
    }
}

/// Finds the components from registries. An agent that reloads starts with those that are here; other
/// commands wait for the rest, within a bound.
async fn provide(spec: &mut AgentSpec, options: &Options) {
    // `doctor` has found them in the folder of the agent.
    if !spec.components.provided.is_empty() {
        return;
    }
    if options.reload.is_none() {
        let mut supply = Supply::default();
        supply.start(spec, false);
        supply.first_attempt().await;
    }
    spec.components.provided = provisions(spec);
}

/// Starts the component host, with promoted shadows in the place of their components. Commands without
/// the agent's store have no promotions.
async fn component_host(spec: &mut AgentSpec, has_store: bool) -> Result<ComponentHost, AppError> {
    let components =
        ComponentHost::start(&spec.components, &spec.cache).map_err(AppError::Components)?;
    if has_store {
        let mut promotions = Promotions::open(Some(&spec.store.path), &ShadowList::default());
        let over = promotions.apply(&components, spec).await;
        promotions.end(&over);
        promotions.tidy();
        components.set_spec(&spec.components).await;
    }
    Ok(components)
}

impl App {
    /// Why shadows of the configuration could not begin: each is loaded with the options of its
    /// transformer.
    pub(crate) async fn shadow_problems(&self) -> Vec<ComponentProblem> {
        let components = &self.spec.components;
        let has_shadow = |one: &&TransformerSpec| {
            components.by_name.get(&*one.name).is_some_and(|spec| spec.shadow.is_some())
        };
        let (host, sinks) = (self.component_host(), self.spec.pipeline.sinks.iter());
        let mut problems = Vec::new();
        for transformer in sinks.flat_map(|sink| &sink.transformers).filter(has_shadow) {
            let shadow = shadow_of(transformer);
            let created = ComponentTransformer::create(&host, &shadow, "check");
            if let Err(error) = created.await {
                problems.extend(problems_of(&shadow, error));
            }
        }
        problems
    }
}

/// Commands that only look at the agent answer nobody.
fn control_server(
    spec: &AgentSpec,
    options: &Options,
) -> Result<Option<control::Server>, AppError> {
    let server = options.reload.is_some().then(|| control::Server::bind(&spec.control));
    Ok(server.transpose()?)
}

/// Whether components are compiled before the start: without reloads nothing else does, and neither a
/// recording nor a user who only tries the agent waits.
fn compiles_first(options: &Options, hypervisor: &dyn Hypervisor) -> bool {
    options.reload.is_none() || !options.store || hypervisor.pace() == Pace::Recorded
}

fn admin_resources(
    (store, spec): (&Store, &AgentSpec),
    dead_letters: DeadLetters,
    hypervisor: &Arc<dyn Hypervisor>,
    factory: &Factory,
) -> Result<AdminResources, AppError> {
    let token = store.page_token()?;
    let view = (!spec.telemetry.addresses.is_empty()).then(|| {
        let (view, feed) = View::with_feed();
        (view, Arc::new(feed))
    });
    Ok(AdminResources {
        view,
        hypervisor: Arc::clone(hypervisor),
        dead_letters,
        spools: factory.spools.clone(),
        gaps: store.gaps(),
        identity: store.identity(),
        taps: factory.taps.clone(),
        shadows: factory.shadows.clone(),
        spec: watch::Sender::new(Arc::new(spec.clone())),
        page: PageAccess { token, addresses: page_addresses(spec) },
    })
}

/// Where a browser finds the page.
fn page_addresses(spec: &AgentSpec) -> Vec<String> {
    let scheme = if spec.telemetry.tls.is_some() { "https" } else { "http" };
    let address = |address: &config::ListenAddress| match address {
        config::ListenAddress::Unix(_) => None,
        config::ListenAddress::Tcp { host, port } if host == "0.0.0.0" || host == "::" => {
            Some(format!("{scheme}://{}:{port}/", spec.host))
        }
        tcp @ config::ListenAddress::Tcp { .. } => Some(format!("{scheme}://{tcp}/")),
    };
    spec.telemetry.addresses.iter().filter_map(address).collect()
}

/// Commands that only look at the agent serve nothing.
fn listeners(spec: &AgentSpec, tasks: Option<&BackgroundTasks>) -> Listeners {
    Listeners::new(spec, tasks.map(|tasks| &tasks.admin))
}

/// The store on disk, or one in memory for commands that leave nothing behind.
fn open_store(spec: &AgentSpec, options: &Options) -> Result<Store, AppError> {
    let folder = &spec.store.path;
    Ok(if options.store { Store::open(folder)? } else { Store::in_memory(folder) })
}

/// Builds the supervisor and the admin service.
fn background_tasks(
    ((reload, service), clock): ((Reload, Service), Clock),
    control: Option<control::Server>,
    factory: &Arc<Factory>,
    (spec, journal, handles): (&AgentSpec, &Journal, Vec<(Arc<str>, SinkHandle)>),
    (sink_events, resources): (mpsc::Receiver<SinkEvent>, AdminResources),
) -> BackgroundTasks {
    let (changes, change_receiver) = mpsc::channel(CHANGES);
    let (request_sender, reload_requests) = mpsc::channel(1);
    let admin = Arc::new(AdminService::new(
        (&spec.host, clock, &factory.ledger),
        &factory.components,
        &handles,
        request_sender,
        resources,
    ));
    let supervisor =
        Supervisor::new(Arc::clone(factory), journal.clone(), spec.clone(), handles, reload);
    let history = Arc::clone(&admin.reloads);
    let channels = SupervisorChannels {
        changes,
        sink_events,
        reload_requests,
        history,
        in_effect: admin.resources.spec.clone(),
        service,
    };
    BackgroundTasks { supervisor, channels, admin, changes: change_receiver, control }
}

fn factory(
    spec: &AgentSpec,
    hypervisor: &Arc<dyn Hypervisor>,
    components: &ComponentHost,
    store: &Store,
    transform: bool,
) -> Factory {
    // A replayed recording waits for its readers: none of its samples may be dropped.
    let when_full = match (hypervisor.pace(), spec.store.when_full) {
        (Pace::Recorded, _) | (_, config::WhenFull::Block) => WhenFull::Wait,
        (_, config::WhenFull::DropOldest) => WhenFull::DropOldest,
        (_, config::WhenFull::DropNewest) => WhenFull::DropNewest,
    };
    Factory {
        components: components.clone(),
        host_id: store.host_id(),
        spools: store.spools(),
        streams: store.identity().map(|identity| Arc::new(stream_context(spec, identity, store))),
        when_full,
        ledger: Arc::default(),
        states: StateBudget::new(0),
        rotation: Rotation::new(message_form(spec)),
        taps: Taps::default(),
        shadows: ShadowList::default(),
        transform,
    }
}

fn stream_context(spec: &AgentSpec, identity: Arc<Identity>, store: &Store) -> StreamContext {
    // Other kernels have none.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    StreamContext::new(
        identity,
        store.host_id(),
        (&spec.host, spec.metering.release),
        boot.trim().to_owned(),
        &spec.pipeline.sources,
    )
}

fn journal_bounds(store: &StoreSpec) -> JournalBounds {
    JournalBounds { bytes: store.bytes, samples: JOURNAL_SAMPLES, age: Some(store.age) }
}

fn poll_context(
    spec: &AgentSpec,
    hypervisor: &Arc<dyn Hypervisor>,
    options: &Options,
    factory: &Factory,
    (servers, before): (Option<&ServerFeed>, HashMap<Arc<str>, Timestamp>),
) -> PollContext {
    let host_id: HostId = factory.host_id;
    let ledger = &factory.ledger;
    PollContext {
        hypervisor: Arc::clone(hypervisor),
        host: spec.host.as_str().into(),
        sample_source: Arc::clone(&spec.message.sample_source),
        unowned: spec.libvirt.unowned,
        metering: spec.metering,
        discovery: discovery(spec, servers),
        phase: if spec.spread && options.schedule.max_cycles.is_none() {
            phase(&spec.host)
        } else {
            0.0
        },
        parallel: spec.libvirt.parallel,
        fail_fast: options.schedule.max_cycles.is_some(),
        read_lock: Arc::default(),
        last_polled: Arc::new(Mutex::new(before)),
        host_id,
        counts: PollCounts {
            polled: Arc::clone(&ledger.polled),
            cycles_skipped: Arc::clone(&ledger.cycles_skipped),
            missing: Arc::clone(&ledger.missing),
            absent: Arc::clone(&ledger.absent),
            polling: Arc::clone(&ledger.polling),
        },
    }
}

fn discovery(spec: &AgentSpec, feed: Option<&ServerFeed>) -> Discovery {
    let servers = feed.map(|feed| Arc::new(feed.clone()) as Arc<dyn ServerSource>);
    Discovery { spec: Arc::new(spec.discovery.clone()), servers }
}

/// The phase of a host's polling cycles within the interval, 0 to 1: spread evenly over a fleet, and
/// the same at every start.
fn phase(host: &str) -> f64 {
    let digest = Sha224::digest(host);
    f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / 2_f64.powi(32)
}

/// Builds the sinks, one by one.
struct Builder<'a> {
    spec: &'a AgentSpec,
    options: &'a Options,
    factory: &'a Factory,
    journal: Journal,
    dead_letters: DeadLetters,
    sink_events: mpsc::Sender<SinkEvent>,
    /// See [`compiles_first`].
    compile: bool,
    built: BuiltSinks,
}

/// What was built so far, and what their components ignore.
#[derive(Default)]
struct BuiltSinks {
    sinks: Vec<(Arc<str>, Sink, SinkHandle)>,
    publishers: Vec<PublisherTask>,
    warnings: Vec<ComponentProblem>,
}

impl<'a> Builder<'a> {
    async fn sinks(&mut self) -> Result<(), AppError> {
        let mut problems = Vec::new();
        let mut sinks = self.selected_sinks()?;
        sinks.retain(|sink| self.has_output(sink));
        for sink in sinks {
            problems.append(&mut self.add_sink(sink).await?);
        }
        if problems.is_empty() { Ok(()) } else { Err(AppError::Configuration(problems)) }
    }

    fn selected_sinks(&self) -> Result<Vec<&'a SinkSpec>, AppError> {
        let spec: &'a AgentSpec = self.spec;
        let all = &spec.pipeline.sinks;
        let Some(name) = &self.options.sink else { return Ok(all.iter().collect()) };
        let selected: Vec<&SinkSpec> = all.iter().filter(|sink| *sink.name == **name).collect();
        if selected.is_empty() {
            let known = all.iter().map(|sink| &*sink.name).collect::<Vec<_>>().join(", ");
            return Err(AppError::NoSuchSink { name: name.clone(), known });
        }
        Ok(selected)
    }

    /// Whether anything comes out of a sink. Samples of an agent that is only scraped enter none: they
    /// would be journaled for nobody.
    fn has_output(&self, sink: &SinkSpec) -> bool {
        !self.options.publish || !sink.publishers.is_empty() || self.options.observer.is_some()
    }

    /// Adds one sink. Returns the problems of its components.
    async fn add_sink(&mut self, sink: &SinkSpec) -> Result<Vec<ComponentProblem>, AppError> {
        let count = self.factory.ledger.sink(&sink.name);
        let build_now = match self.factory.is_ready(sink).await {
            Ok(ready) => ready || self.compile,
            Err(problems) => return Ok(problems),
        };
        let revision = if build_now {
            let mut ignored = Vec::new();
            let built = self.factory.revision(self.spec, sink, &mut ignored).await;
            self.built.warnings.append(&mut ignored);
            match built {
                Ok(revision) => Some(revision),
                Err(problems) => return Ok(problems),
            }
        } else {
            None
        };
        let mut publishers = Vec::new();
        if self.options.publish {
            let problems = self.factory.check_publishers(&sink.publishers, self.compile).await;
            if !problems.is_empty() {
                return Ok(problems);
            }
            for (at, publisher) in sink.publishers.iter().enumerate() {
                let (handle, task) = self.factory.publisher(self.spec, sink, at).await?;
                publishers.push((publisher.clone(), handle));
                self.built.publishers.push(task);
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
        self.built.sinks.push((Arc::clone(sink.name()), sink, handle));
        Ok(Vec::new())
    }
}

fn handles(sinks: &[(Arc<str>, Sink, SinkHandle)]) -> Vec<(Arc<str>, SinkHandle)> {
    sinks.iter().map(|(name, _, handle)| (Arc::clone(name), handle.clone())).collect()
}

/// Logs and removes pending batches of sinks that the configuration no longer has. Logs spools
/// without a publisher, and keeps them.
async fn report_orphans(journal: &Journal, spools: &Spools, store: &StoreSpec) {
    for (sink, samples) in journal.orphaned_sinks() {
        events::store::orphaned_batches_dropped(&sink, samples);
    }
    journal
        .remove_orphaned_sinks()
        .await
        .iter()
        .for_each(|sink| events::store::orphaned_state_removed(sink));
    spools.report_orphaned_spools().await;
    if let Some(share) = spools.share_below(store.bytes) {
        events::store::share_below_setting(store.total, share, store.bytes);
    }
}

/// The sources of all sinks, or of one.
fn polled_sources(spec: &AgentSpec, sink: Option<&str>) -> Vec<SourceSpec> {
    let is_selected = |name: &Arc<str>| sink.is_none_or(|sink| **name == *sink);
    let sources = spec.pipeline.sources.iter();
    sources.filter(|source| source.sinks.iter().any(is_selected)).cloned().collect()
}
