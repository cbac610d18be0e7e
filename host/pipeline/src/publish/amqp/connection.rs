//! Connects to a broker, and declares the exchange and the queues that a publisher needs.
//!
//! Every operation has a timeout, and every channel confirms. Sending is in `publisher.rs`.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::runtime::Handle;
use url::{Host, Url};

use super::AmqpError;
use super::frames::{FrameGuard, Returnable};
use super::stream::{CloseOnDrop, GuardedStream, runtime};
use super::tls::Security;
use crate::publish::Envelope;
use nephometer_config::{BrokerSpec, Queues, Secret, TlsSpec};
use nephometer_model::Bound;

/// Timeout of connecting, of each reply, and of closing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Frame size in bytes, unless the URL sets another one or the broker requires less. The library
/// allocates 64 frames per connection: with the usual 128 KiB of a broker, 8 MB.
const FRAME_MAX: u32 = 16 << 10;
/// Minimum frame size of AMQP 0-9-1 in bytes.
const FRAME_MIN: u32 = 4096;

/// Heartbeat interval in seconds, unless the URL sets another one. A dead broker is noticed after
/// two intervals.
const HEARTBEAT: u16 = 10;

/// The addresses of a broker, and how to connect to it.
pub(super) struct Broker {
    /// Nodes of the cluster. Any of them will do.
    nodes: Vec<AMQPUri>,
    tls: TlsSpec,
    queues: Queues,
    exchange: Arc<str>,
    /// Index of the node to try first: the last one that worked.
    next: usize,
    timeout: Duration,
}

impl Broker {
    /// Parses the URLs.
    ///
    /// # Errors
    /// If a URL is invalid, or there is none.
    pub(super) fn new(spec: &BrokerSpec) -> Result<Self, AmqpError> {
        let nodes = spec.urls.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(AmqpError::Url("no URL configured"));
        }
        Ok(Self {
            nodes,
            tls: spec.tls.clone(),
            queues: spec.queues,
            exchange: Arc::from(spec.exchange.as_str()),
            next: 0,
            timeout: TIMEOUT,
        })
    }

    /// Sets another timeout.
    #[cfg(test)]
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Connects to the first node that accepts, and opens a channel.
    ///
    /// # Errors
    /// The error of the last node, if none accepts.
    pub(super) async fn connect(&mut self) -> Result<BrokerConnection, AmqpError> {
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

    async fn connect_to(&self, node: AMQPUri) -> Result<BrokerConnection, AmqpError> {
        let doing = "connecting to the broker";
        let security = Security::new(&node, &self.tls)?;
        // Before any AMQP, so that a failure leaves no thread of the library behind.
        let stream = with_timeout(self.timeout, doing, security.connect(&node)).await?;
        let (returnable, close_on_drop) = (Arc::new(Returnable::default()), CloseOnDrop::new());
        let frame_max = node.query.frame_max.unwrap_or(FRAME_MAX) as usize;
        let guard = FrameGuard::new(frame_max, Arc::clone(&returnable));
        let stream = Mutex::new(Some(GuardedStream::new(stream, guard, &close_on_drop)));
        // Called once: after a failure the publisher connects again, with login and channel.
        let stream = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(stream))
        };
        let properties = ConnectionProperties::default().with_connection_name("nephometer".into());
        let connecting = Connection::connector(node, runtime(), stream, properties);
        let connection = with_timeout(self.timeout, doing, connecting).await?;
        let channel = open_channel(&connection, self.timeout).await?;
        let (queues, timeout, declared) = (self.queues, self.timeout, HashSet::new());
        let exchange = Arc::clone(&self.exchange);
        let close_on_drop = Some(close_on_drop);
        Ok(BrokerConnection {
            connection,
            channel,
            queues,
            exchange,
            declared,
            returnable,
            timeout,
            close_on_drop,
        })
    }
}

