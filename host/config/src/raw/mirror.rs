//! Typed mirrors of the files as written. A field of a wrong type is recorded as such, so that one
//! problem does not hide the next.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One field of a mirror.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// Not present.
    #[default]
    Absent,
    /// Present without a value.
    Null,
    /// Of a wrong type; the document has the actual one.
    Wrong,
    /// Of the expected type.
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

/// A scalar value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// In the format of Python's `str`.
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

/// A list of scalars.
pub(crate) type Scalars = Field<Vec<Field<Scalar>>>;

/// `pipeline.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawPipeline {
    pub(crate) sources: Field<Vec<Field<RawSource>>>,
    pub(crate) sinks: Field<Vec<Field<RawSink>>>,
}

/// An entry of `sources`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSource {
    pub(crate) name: Field<Scalar>,
    pub(crate) interval: Field<Scalar>,
    pub(crate) meters: Scalars,
    pub(crate) counters: Scalars,
    pub(crate) resources: Scalars,
    pub(crate) discovery: Scalars,
    pub(crate) sinks: Scalars,
}

/// An entry of `sinks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSink {
    pub(crate) name: Field<Scalar>,
    pub(crate) transformers: Field<Vec<Field<RawTransformer>>>,
    pub(crate) publishers: Scalars,
}

/// An entry of `transformers`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawTransformer {
    pub(crate) name: Field<Scalar>,
    pub(crate) parameters: Field<Map<String, Value>>,
}

/// `nephometer.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawHost {
    pub(crate) host: Field<Scalar>,
    pub(crate) libvirt: Field<RawLibvirt>,
    pub(crate) amqp: Field<RawAmqp>,
    pub(crate) message: Field<RawMessage>,
    pub(crate) components: Field<RawComponents>,
    pub(crate) store: Field<RawStore>,
    pub(crate) cache: Field<RawFolder>,
    pub(crate) control: Field<RawControl>,
    pub(crate) shutdown_grace: Field<Scalar>,
    pub(crate) compatibility: Field<Scalar>,
    pub(crate) quirks: Scalars,
    pub(crate) mode: Field<Scalar>,
    pub(crate) routing: Field<Scalar>,
    pub(crate) polling: Field<RawPolling>,
    pub(crate) prometheus: Field<RawListen>,
    pub(crate) telemetry: Field<RawListen>,
    pub(crate) discovery: Field<RawDiscovery>,
    pub(crate) service_credentials: Field<RawCredentials>,
}

/// `discovery`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawDiscovery {
    pub(crate) method: Field<Scalar>,
    pub(crate) identity_name_discovery: Field<Scalar>,
    pub(crate) fetch_extra_metadata: Field<Scalar>,
    pub(crate) server_groups: Field<Scalar>,
    pub(crate) reserved_metadata_namespace: Scalars,
    pub(crate) reserved_metadata_keys: Scalars,
    pub(crate) reserved_metadata_length: Field<Scalar>,
    pub(crate) refresh: Field<Scalar>,
    pub(crate) full_refresh: Field<Scalar>,
}

/// Declares the mirror of a section whose keys are all scalars.
macro_rules! scalars {
    ($(#[$doc:meta])* $name:ident { $($key:ident,)* }) => {
        $(#[$doc])*
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(crate) struct $name {
            $(pub(crate) $key: Field<Scalar>,)*
        }
    };
}

scalars! {
    /// `service_credentials`
    RawCredentials {
        auth_url,
        auth_type,
        username,
        user_id,
        user_domain_name,
        user_domain_id,
        password,
        password_file,
        project_name,
        project_id,
        project_domain_name,
        project_domain_id,
        application_credential_id,
        application_credential_name,
        application_credential_secret,
        application_credential_secret_file,
        token,
        token_file,
        region_name,
        interface,
        cafile,
        insecure,
        compute_endpoint,
        timeout,
    }
}

impl RawCredentials {
    /// Id, name, and the id and name of the domain.
    pub(crate) fn user(&self) -> [&Field<Scalar>; 4] {
        [&self.user_id, &self.username, &self.user_domain_id, &self.user_domain_name]
    }

    /// Id, name, and the id and name of the domain.
    pub(crate) fn project(&self) -> [&Field<Scalar>; 4] {
        [&self.project_id, &self.project_name, &self.project_domain_id, &self.project_domain_name]
    }
}

/// Not derived, because it contains secrets.
impl fmt::Debug for RawCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCredentials")
    }
}

/// `polling`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawPolling {
    pub(crate) batch_size: Field<Scalar>,
    pub(crate) topics: Scalars,
    pub(crate) spread: Field<Scalar>,
    pub(crate) notifications: Field<Scalar>,
}

/// `prometheus` and `telemetry`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawListen {
    pub(crate) listen: Scalars,
    pub(crate) form: Field<Scalar>,
    pub(crate) hosts: Scalars,
    pub(crate) token: Field<Scalar>,
    pub(crate) token_file: Field<Scalar>,
    pub(crate) tls: Field<RawListenTls>,
}

