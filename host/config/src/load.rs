//! Loads files, environment and command line into one checked configuration.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::caution;
use super::ceilometer::CeilometerConf;
use super::check::{self, Defaults, Host, KnownMeters, PipelineContext};
use super::component_credentials;
use super::error::{ConfigError, Problem, Report, problem};
use super::location::Location;
use super::polling_mode::{self, polling_mode};
use super::raw::{Document, Kind};
use super::routing::{Pipeline, route};
use super::spec::{AgentSpec, MeteringSpec, Mode, PipelineSpec, Routing, SourceSpec};
use nephometer_model::Bound;

/// The default path of `nephometer.yaml`. The file may be absent.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/nephometer/nephometer.yaml";

/// The default path of `pipeline.yaml`.
pub(crate) const DEFAULT_PIPELINE: &str = "/etc/nephometer/pipeline.yaml";

/// The path of `polling.yaml` if neither it nor `pipeline.yaml` is named. The file may be absent.
pub(crate) const DEFAULT_POLLING: &str = "/etc/nephometer/polling.yaml";

/// The prefix of variables that override keys.
const PREFIX: &str = "NEPHOMETER_";

/// Where the text of a file comes from.
#[derive(Debug, Clone, Default)]
pub enum Origin {
    /// The file that is installed with the agent.
    #[default]
    Installed,
    /// A file that was named. It must exist.
    File(PathBuf),
    /// Text that is not in a file.
    Text {
        /// Used as the file name in locations.
        name: String,
        /// YAML.
        text: String,
    },
}

/// Everything that the configuration depends on. This crate reads nothing else but the files that
/// are named here.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `nephometer.yaml`
    pub config: Origin,
    /// `pipeline.yaml`
    pub pipeline: Origin,
    /// `polling.yaml`. If there is one, `pipeline.yaml` does not configure polling.
    pub polling: Origin,
    /// `ceilometer.conf`. Everything else overrides it.
    pub ceilometer: Option<PathBuf>,
    /// `--libvirt`: overrides `libvirt.uri`.
    pub libvirt: Option<String>,
    /// `AMQP_URL`, or `--amqp-file` of the demo: overrides `amqp.url` and `amqp.url_file`.
    pub amqp_url: Option<String>,
    /// Override `components.path` if there are any.
    pub components: Vec<PathBuf>,
    /// The variables that begin with `NEPHOMETER_` and are not options of the command line;
    /// `NEPHOMETER_AMQP__URL` overrides `amqp.url`.
    pub environment: Vec<(String, String)>,
    /// The machine's host name: the default of `host`.
    pub hostname: String,
    /// Folders for the defaults of paths.
    pub folders: Folders,
    /// The meters that this agent has with these settings.
    pub meters: Option<fn(MeteringSpec) -> KnownMeters>,
}

/// Folders from which the defaults of paths are chosen.
#[derive(Debug, Clone, Default)]
pub struct Folders {
    /// Whether this user may write `/var/lib/nephometer` and `/var/cache/nephometer`.
    pub system: bool,
    /// `XDG_STATE_HOME`, or its substitute.
    pub state_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, or its substitute.
    pub cache_home: Option<PathBuf>,
    /// Whether this user may write `/run/nephometer`.
    pub system_runtime: bool,
    /// `XDG_RUNTIME_DIR`, if it is set.
    pub runtime: Option<PathBuf>,
}

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
    let all = config.into_iter().chain(pipeline).chain(polling).chain(ceilometer);
    all.chain(conf.more).collect()
}

/// The path of an origin, if it is a file.
fn file(origin: &Origin, installed: &str) -> Option<PathBuf> {
    match origin {
        Origin::Installed => Some(PathBuf::from(installed)),
        Origin::File(path) => Some(path.clone()),
        Origin::Text { .. } => None,
    }
}

/// Reads `ceilometer.conf`. Returns the inputs with its files, where no others are named, and its
/// other settings.
fn with_ceilometer(inputs: &Inputs, report: &mut Report) -> (Inputs, CeilometerConf) {
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
fn polling_file(inputs: &Inputs) -> bool {
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

pub(super) fn document(bytes: &[u8], name: &str, report: &mut Report) -> Option<Document> {
    let mut warnings = Vec::new();
    let read = Document::read(bytes, name, &mut warnings);
    report.extend_warnings(warnings);
    match read {
        Ok(doc) => Some(doc),
        Err(problem) => {
            report.push(problem);
            None
        }
    }
}

pub(super) fn bytes(
    origin: &Origin,
    installed: &str,
    report: &mut Report,
) -> Option<(String, Vec<u8>)> {
    let path = match origin {
        Origin::Text { name, text } => return Some((name.clone(), text.clone().into_bytes())),
        Origin::File(path) => path.as_path(),
        Origin::Installed => Path::new(installed),
    };
    let name = path.display().to_string();
    match read(path) {
        Ok(bytes) => Some((name, bytes)),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "create it, or name another file",
                _ => "name a file that this user can read",
            };
            let what = format!("the file cannot be read: {error}");
            report.push(problem(&whole(&name), what, remedy));
            None
        }
    }
}

