//! Loads files, environment and command line into one checked configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::caution;
use super::ceilometer::CeilometerConf;
use super::check::{self, Defaults, Host, PipelineContext};
use super::component_credentials;
use super::component_spec::ComponentsSpec;
use super::error::{ConfigError, Problem, Report};
use super::inputs::{
    DEFAULT_CONFIG, DEFAULT_PIPELINE, DEFAULT_POLLING, Inputs, Origin, bytes, document, file, whole,
};
use super::lock;
use super::overrides::host_document;
use super::polling_mode::{self, polling_mode};
use super::routing::{Pipeline, route};
use super::spec::{AgentSpec, Mode, PipelineSpec, Routing, SourceSpec};

/// A valid configuration and its warnings.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub spec: AgentSpec,
    /// Warnings for the user.
    pub warnings: Vec<Problem>,
}

/// The files that [`load`] reads, including those that do not exist.
pub fn files(inputs: &Inputs) -> Vec<PathBuf> {
    // `load` reports its problems.
    let (inputs, conf) = with_ceilometer(inputs, &mut Report::default());
    let inputs = &inputs;
    let polling = polling_file(inputs).then(|| file(&inputs.polling, DEFAULT_POLLING)).flatten();
    let config = file(&inputs.config, DEFAULT_CONFIG);
    let pipeline = file(&inputs.pipeline, DEFAULT_PIPELINE);
    let ceilometer = inputs.ceilometer.clone();
    let lock = lock::lock_file(inputs);
    let all = config.into_iter().chain(pipeline).chain(polling).chain(ceilometer).chain(lock);
    all.chain(conf.more).collect()
}

/// Reads `ceilometer.conf`. Returns the inputs with its files, where no others are named, and its
/// other settings.
pub(super) fn with_ceilometer(inputs: &Inputs, report: &mut Report) -> (Inputs, CeilometerConf) {
    let mut inputs = inputs.clone();
    let Some(path) = inputs.ceilometer.clone() else { return (inputs, CeilometerConf::default()) };
    let origin = Origin::File(path.clone());
    let Some((_, bytes)) = bytes(&origin, "", report) else {
        return (inputs, CeilometerConf::default());
    };
    let conf = CeilometerConf::read(&path, &String::from_utf8_lossy(&bytes), report);
    let alone = matches!(inputs.pipeline, Origin::Installed);
    if let (Origin::Installed, Some(file)) = (&inputs.pipeline, &conf.pipeline) {
        inputs.pipeline = Origin::File(file.clone());
    }
    if let (Origin::Installed, Some(file), true) = (&inputs.polling, &conf.polling, alone) {
        inputs.polling = Origin::File(file.clone());
    }
    (inputs, conf)
}

/// Whether polling is configured in a separate `polling.yaml`.
pub(super) fn polling_file(inputs: &Inputs) -> bool {
    match (&inputs.polling, &inputs.pipeline) {
        (Origin::Installed, Origin::Installed) => Path::new(DEFAULT_POLLING).exists(),
        (Origin::Installed, _) => false,
        _ => true,
    }
}