fn node(url: &Secret) -> Result<AMQPUri, AmqpError> {
    // The errors of both parsers may contain the URL, so that they are dropped.
    let parsed = Url::parse(url.reveal()).map_err(|_| AmqpError::Url("malformed"))?;
    let mut uri: AMQPUri = url.reveal().parse().map_err(|_| AmqpError::Url("malformed"))?;
    // lapin ignores IPv6 literals, and connects to localhost.
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

/// Checks the `frame_max` of the URL. 0 is no limit, which would let the broker choose how much is
/// allocated: then the bound applies.
fn frame_max(requested: Option<u32>) -> Result<u32, AmqpError> {
    let most = u32::try_from(Bound::FrameBytes.most()).unwrap_or(u32::MAX);
    match requested {
        None => Ok(FRAME_MAX),
        Some(0) => Ok(most),
        Some(requested) => {
            Bound::FrameBytes.check(requested as usize).map_err(AmqpError::FrameMax)?;
            Ok(requested.max(FRAME_MIN))
        }
    }
}

/// A connection with a channel in confirm mode.
pub(super) struct BrokerConnection {
    connection: Connection,
    pub(super) channel: Channel,
    queues: Queues,
    pub(super) exchange: Arc<str>,
    /// Routing keys whose exchange and queue are declared.
    declared: HashSet<Arc<str>>,
    returnable: Arc<Returnable>,
    timeout: Duration,
    /// `None` only while it is dropped.
    close_on_drop: Option<CloseOnDrop>,
}

impl Drop for BrokerConnection {
    /// The library sends `connection.close` on its own. A broker that never replies would keep the
    /// library's thread, socket and buffers: they are freed after the timeout.
    fn drop(&mut self) {
        if let (Some(close_on_drop), Ok(tokio)) = (self.close_on_drop.take(), Handle::try_current())
        {
            let timeout = self.timeout;
            tokio.spawn(async move {
                tokio::time::sleep(timeout).await;
                drop(close_on_drop);
            });
        }
    }
}

impl BrokerConnection {
    /// Declares the exchange, and the queue of this routing key, and binds them.
    pub(super) async fn prepare(&mut self, key: &Arc<str>) -> Result<(), AmqpError> {
        if self.declared.contains(key) {
            return Ok(());
        }
        let declared = self.declare_exchange(false).await;
        if self.exists_differently(declared).await? {
            self.declare_exchange(true).await?;
        }
        let declared = self.declare_queue(key, false).await;
        if self.exists_differently(declared).await? {
            self.declare_queue(key, true).await?;
        }
        let name = ShortString::from(&**key);
        let binding = self.channel.queue_bind(
            name.clone(),
            (&*self.exchange).into(),
            name,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        with_timeout(self.timeout, "binding the queue", binding).await?;
        self.declared.insert(Arc::clone(key));
        Ok(())
    }

    /// Announces the envelopes that are about to be sent: the broker may return no more than these
    /// until the next call.
    pub(super) fn expect(&self, envelopes: &[Envelope]) {
        let bytes = envelopes.iter().map(|envelope| envelope.body.len()).sum();
        self.returnable.set(envelopes.len(), bytes);
    }

    /// Whether the broker has blocked the connection, because it is low on memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Declares the queue of this routing key again next time, because it may have been deleted.
    pub(super) fn forget(&mut self, key: &Arc<str>) {
        self.declared.remove(key);
    }

    /// Whether a declaration failed because the object exists with other properties, such as
    /// durable: then it is used as it is. The broker has closed the channel, so that a new one is
    /// opened.
    async fn exists_differently(
        &mut self,
        declared: Result<(), AmqpError>,
    ) -> Result<bool, AmqpError> {
        match declared {
            Err(AmqpError::Refused { error, .. }) if precondition_failed(&error) => {
                self.channel = open_channel(&self.connection, self.timeout).await?;
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }

    async fn declare_exchange(&self, passive: bool) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = ExchangeDeclareOptions { passive, durable, ..Default::default() };
        let kind = ExchangeKind::Topic;
        let declaring = self.channel.exchange_declare(
            (&*self.exchange).into(),
            kind,
            options,
            FieldTable::default(),
        );
        with_timeout(self.timeout, "declaring the exchange", declaring).await
    }

    async fn declare_queue(&self, name: &str, passive: bool) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = QueueDeclareOptions { passive, durable, ..Default::default() };
        let mut arguments = FieldTable::default();
        if self.queues == Queues::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let declaring = self.channel.queue_declare(name.into(), options, arguments);
        with_timeout(self.timeout, "declaring the queue", declaring).await.map(|_| ())
    }
}

/// Opens a channel in confirm mode. Nothing else opens channels.
async fn open_channel(connection: &Connection, timeout: Duration) -> Result<Channel, AmqpError> {
    let channel = with_timeout(timeout, "opening a channel", connection.create_channel()).await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    with_timeout(timeout, "enabling confirms", confirming).await?;
    Ok(channel)
}

fn precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

/// Runs an operation with a timeout.
async fn with_timeout<T>(
    timeout: Duration,
    doing: &'static str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(|error| AmqpError::Refused { doing, error }),
        Err(_) => Err(AmqpError::Timeout { doing, timeout }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str) -> AMQPUri {
        node(&Secret::new(url)).unwrap()
    }

    #[test]
    fn urls_may_contain_ipv6_literals_and_escapes() {
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
    fn frame_max_of_a_url_is_bounded() {
        let most = u32::try_from(Bound::FrameBytes.most()).unwrap();
        let url = |frame_max: u32| format!("amqp://broker/?frame_max={frame_max}");
        let of = |frame_max| uri(&url(frame_max)).query.frame_max;
        assert_eq!(of(0), Some(most), "0 selects the bound");
        assert_eq!((of(1), of(8192), of(most)), (Some(FRAME_MIN), Some(8192), Some(most)));
        let error = node(&Secret::new(url(most + 1))).unwrap_err().to_string();
        assert!(error.contains("amqp_frame_bytes") && error.contains("131073"), "{error}");
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        for url in ["u:hunter2@h", "amqp://u:hunter2@h:port/", "amqp://u:hunter2@h/%ff"] {
            let error = node(&Secret::new(url)).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