/// Reads a file, but at most one byte more than the parser accepts.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = Bound::YamlBytes.most() + 1;
    nephometer_files::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn whole(name: &str) -> Location {
    Location { file: name.into(), line: 0, column: 0 }
}

fn host(inputs: &Inputs, ceilometer: &CeilometerConf, report: &mut Report) -> Option<Host> {
    let absent = matches!(inputs.config, Origin::Installed) && !Path::new(DEFAULT_CONFIG).exists();
    let mut doc = if absent {
        Document::empty(DEFAULT_CONFIG)
    } else {
        let (name, bytes) = bytes(&inputs.config, DEFAULT_CONFIG, report)?;
        document(&bytes, &name, report)?
    };
    if let Some(location) = &ceilometer.secret {
        caution::readable(Path::new(&*location.file), location, report);
    }
    if let (Some(path), Some(location)) =
        (file(&inputs.config, DEFAULT_CONFIG), caution::secret_in_host(&doc))
    {
        caution::readable(&path, location, report);
    }
    ceilometer.unread(names_broker(inputs, &doc), report);
    for (path, values, origin) in &ceilometer.keys {
        let pointer = format!("/{}", path.join("/"));
        let keys = [pointer.clone(), format!("{pointer}_file")];
        if keys.iter().all(|pointer| doc.fact(pointer).is_none()) {
            override_key(&mut doc, path, values, origin, report);
        }
    }
    for (variable, value) in &inputs.environment {
        let path = variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase();
        let path: Vec<&str> = path.split("__").collect();
        override_key(&mut doc, &path, std::slice::from_ref(value), variable, report);
    }
    let options = [
        (["libvirt", "uri"], &inputs.libvirt, "--libvirt"),
        (["amqp", "url"], &inputs.amqp_url, "AMQP_URL or --amqp-file"),
    ];
    for (path, value, origin) in options {
        if let Some(value) = value {
            doc.forget(&[path[0], &format!("{}_file", path[1])], |_| true);
            override_key(&mut doc, &path, std::slice::from_ref(value), origin, report);
        }
    }
    if !inputs.components.is_empty() {
        let folders: Vec<String> =
            inputs.components.iter().map(|folder| folder.display().to_string()).collect();
        override_key(&mut doc, &["components", "path"], &folders, "--components", report);
    }
    caution::secret_files(&doc, report);
    check::host(&doc, defaults(inputs), report)
}

/// Whether anything but `ceilometer.conf` names the broker.
fn names_broker(inputs: &Inputs, doc: &Document) -> bool {
    let in_file = |pointer| doc.fact(pointer).is_some_and(|fact| fact.kind != Kind::Null);
    let named = |name: &str| {
        let variables = ["NEPHOMETER_AMQP__URL", "NEPHOMETER_AMQP__URL_FILE"];
        variables.iter().any(|variable| variable.eq_ignore_ascii_case(name))
    };
    in_file("/amqp/url")
        || in_file("/amqp/url_file")
        || inputs.amqp_url.is_some()
        || inputs.environment.iter().any(|(name, _)| named(name))
}

/// Sets one key. Also removes its other form (with or without `_file`) that a file sets.
fn override_key(
    doc: &mut Document,
    path: &[&str],
    values: &[String],
    origin: &str,
    report: &mut Report,
) {
    if let Some((last, before)) = path.split_last() {
        let other = match last.strip_suffix("_file") {
            Some(plain) => plain.to_owned(),
            None => format!("{last}_file"),
        };
        let mut other_path = before.to_vec();
        other_path.push(&other);
        doc.forget(&other_path, |location| location.line > 0);
    }
    if !doc.set(path, values, origin) {
        let what = "the configuration has no place for this key";
        report.push(problem(
            &whole(origin),
            what,
            "write NEPHOMETER_ and the keys in capitals with two underscores between them",
        ));
    }
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
        pipeline,
    }
}
