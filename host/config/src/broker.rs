//! Addresses, TLS and queue settings of AMQP brokers.

use std::path::PathBuf;

use super::Secret;

/// The broker that `notifier://` without a host means.
#[derive(Debug, Clone, PartialEq)]
pub struct AmqpSpec {
    /// The whole `amqp` section.
    pub broker: BrokerSpec,
}

/// The addresses of a broker, and how to connect to it.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerSpec {
    /// `amqp://` or `amqps://`: `amqp.url`, the content of `amqp.url_file`, or what a publisher's own
    /// URL names. The nodes of a cluster; any of them is used.
    pub urls: Vec<Secret>,
    /// `amqp.tls`
    pub tls: TlsSpec,
    /// `amqp.queues`
    pub queues: Queues,
    /// `amqp.exchange`: where messages are published, and queues are bound.
    pub exchange: String,
}

impl Default for BrokerSpec {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            tls: TlsSpec::default(),
            queues: Queues::default(),
            exchange: "ceilometer".to_owned(),
        }
    }
}

/// Certificates for TLS, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// `amqp.tls.enabled`: whether `amqp://` means TLS, and so does a publisher's own URL.
    pub enabled: bool,
    /// `amqp.tls.ca`: an authority to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// `amqp.tls.certificate` and `amqp.tls.key`: the client's identity.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `amqp.tls.verify_hostname`: whether the certificate must have the broker's name or address.
    pub verify_hostname: bool,
    /// Differs when the contents of these files do: a renewed certificate is a change. `None` if one
    /// of them cannot be read.
    pub contents: Option<u64>,
}

impl Default for TlsSpec {
    fn default() -> Self {
        Self { enabled: false, ca: None, identity: None, verify_hostname: true, contents: None }
    }
}

/// How missing queues and their exchange are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Queues {
    /// Lost when the broker stops, as `amqp_durable_queues=false` of oslo.messaging.
    #[default]
    Transient,
    /// Survive a restart of the broker, as `amqp_durable_queues=true`.
    Durable,
    /// Replicated to several nodes, as `rabbit_quorum_queue=true`.
    Quorum,
}
