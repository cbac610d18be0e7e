use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::TokioRuntime;
use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::runtime::Handle;
use url::{Host, Url};

use super::AmqpError;
use super::frames::{FrameGuard, Returnable};
use super::stream::{GuardedStream, Leash, runtime};
use crate::publish::Envelope;
use nephometer_config::{BrokerSpec, Queues, Secret, TlsSpec};
use nephometer_model::Bound;

/// `control_exchange` of Ceilometer.
pub(super) const EXCHANGE: &str = "ceilometer";
/// How long a connection may take until it is ready, any answer on it, and its end.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a frame, unless the URL says otherwise or the broker wants less. The library sets 64 of
/// them aside for each connection, with a broker's usual 128 KiB that is 8 MB.
const FRAME_MAX: u32 = 16 << 10;
/// The smallest that AMQP knows.
const FRAME_MIN: u32 = 4096;

/// Seconds between heartbeats, unless the URL says otherwise: a dead broker is noticed in 20 s.
const HEARTBEAT: u16 = 10;

/// Where a broker is, and how it is spoken to.
pub(super) struct Broker {
    /// Any of them will do.
    nodes: Vec<AMQPUri>,
    tls: TlsSpec,
    queues: Queues,
    /// The node that is tried next: the one that worked, until it does not.
    next: usize,
    limit: Duration,
}

