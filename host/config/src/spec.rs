//! The checked and complete configuration, as other crates use it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use nephometer_model::{Glob, Quirks, Release, Secret};
use nephometer_wire::SignatureForm;

use super::broker::{AmqpSpec, BrokerSpec};
use super::component_spec::{ComponentsSpec, SecretOptions};
use super::discovery::DiscoverySpec;
use super::filter::MeterFilter;
use super::listen::{ListenSpec, PrometheusSpec};
use super::location::{Location, ValueLocations};

/// The configuration of one agent.
#[derive(Debug, Clone)]
pub struct AgentSpec {
    /// `host`: the name that goes into messages.
    pub host: String,
    /// `compatibility`, `quirks` and `libvirt.report_stopped_instance_metrics`
    pub metering: MeteringSpec,
    /// `mode`
    pub mode: Mode,
    /// `polling.spread`: polling cycles start at an offset within the interval that depends on the
    /// host name, so that a fleet does not poll at once.
    pub spread: bool,
    /// `libvirt`
    pub libvirt: LibvirtSpec,
    /// `discovery` and `service_credentials`
    pub discovery: DiscoverySpec,
    /// `amqp`
    pub amqp: AmqpSpec,
    /// `message`
    pub message: MessageSpec,
    /// `components`
    pub components: ComponentsSpec,
    /// `store`
    pub store: StoreSpec,
    /// `cache.path`: compiled components.
    pub cache: PathBuf,
    /// `control.socket`: the control socket of the running agent.
    pub control: PathBuf,
    /// `shutdown_grace`: how long a drain may take.
    pub shutdown_grace: Duration,
    /// `prometheus`: the scrape endpoint for the guests' meters.
    pub prometheus: PrometheusSpec,
    /// `telemetry`: the endpoint for the agent's own state.
    pub telemetry: ListenSpec,
    /// Files with secrets and certificates. A running agent takes their new contents up.
    pub secret_files: Vec<PathBuf>,
    /// `pipeline.yaml`
    pub pipeline: PipelineSpec,
}

/// Location and bounds of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSpec {
    /// `store.path`: the host id, journal, states and spools; locked against a second
    /// agent.
    pub path: PathBuf,
    /// `store.bytes`: of the journal, and of each publisher's spool.
    pub bytes: u64,
    /// `store.total`: of the database on disk, with all of that in it.
    pub total: u64,
    /// `store.age`: the maximum age of pending data.
    pub age: Duration,
    /// `store.when_full`
    pub when_full: WhenFull,
    /// `store.keep_longest`: meters that are dropped from spools last.
    pub last: Vec<Glob>,
}

/// What happens when a journal or a spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest entries are dropped.
    #[default]
    DropOldest,
    /// New entries are dropped.
    DropNewest,
    /// The writer waits: a full spool blocks its sink, a full journal blocks polling.
    Block,
}

/// How samples are assigned to sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// To the sinks of the source that polled them.
    Source,
    /// To the sinks of every source of `pipeline.yaml` whose `meters` match.
    Name,
}

/// Which of Ceilometer's agents this one replaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// The polling and the notification agent: samples go through pipelines to publishers.
    #[default]
    Notification,
    /// Only the polling agent: samples go to the notification agents of the site.
    Polling {
        /// Samples in one message at most.
        batch_size: usize,
        /// `polling.topics`: routing keys and queues are `TOPIC.sample`.
        topics: Vec<String>,
        /// `polling.notifications`: whether they are sent at all. Without, they are only scraped.
        notifications: bool,
    },
}

/// The release of Ceilometer whose meters and messages are produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeteringSpec {
    /// `compatibility`: the release to be compatible with.
    pub release: Release,
    /// `quirks`: the bugs of that release to reproduce.
    pub quirks: Quirks,
    /// `libvirt.report_stopped_instance_metrics`: whether instances that are shut off have the
    /// meters that they can have.
    pub report_stopped_instance_metrics: bool,
}

/// The connection to libvirt.
#[derive(Debug, Clone, PartialEq)]
pub struct LibvirtSpec {
    /// `libvirt.uri`, as given. Its scheme chooses the reader.
    pub uri: String,
    /// `libvirt.deadline`: how long one slice may take. At most half the shortest interval.
    pub deadline: Duration,
    /// `libvirt.parallel`: slices in flight.
    pub parallel: usize,
    /// `libvirt.unowned`: whether domains without Nova's metadata are metered.
    pub unowned: bool,
    /// `libvirt.events`: whether starts, ends and changes of domains trigger samples.
    pub events: bool,
}

/// Ceilometer's `[publisher] telemetry_secret`.
pub(super) const DEFAULT_SECRET: &str = "change this for valid signing";

/// What goes into every message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageSpec {
    /// `message.telemetry_secret` or the content of `message.telemetry_secret_file`; empty
    /// means unsigned.
    pub telemetry_secret: Secret,
    /// `message.sample_source`: the `source` of every sample.
    pub sample_source: Arc<str>,
    /// `message.signature`: the Python version whose text of numbers and lists is signed.
    pub signature: SignatureForm,
}

/// Sources and sinks of `pipeline.yaml`.
#[derive(Debug, Clone)]
pub struct PipelineSpec {
    /// In the order of the file.
    pub sources: Vec<SourceSpec>,
    /// In the order of the file.
    pub sinks: Vec<SinkSpec>,
}

