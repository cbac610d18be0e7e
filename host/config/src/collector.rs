//! The checked configuration of the collector.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nephometer_model::{Glob, Secret};

use super::broker::BrokerSpec;
use super::discovery::CloudSpec;

/// The configuration of one collector.
#[derive(Debug, Clone)]
pub struct CollectorSpec {
    /// `store`
    pub keep: KeepSpec,
    /// `brokers`; none means that nothing is consumed.
    pub brokers: Vec<CollectedQueues>,
    /// `receivers`: where agents send metering messages to, without a broker.
    pub receivers: Vec<ReceiverSpec>,
    /// `commit`
    pub commit: CommitSpec,
    /// `secrets`: any of them may have signed a sample.
    pub secrets: Vec<NamedSecret>,
    /// `unsigned`: whether samples without a signature are stored.
    pub unsigned: bool,
    /// `api`; `None` if `api.listen` is `off`.
    pub api: Option<ApiSpec>,
    /// `audit.keys`: the file of public keys of agents that audits trust.
    pub trusted_keys: Option<PathBuf>,
}

/// Where samples are kept, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct KeepSpec {
    /// `store.path`
    pub path: PathBuf,
    /// `store.clickhouse`; `None` for files in `path`.
    pub clickhouse: Option<ClickHouseSpec>,
    /// `store.window`: a sample is stored once, however often it is repeated, up to this age. Older
    /// samples are refused.
    pub window: Duration,
    /// `store.ahead`: samples further in the future are refused.
    pub ahead: Duration,
    /// `store.classes`, and the class `default` of all other meters at the end.
    pub classes: Vec<RetentionClass>,
}

impl KeepSpec {
    /// The folder, or the servers, for messages.
    pub fn shown(&self) -> String {
        match &self.clickhouse {
            None => self.path.display().to_string(),
            Some(spec) => spec.servers.join(", "),
        }
    }
}

/// Servers of ClickHouse that store samples.
#[derive(Debug, Clone, PartialEq)]
pub struct ClickHouseSpec {
    /// `servers`: URLs of HTTP. Each has a part of all samples, by resource; their order matters.
    pub servers: Vec<String>,
    /// `database`
    pub database: String,
    /// `user`
    pub user: String,
    /// `password`, or the content of `password_file`.
    pub password: Option<Secret>,
    /// `ca`: authorities to trust in place of those of the system.
    pub ca: Option<PathBuf>,
    /// `timeout`: for one request.
    pub timeout: Duration,
}

/// Meters that are kept equally long, in files of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionClass {
    /// Lower-case letters, digits and dashes: a part of the names of its files.
    pub name: String,
    /// `meters`; empty for all.
    pub meters: Vec<Glob>,
    /// `keep`: samples; `None` for ever.
    pub keep: Option<Duration>,
    /// `rollups`: sums by hour and day; `None` for ever.
    pub rollups: Option<Duration>,
}

/// A broker and the queues that are consumed there.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectedQueues {
    /// `url`, `tls` and `declare`.
    pub broker: BrokerSpec,
    /// The URL without secrets, for messages.
    pub label: String,
    /// `queues`
    pub queues: Vec<String>,
    /// `prefetch`: messages that are delivered and not acknowledged, for each queue.
    pub prefetch: u16,
}

/// An address that takes what `udp://` and `tcp://` of agents send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverSpec {
    /// The scheme of its URL.
    pub transport: Transport,
    /// Address and port.
    pub listen: SocketAddr,
}

impl fmt::Display for ReceiverSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.as_str(), self.listen)
    }
}

/// How messages arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Each in its own datagram.
    Udp,
    /// In a stream, each behind its length.
    Tcp,
}

impl Transport {
    /// The scheme of URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// When what has arrived is committed: whatever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSpec {
    /// `commit.rows`
    pub rows: usize,
    /// `commit.bytes`
    pub bytes: usize,
    /// `commit.time`
    pub time: Duration,
}

/// A secret with a name for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSecret {
    /// `name`
    pub name: String,
    /// `secret`, or the content of `secret_file`.
    pub secret: Secret,
}

/// The query API.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiSpec {
    /// `api.listen`
    pub listen: SocketAddr,
    /// `api.access`
    pub access: AccessSpec,
    /// `api.limit`: entries of an answer, if the request names no limit.
    pub limit: usize,
    /// `api.rows`: samples that one query may read.
    pub rows: u64,
}

/// Who may query.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessSpec {
    /// Everyone who reaches the loopback address, as an administrator.
    Loopback,
    /// Those with a token in this file.
    Tokens(PathBuf),
    /// Those with a token of Keystone.
    Keystone {
        /// `api.keystone`: how the collector itself gets a token, to ask about those of clients.
        credentials: Box<CloudSpec>,
        /// `api.token_cache`: how long an answer of Keystone is used. A revoked token ends after it.
        cache: Duration,
    },
}