/// Loads and checks the whole configuration.
///
/// # Errors
/// With all problems of all files, if there are any.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut report = Report::default();
    let (inputs, ceilometer) = with_ceilometer(inputs, &mut report);
    let inputs = &inputs;
    let host = host(inputs, &ceilometer, &mut report);
    // An invalid host file must not hide problems of the pipeline.
    let context = host.as_ref().map_or_else(PipelineContext::default, |host| PipelineContext {
        broker: host.amqp.broker.clone(),
        components: host.components.path.clone(),
        fetched: fetched(&host.components),
        meters: inputs.meters.map(|known| known(host.metering)).unwrap_or_default(),
    });
    let (mode, routing) =
        host.as_ref().map_or((Mode::default(), None), |host| (host.mode.clone(), host.routing));
    let pipeline = pipelines(inputs, &mode, routing, &context, &mut report);
    let rest = host.clone().map(|host| {
        let sinks = std::mem::take(&mut report.checkable);
        let pipeline = PipelineSpec { sources: Vec::new(), sinks };
        Box::new(assemble(host, pipeline, &mut Report::default()))
    });
    let spec = match (host, pipeline) {
        (Some(host), Some(pipeline)) => {
            polling_mode::check(&host, &mut report);
            component_credentials::check(&host, &pipeline, &mut report);
            caution::known_secrets(&host, &pipeline, &mut report);
            if let Some(file) = file(&inputs.pipeline, DEFAULT_PIPELINE) {
                caution::secret_urls(&pipeline, &file, &mut report);
            }
            Some(assemble(host, pipeline, &mut report))
        }
        _ => None,
    };
    let loaded = report.finish(spec).map(|(spec, warnings)| Loaded { spec, warnings });
    loaded.map_err(|error| ConfigError { rest, ..error })
}

/// The names of components from registries.
fn fetched(components: &ComponentsSpec) -> Vec<String> {
    let from_registry = components.by_name.iter().filter(|(_, spec)| spec.from.is_some());
    from_registry.map(|(name, _)| name.clone()).collect()
}