/// What is polled, how often, and for which sinks.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSpec {
    /// Unique among sources.
    pub name: Arc<str>,
    /// From the start of one polling cycle to the start of the next.
    pub interval: Duration,
    /// Filters the meters.
    pub meters: MeterFilter,
    /// `resources`: static resources, of which this agent polls none.
    pub resources: Vec<String>,
    /// `discovery`: `local_instances`, or empty for the default, which is the same.
    pub discovery: Vec<String>,
    /// Names of sinks, each of which exists.
    pub sinks: Vec<Arc<str>>,
}

impl SourceSpec {
    /// Whether it polls the instances of this host. As in Ceilometer, static resources or another
    /// discovery replace the default.
    pub fn polls_instances(&self) -> bool {
        if self.discovery.is_empty() {
            self.resources.is_empty()
        } else {
            self.discovery.iter().any(|name| name == "local_instances")
        }
    }
}

/// Transformers and publishers of one sink.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Unique among sinks.
    pub name: Arc<str>,
    /// In the order in which they are applied.
    pub transformers: Vec<TransformerSpec>,
    /// In the order of the file.
    pub publishers: Vec<PublisherSpec>,
}

/// One transformer in one sink.
#[derive(Debug, Clone)]
pub struct TransformerSpec {
    /// The component's name: `NAME.wasm` on the component path.
    pub name: Arc<str>,
    /// Its location in the file.
    pub location: Location,
    /// `parameters` as JSON.
    pub parameters: Map<String, Value>,
    /// The locations of `parameters` and all values inside it.
    pub locations: ValueLocations,
}

/// One publisher in one sink.
#[derive(Debug, Clone)]
pub struct PublisherSpec {
    /// As written; may hold credentials, so only `label` is shown.
    pub url: Secret,
    /// The URL without credentials, for messages.
    pub label: Arc<str>,
    /// Its location in the file.
    pub location: Location,
    /// The publisher that the URL names.
    pub target: PublisherTarget,
}

/// The native publishers, and components.
#[derive(Debug, Clone)]
pub enum PublisherTarget {
    /// `notifier://`
    Notifier(NotifierSpec),
    /// `file://`
    File(FileSpec),
    /// `udp://`
    Udp(SocketSpec),
    /// `tcp://`
    Tcp(SocketSpec),
    /// `test://`
    Test,
    /// Any other scheme: the component of that name.
    Component(ComponentUrl),
}

/// `udp://HOST[:PORT]` and `tcp://HOST[:PORT]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSpec {
    /// A name or an address, without the brackets of an IPv6 address.
    pub host: String,
    /// 4952 if the URL has none.
    pub port: u16,
}

impl fmt::Display for SocketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// `NAME://[user[:password]@][host[:port]][/path][?query]`: for the component `NAME.wasm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentUrl {
    /// The scheme, which is the component's name.
    pub name: Arc<str>,
    /// Without the brackets of an IPv6 address.
    pub host: Option<String>,
    /// `None` if it is not given.
    pub port: Option<u16>,
    /// As written, with its leading slash; may be empty.
    pub path: String,
    /// Decoded.
    pub user: Option<String>,
    /// Decoded.
    pub password: Option<Secret>,
    /// The options by name, each with all its values in their order, decoded. May hold secrets.
    pub query: SecretOptions,
}

/// `notifier://[user:pass@host:port[/vhost]]?topic=T&...`
#[derive(Debug, Clone)]
pub struct NotifierSpec {
    /// The broker of the URL, or that of `amqp`.
    pub broker: BrokerSpec,
    /// `topic`: routing key and queue are `TOPIC.sample`. May be given several times; `metering` by
    /// default.
    pub topics: Vec<String>,
    /// `per_meter_topic`: each meter's samples once more, with event type `metering.METER`.
    pub per_meter_topic: bool,
    /// `policy`: what happens when the broker does not accept an envelope.
    pub policy: Policy,
    /// `max_queue_length`: pending envelopes; `None` means unlimited by count.
    pub max_queue_length: Option<usize>,
    /// The form of the notifications.
    pub form: NotificationForm,
    /// `provable`: whether receivers can verify the stream.
    pub provable: bool,
}

/// The two agents of Ceilometer that send samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NotificationForm {
    /// The notification agent, to collectors: `metering`.
    #[default]
    Metering,
    /// The polling agent, to notification agents: `telemetry.polling`, meter by meter.
    Polling {
        /// Samples in one message at most.
        batch_size: usize,
    },
}

/// `policy` of `notifier://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Keep everything up to the bound of the spool.
    #[default]
    Default,
    /// Keep at most `max_queue_length` envelopes, the newest ones.
    Queue,
    /// Drop envelopes that cannot be delivered at once.
    Drop,
}

/// `file:///path?max_bytes=N&backup_count=M[&json]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute.
    pub path: PathBuf,
    /// Size and number of old files; `None` without rotation.
    pub rotation: Option<Rotation>,
    /// JSON objects instead of Python's notation.
    pub json: bool,
    /// `provable`: whether readers can verify the stream.
    pub provable: bool,
}

/// When and how a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A record that would make the file at least this long starts a new one.
    pub max_bytes: u64,
    /// The number of old files that are kept.
    pub backup_count: u32,
}