impl Broker {
    /// Reads its URLs.
    pub(super) fn new(spec: &BrokerSpec) -> Result<Self, AmqpError> {
        let nodes = spec.urls.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(AmqpError::Url("there is none"));
        }
        Ok(Self { nodes, tls: spec.tls.clone(), queues: spec.queues, next: 0, limit: LIMIT })
    }

    /// The same with less patience.
    #[cfg(test)]
    pub(super) fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Connects to the first node that lets us, and opens a channel.
    pub(super) async fn connect(&mut self) -> Result<Link, AmqpError> {
        let mut tried = 0;
        loop {
            let node = self.nodes[self.next].clone();
            match self.connect_to(node).await {
                Ok(link) => return Ok(link),
                Err(error) => {
                    tried += 1;
                    self.next = (self.next + 1) % self.nodes.len();
                    if tried == self.nodes.len() {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn connect_to(&self, node: AMQPUri) -> Result<Link, AmqpError> {
        let doing = "connecting to the broker";
        // Read anew each time: certificates are renewed while an agent runs.
        let tls = if node.scheme == AMQPScheme::AMQPS {
            files(&self.tls)?
        } else {
            OwnedTLSConfig::default()
        };
        // Before any AMQP, so that what fails here leaves no thread of the library behind.
        let wire = async {
            let tokio = TokioRuntime::tokio_current();
            Ok(node.connect_with_config_async(tls.as_ref(), &tokio).await?)
        };
        let wire = within(self.limit, doing, wire).await?;
        let (returnable, leash) = (Arc::new(Returnable::default()), Leash::new());
        let frame_max = node.query.frame_max.unwrap_or(FRAME_MAX) as usize;
        let guard = FrameGuard::new(frame_max, Arc::clone(&returnable));
        let stream = Mutex::new(Some(GuardedStream::new(wire, guard, &leash)));
        // Asked for once: a lost connection is ours to make again, with its login and channel.
        let stream = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(stream))
        };
        let properties = ConnectionProperties::default().with_connection_name("nephometer".into());
        let connecting = Connection::connector(node, runtime(), stream, properties);
        let connection = within(self.limit, doing, connecting).await?;
        let channel = open_channel(&connection, self.limit).await?;
        let (queues, limit, ready) = (self.queues, self.limit, HashSet::new());
        let leash = Some(leash);
        Ok(Link { connection, channel, queues, ready, returnable, limit, leash })
    }
}

fn node(url: &Secret) -> Result<AMQPUri, AmqpError> {
    // Texts of errors of both parsers may hold the URL, so that none of them is kept.
    let parsed = Url::parse(url.reveal()).map_err(|_| AmqpError::Url("it cannot be read"))?;
    let mut uri: AMQPUri = url.reveal().parse().map_err(|_| AmqpError::Url("it cannot be read"))?;
    // lapin takes IPv6 literals for no host at all, and so for localhost.
    if let Some(Host::Ipv6(address)) = parsed.host() {
        uri.authority.host = address.to_string();
    }
    if uri.vhost.is_empty() {
        uri.vhost.push('/');
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max = Some(frame_max(uri.query.frame_max)?);
    Ok(uri)
}

/// What the URL asks for. 0 is no limit, and would leave it to the broker how much is set aside.
fn frame_max(asked: Option<u32>) -> Result<u32, AmqpError> {
    let most = u32::try_from(Bound::FrameBytes.most()).unwrap_or(u32::MAX);
    match asked {
        None => Ok(FRAME_MAX),
        Some(0) => Ok(most),
        Some(asked) => {
            Bound::FrameBytes.check(asked as usize).map_err(AmqpError::FrameMax)?;
            Ok(asked.max(FRAME_MIN))
        }
    }
}

/// The PEM files of a TLS connection: small, and local.
fn files(tls: &TlsSpec) -> Result<OwnedTLSConfig, AmqpError> {
    let read = |path: &Path| {
        let unreadable = |source| AmqpError::File { path: path.to_owned(), source };
        nephometer_files::read(path).map_err(unreadable)
    };
    let cert_chain = match &tls.ca {
        Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
        None => None,
    };
    let identity = match &tls.identity {
        Some((certificate, key)) => {
            Some(OwnedIdentity::PKCS8 { pem: read(certificate)?, key: read(key)? })
        }
        None => None,
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

/// A connection with a channel that confirms.
pub(super) struct Link {
    connection: Connection,
    pub(super) channel: Channel,
    queues: Queues,
    /// Routing keys whose exchange and queue are known to be there.
    ready: HashSet<Arc<str>>,
    returnable: Arc<Returnable>,
    limit: Duration,
    /// `None` only while it is dropped.
    leash: Option<Leash>,
}

impl Drop for Link {
    /// The library sends `connection.close` by itself. A broker that never answers would keep its
    /// thread, its socket and its buffers: it has until the limit.
    fn drop(&mut self) {
        if let (Some(leash), Ok(tokio)) = (self.leash.take(), Handle::try_current()) {
            let limit = self.limit;
            tokio.spawn(async move {
                tokio::time::sleep(limit).await;
                drop(leash);
            });
        }
    }
}

impl Link {
    /// Sees to it that what is sent with this routing key has a queue to go to.
    pub(super) async fn prepare(&mut self, key: &Arc<str>) -> Result<(), AmqpError> {
        if self.ready.contains(key) {
            return Ok(());
        }
        let declared = self.declare_exchange(false).await;
        if self.foreign(declared).await? {
            self.declare_exchange(true).await?;
        }
        let declared = self.declare_queue(key, false).await;
        if self.foreign(declared).await? {
            self.declare_queue(key, true).await?;
        }
        let name = ShortString::from(&**key);
        let binding = self.channel.queue_bind(
            name.clone(),
            EXCHANGE.into(),
            name,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(self.limit, "binding the queue", binding).await?;
        self.ready.insert(Arc::clone(key));
        Ok(())
    }

    /// Notes what is about to be sent, which is all that the broker may return until the next call.
    pub(super) fn expect(&self, envelopes: &[Envelope]) {
        let bytes = envelopes.iter().map(|envelope| envelope.body.len()).sum();
        self.returnable.set(envelopes.len(), bytes);
    }

    /// Whether the broker takes nothing for now, because it is short of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// The queue of this routing key may be gone: it is declared again next time.
    pub(super) fn forget(&mut self, key: &Arc<str>) {
        self.ready.remove(key);
    }

    /// Whether others have declared a thing with other properties, such as durable: it is then
    /// used as it is. The broker has closed the channel over it, so that a new one is opened.
    async fn foreign(&mut self, declared: Result<(), AmqpError>) -> Result<bool, AmqpError> {
        match declared {
            Err(AmqpError::Refused { said, .. }) if precondition_failed(&said) => {
                self.channel = open_channel(&self.connection, self.limit).await?;
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }

    async fn declare_exchange(&self, passive: bool) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = ExchangeDeclareOptions { passive, durable, ..Default::default() };
        let kind = ExchangeKind::Topic;
        let declaring =
            self.channel.exchange_declare(EXCHANGE.into(), kind, options, FieldTable::default());
        within(self.limit, "declaring the exchange", declaring).await
    }

    async fn declare_queue(&self, name: &str, passive: bool) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = QueueDeclareOptions { passive, durable, ..Default::default() };
        let mut arguments = FieldTable::default();
        if self.queues == Queues::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let declaring = self.channel.queue_declare(name.into(), options, arguments);
        within(self.limit, "declaring the queue", declaring).await.map(|_| ())
    }
}

/// The only place that makes channels, so that none is without confirms.
async fn open_channel(connection: &Connection, limit: Duration) -> Result<Channel, AmqpError> {
    let channel = within(limit, "opening a channel", connection.create_channel()).await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    within(limit, "switching confirms on", confirming).await?;
    Ok(channel)
}

fn precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(|said| AmqpError::Refused { doing, said }),
        Err(_) => Err(AmqpError::Timeout { doing, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str) -> AMQPUri {
        node(&Secret::new(url)).unwrap()
    }

    #[test]
    fn urls_are_read_with_literals_and_escapes() {
        let plain = uri("amqp://guest:guest@127.0.0.1:5672/%2f");
        assert_eq!((plain.authority.host.as_str(), plain.vhost.as_str()), ("127.0.0.1", "/"));
        assert_eq!(plain.query.heartbeat, Some(10));
        assert_eq!(plain.query.frame_max, Some(16_384));
        let odd = uri("amqp://us%40er:p%3ass%2fw%25@[::1]:5673/a%2fb?heartbeat=3");
        assert_eq!(odd.authority.host, "::1");
        assert_eq!(odd.authority.port, 5673);
        assert_eq!(odd.authority.userinfo.username, "us@er");
        assert_eq!(odd.authority.userinfo.password, "p:ss/w%");
        assert_eq!(odd.vhost, "a/b");
        assert_eq!(odd.query.heartbeat, Some(3));
        assert_eq!(uri("amqp://broker/").vhost, "/");
        assert_eq!(uri("amqp://broker").authority.port, 5672);
    }

    #[test]
    fn frames_that_a_url_asks_for_are_bounded() {
        let most = u32::try_from(Bound::FrameBytes.most()).unwrap();
        let asked = |frame_max: u32| format!("amqp://broker/?frame_max={frame_max}");
        let of = |frame_max| uri(&asked(frame_max)).query.frame_max;
        assert_eq!(of(0), Some(most), "no limit is not left to the broker");
        assert_eq!((of(1), of(8192), of(most)), (Some(FRAME_MIN), Some(8192), Some(most)));
        let error = node(&Secret::new(asked(most + 1))).unwrap_err().to_string();
        assert!(error.contains("amqp_frame_bytes") && error.contains("131073"), "{error}");
    }

    #[test]
    fn refused_urls_are_not_repeated() {
        for url in ["u:hunter2@h", "amqp://u:hunter2@h:port/", "amqp://u:hunter2@h/%ff"] {
            let error = node(&Secret::new(url)).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