/// `tls` of a listener
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawListenTls {
    pub(crate) certificate: Field<Scalar>,
    pub(crate) key: Field<Scalar>,
    pub(crate) client_ca: Field<Scalar>,
}

/// `libvirt`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawLibvirt {
    pub(crate) uri: Field<Scalar>,
    pub(crate) deadline: Field<Scalar>,
    pub(crate) parallel: Field<Scalar>,
    pub(crate) unowned: Field<Scalar>,
    pub(crate) events: Field<Scalar>,
    pub(crate) report_stopped_instance_metrics: Field<Scalar>,
}

/// `amqp`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawAmqp {
    pub(crate) url: Field<Scalar>,
    pub(crate) url_file: Field<Scalar>,
    pub(crate) tls: Field<RawTls>,
    pub(crate) queues: Field<Scalar>,
    pub(crate) exchange: Field<Scalar>,
}

/// `amqp.tls`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawTls {
    pub(crate) enabled: Field<Scalar>,
    pub(crate) ca: Field<Scalar>,
    pub(crate) certificate: Field<Scalar>,
    pub(crate) key: Field<Scalar>,
    pub(crate) verify_hostname: Field<Scalar>,
}

/// Not derived, because it contains a secret.
impl fmt::Debug for RawAmqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawAmqp")
    }
}

/// `message`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawMessage {
    pub(crate) telemetry_secret: Field<Scalar>,
    pub(crate) telemetry_secret_file: Field<Scalar>,
    pub(crate) sample_source: Field<Scalar>,
    pub(crate) signature: Field<Scalar>,
}

/// Not derived, because it contains a secret.
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawMessage")
    }
}

/// `components`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawComponents {
    pub(crate) path: Scalars,
    pub(crate) by_name: Field<BTreeMap<String, Field<RawComponent>>>,
    pub(crate) registries: Field<BTreeMap<String, Field<RawRegistry>>>,
    pub(crate) signatures: Field<RawSignatures>,
    pub(crate) guard: Field<RawGuard>,
    pub(crate) totals: Field<RawTotals>,
}

/// An entry of `components.registries`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawRegistry {
    pub(crate) ca: Field<Scalar>,
    pub(crate) username: Field<Scalar>,
    pub(crate) password: Field<Scalar>,
    pub(crate) password_file: Field<Scalar>,
    pub(crate) token: Field<Scalar>,
    pub(crate) token_file: Field<Scalar>,
    pub(crate) plain_http: Field<Scalar>,
}

/// Not derived, because it contains secrets.
impl fmt::Debug for RawRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawRegistry")
    }
}

/// `components.signatures`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSignatures {
    pub(crate) keys: Field<BTreeMap<String, Field<RawCodeKey>>>,
    pub(crate) require_signature: Scalars,
    pub(crate) allow_unsigned: Scalars,
}

/// An entry of `components.signatures.keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawCodeKey {
    pub(crate) pem: Field<Scalar>,
    pub(crate) revoked: Field<Scalar>,
}

/// `components.totals`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawTotals {
    pub(crate) memory: Field<Scalar>,
    pub(crate) states: Field<Scalar>,
    pub(crate) sockets: Field<Scalar>,
}

/// An entry of `components.by_name`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawComponent {
    pub(crate) from: Field<Scalar>,
    pub(crate) shadow: Field<Scalar>,
    pub(crate) limits: Field<RawLimits>,
    pub(crate) shadow_limits: Field<RawLimits>,
    pub(crate) guard: Field<RawGuard>,
    pub(crate) on_error: Field<Scalar>,
    pub(crate) on_state_mismatch: Field<Scalar>,
    pub(crate) grants: Field<RawGrants>,
    pub(crate) options: Field<Map<String, Value>>,
}

/// Not derived, because the options may contain a secret.
impl fmt::Debug for RawComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawComponent")
    }
}

/// `grants` of a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawGrants {
    pub(crate) connect: Scalars,
    pub(crate) service_credentials: Field<Scalar>,
}

/// `components.guard`, or `guard` of a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawGuard {
    pub(crate) enabled: Field<Scalar>,
    pub(crate) cycles: Field<Scalar>,
    pub(crate) sums: Field<Scalar>,
    pub(crate) samples: Field<Scalar>,
    pub(crate) absent: Field<Scalar>,
    pub(crate) cost: Field<Scalar>,
}

/// `limits` of a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawLimits {
    pub(crate) memory: Field<Scalar>,
    pub(crate) cpu: Field<Scalar>,
    pub(crate) wall: Field<Scalar>,
    pub(crate) returned: Field<Scalar>,
}

/// `store`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawStore {
    pub(crate) path: Field<Scalar>,
    pub(crate) bytes: Field<Scalar>,
    pub(crate) total: Field<Scalar>,
    pub(crate) age: Field<Scalar>,
    pub(crate) when_full: Field<Scalar>,
    pub(crate) keep_longest: Scalars,
}

/// `cache`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawFolder {
    pub(crate) path: Field<Scalar>,
}

/// `control`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawControl {
    pub(crate) socket: Field<Scalar>,
}
