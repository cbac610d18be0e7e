//! Where brokers are, and how they are spoken to.

use std::path::PathBuf;

use super::Secret;

/// The broker that `notifier://` without a host means.
#[derive(Debug, Clone, PartialEq)]
pub struct AmqpSpec {
    /// All of `amqp`.
    pub broker: BrokerSpec,
}

/// Where a broker is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BrokerSpec {
    /// `amqp://` or `amqps://`: `amqp.url`, the content of `amqp.url_file`, or what a publisher's own
    /// URL names; the nodes of a cluster, of which any will do.
    pub urls: Vec<Secret>,
    /// `amqp.tls`
    pub tls: TlsSpec,
    /// `amqp.queues`
    pub queues: Queues,
}

/// What a broker is trusted by, and what it trusts us by. PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSpec {
    /// `amqp.tls.enabled`: whether `amqp://` means TLS, and so does a publisher's own URL.
    pub enabled: bool,
    /// `amqp.tls.ca`: whose signature a broker has to show, besides those that the system trusts.
    pub ca: Option<PathBuf>,
    /// `amqp.tls.certificate` and `amqp.tls.key`: who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How queues and their exchange are declared where they are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Queues {
    /// They go with the broker, as `amqp_durable_queues=false` of oslo.messaging.
    #[default]
    Transient,
    /// They outlive the broker, as `amqp_durable_queues=true`.
    Durable,
    /// They are on several nodes, as `rabbit_quorum_queue=true`.
    Quorum,
}
