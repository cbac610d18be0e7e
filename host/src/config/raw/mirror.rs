//! The files as they are written. A field of the wrong type is kept as such, so that one fault
//! does not hide the next.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One field of a mirror.
#[derive(Debug, Clone, Default)]
pub(in crate::config) enum Field<T> {
    /// Not written.
    #[default]
    Absent,
    /// Written without a value.
    Null,
    /// Of another type; the document knows which.
    Wrong,
    /// As it should be.
    Given(T),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_yaml::Value::deserialize(deserializer)? {
            serde_yaml::Value::Null => Self::Null,
            value => serde_yaml::from_value(value).map_or(Self::Wrong, Self::Given),
        })
    }
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// As Python's `str` writes it.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A list of values without parts.
pub(in crate::config) type Scalars = Field<Vec<Field<Scalar>>>;

/// `pipeline.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawPipeline {
    pub(in crate::config) sources: Field<Vec<Field<RawSource>>>,
    pub(in crate::config) sinks: Field<Vec<Field<RawSink>>>,
}

/// An entry of `sources`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawSource {
    pub(in crate::config) name: Field<Scalar>,
    pub(in crate::config) interval: Field<Scalar>,
    pub(in crate::config) meters: Scalars,
    pub(in crate::config) counters: Scalars,
    pub(in crate::config) resources: Scalars,
    pub(in crate::config) discovery: Scalars,
    pub(in crate::config) sinks: Scalars,
}

/// An entry of `sinks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawSink {
    pub(in crate::config) name: Field<Scalar>,
    pub(in crate::config) transformers: Field<Vec<Field<RawTransformer>>>,
    pub(in crate::config) publishers: Scalars,
}

/// An entry of `transformers`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawTransformer {
    pub(in crate::config) name: Field<Scalar>,
    pub(in crate::config) parameters: Field<Map<String, Value>>,
}

/// `nephometer.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawHost {
    pub(in crate::config) host: Field<Scalar>,
    pub(in crate::config) libvirt: Field<RawLibvirt>,
    pub(in crate::config) amqp: Field<RawAmqp>,
    pub(in crate::config) message: Field<RawMessage>,
    pub(in crate::config) components: Field<RawComponents>,
    pub(in crate::config) store: Field<RawStore>,
    pub(in crate::config) cache: Field<RawFolder>,
    pub(in crate::config) control: Field<RawControl>,
    pub(in crate::config) shutdown_grace: Field<Scalar>,
    pub(in crate::config) compatibility: Field<Scalar>,
    pub(in crate::config) quirks: Scalars,
    pub(in crate::config) mode: Field<Scalar>,
    pub(in crate::config) routing: Field<Scalar>,
    pub(in crate::config) polling: Field<RawPolling>,
}

/// `polling`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawPolling {
    pub(in crate::config) batch_size: Field<Scalar>,
    pub(in crate::config) spread: Field<Scalar>,
}

/// `libvirt`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawLibvirt {
    pub(in crate::config) uri: Field<Scalar>,
    pub(in crate::config) deadline: Field<Scalar>,
    pub(in crate::config) parallel: Field<Scalar>,
    pub(in crate::config) unowned: Field<Scalar>,
    pub(in crate::config) events: Field<Scalar>,
    pub(in crate::config) report_stopped_instance_metrics: Field<Scalar>,
}

/// `amqp`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawAmqp {
    pub(in crate::config) url: Field<Scalar>,
    pub(in crate::config) url_file: Field<Scalar>,
    pub(in crate::config) tls: Field<RawTls>,
    pub(in crate::config) queues: Field<Scalar>,
}

/// `amqp.tls`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawTls {
    pub(in crate::config) enabled: Field<Scalar>,
    pub(in crate::config) ca: Field<Scalar>,
    pub(in crate::config) certificate: Field<Scalar>,
    pub(in crate::config) key: Field<Scalar>,
}

/// Not derived: it holds a secret.
impl fmt::Debug for RawAmqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawAmqp")
    }
}

/// `message`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawMessage {
    pub(in crate::config) telemetry_secret: Field<Scalar>,
    pub(in crate::config) telemetry_secret_file: Field<Scalar>,
    pub(in crate::config) sample_source: Field<Scalar>,
    pub(in crate::config) signature: Field<Scalar>,
}

/// Not derived: it holds a secret.
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawMessage")
    }
}

/// `components`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawComponents {
    pub(in crate::config) path: Scalars,
    pub(in crate::config) by_name: Field<BTreeMap<String, Field<RawComponent>>>,
    pub(in crate::config) totals: Field<RawTotals>,
}

/// `components.totals`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawTotals {
    pub(in crate::config) memory: Field<Scalar>,
    pub(in crate::config) states: Field<Scalar>,
    pub(in crate::config) sockets: Field<Scalar>,
}

/// An entry of `components.by_name`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawComponent {
    pub(in crate::config) limits: Field<RawLimits>,
    pub(in crate::config) on_error: Field<Scalar>,
    pub(in crate::config) on_state_mismatch: Field<Scalar>,
    pub(in crate::config) grants: Field<RawGrants>,
    pub(in crate::config) options: Field<Map<String, Value>>,
}

/// Not derived: its options may hold a secret.
impl fmt::Debug for RawComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawComponent")
    }
}

/// `grants` of a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawGrants {
    pub(in crate::config) connect: Scalars,
}

/// `limits` of a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawLimits {
    pub(in crate::config) memory: Field<Scalar>,
    pub(in crate::config) cpu: Field<Scalar>,
    pub(in crate::config) wall: Field<Scalar>,
    pub(in crate::config) returned: Field<Scalar>,
}

/// `store`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawStore {
    pub(in crate::config) path: Field<Scalar>,
    pub(in crate::config) bytes: Field<Scalar>,
    pub(in crate::config) total: Field<Scalar>,
    pub(in crate::config) age: Field<Scalar>,
    pub(in crate::config) when_full: Field<Scalar>,
    pub(in crate::config) keep_longest: Scalars,
}

/// `cache`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawFolder {
    pub(in crate::config) path: Field<Scalar>,
}

/// `control`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawControl {
    pub(in crate::config) socket: Field<Scalar>,
}