/// Loads both forms of the files, and both modes, as sources with sinks.
fn pipelines(
    inputs: &Inputs,
    mode: &Mode,
    routing: Option<Routing>,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<PipelineSpec> {
    let polled = polling_file(inputs).then(|| polled(inputs, context, report));
    if let Mode::Polling { batch_size, topics, notifications } = mode {
        let sources = match polled {
            Some(sources) => sources?,
            None => single(inputs, context, report)?.sources,
        };
        let topics = if *notifications { topics.as_slice() } else { &[] };
        return Some(polling_mode(&sources, *batch_size, topics, &context.broker));
    }
    let Some(polled) = polled else {
        let spec = single(inputs, context, report)?;
        return Some(match routing {
            Some(Routing::Name) => by_name(&spec),
            Some(Routing::Source) | None => spec,
        });
    };
    let (name, bytes) = bytes(&inputs.pipeline, DEFAULT_PIPELINE, report)?;
    let pipeline_sources = document(&bytes, &name, report)
        .and_then(|doc| check::pipeline_sources(&doc, context, report));
    let ((pipeline_sources, sinks), polled) = (pipeline_sources?, polled?);
    let routing = routing.unwrap_or(Routing::Name);
    let alone = |source: &&SourceSpec| !pipeline_sources.iter().any(|one| one.name == source.name);
    if routing == Routing::Source {
        for source in polled.iter().filter(alone) {
            let what = format!("no source is named {:?}, as one of polling.yaml is", source.name);
            report.warn(&whole(&name), what, "add one, or write `routing: name`");
        }
    }
    Some(PipelineSpec { sources: route(&polled, &pipeline_sources, &sinks, routing), sinks })
}

/// `polling.yaml`
fn polled(
    inputs: &Inputs,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<Vec<SourceSpec>> {
    let (name, bytes) = bytes(&inputs.polling, DEFAULT_POLLING, report)?;
    let doc = document(&bytes, &name, report)?;
    check::polling(&doc, context, report)
}

/// `pipeline.yaml` in the form of 2015, whose sources poll.
fn single(inputs: &Inputs, context: &PipelineContext, report: &mut Report) -> Option<PipelineSpec> {
    let (name, bytes) = bytes(&inputs.pipeline, DEFAULT_PIPELINE, report)?;
    pipeline(&bytes, &name, context, report)
}

fn by_name(spec: &PipelineSpec) -> PipelineSpec {
    let pipelines: Vec<Pipeline> = spec.sources.iter().map(Pipeline::from).collect();
    let sources = route(&spec.sources, &pipelines, &spec.sinks, Routing::Name);
    PipelineSpec { sources, sinks: spec.sinks.clone() }
}

/// Loads the configuration without `pipeline.yaml`, for commands that need no pipeline. The
/// pipeline of the result is empty.
///
/// # Errors
/// With all problems, if there are any.
pub fn load_host(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut report = Report::default();
    let nothing = PipelineSpec { sources: Vec::new(), sinks: Vec::new() };
    let (inputs, ceilometer) = with_ceilometer(inputs, &mut report);
    let spec =
        host(&inputs, &ceilometer, &mut report).map(|host| assemble(host, nothing, &mut report));
    report.finish(spec).map(|(spec, warnings)| Loaded { spec, warnings })
}

/// Checks the text of a `pipeline.yaml`. `name` is the file name in locations, `broker` the broker
/// of `notifier://` without a host. The second value of the result is the warnings.
///
/// # Errors
/// With all problems, if there are any.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_pipeline(
    text: &[u8],
    name: &str,
    broker: &super::broker::BrokerSpec,
) -> Result<(PipelineSpec, Vec<Problem>), ConfigError> {
    let mut report = Report::default();
    let context = PipelineContext { broker: broker.clone(), ..PipelineContext::default() };
    let spec = pipeline(text, name, &context, &mut report);
    report.finish(spec)
}

fn pipeline(
    bytes: &[u8],
    name: &str,
    context: &PipelineContext,
    report: &mut Report,
) -> Option<PipelineSpec> {
    let doc = document(bytes, name, report)?;
    check::pipeline(&doc, context, report)
}

fn host(inputs: &Inputs, ceilometer: &CeilometerConf, report: &mut Report) -> Option<Host> {
    let doc = host_document(inputs, ceilometer, report)?;
    caution::secret_files(&doc, report);
    let mut host = check::host(&doc, defaults(inputs), report)?;
    lock::attach(inputs, &mut host.components, report);
    host.components.proxies = inputs.proxies.clone();
    Some(host)
}

fn defaults(inputs: &Inputs) -> Defaults {
    let folder = |system: &str, home: &Option<PathBuf>| match home {
        Some(home) if !inputs.folders.system => home.join("nephometer"),
        _ => PathBuf::from(system),
    };
    let store = folder("/var/lib/nephometer", &inputs.folders.state_home);
    let runtime = match &inputs.folders.runtime {
        _ if inputs.folders.system_runtime => PathBuf::from("/run/nephometer"),
        Some(runtime) => runtime.join("nephometer"),
        None => store.clone(),
    };
    Defaults {
        host: inputs.hostname.clone(),
        control: runtime.join("agent.sock"),
        store,
        cache: folder("/var/cache/nephometer", &inputs.folders.cache_home),
    }
}

/// Builds the configuration. Limits the deadline to half the shortest interval, so that there is
/// time for a second read.
fn assemble(host: Host, pipeline: PipelineSpec, report: &mut Report) -> AgentSpec {
    let mut libvirt = host.libvirt;
    let shortest = pipeline.sources.iter().map(|source| source.interval).min();
    let most = shortest.map_or(Duration::MAX, |interval| interval / 2);
    if libvirt.deadline > most {
        if let Some(location) = &host.deadline_location {
            let what = format!(
                "`deadline` is more than half the shortest interval; {} s are used",
                most.as_secs_f64()
            );
            report.warn(location, what, "shorten it, or poll less often");
        }
        libvirt.deadline = most;
    }
    AgentSpec {
        host: host.host,
        metering: host.metering,
        mode: host.mode,
        spread: host.spread,
        libvirt,
        discovery: host.discovery,
        amqp: host.amqp,
        message: host.message,
        components: host.components,
        store: host.store,
        cache: host.cache,
        control: host.control,
        shutdown_grace: host.shutdown_grace,
        prometheus: host.prometheus,
        telemetry: host.telemetry,
        secret_files: host.secret_files,
        pipeline,
    }
}
