//! Connects to a broker, and declares exchanges and queues where they are missing.
//!
//! Every operation has a timeout. What the connection is used for is in `publishing.rs` and
//! `consuming.rs`.

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

use crate::allowance::Allowance;
use crate::error::AmqpError;
use crate::frames::{FrameGuard, Purpose};
use crate::node::{FRAME_MAX, node};
use crate::stream::{CloseOnDrop, GuardedStream, runtime};
use crate::tls::Security;
use nephometer_config::{BrokerSpec, Queues, TlsSpec};

/// Timeout of connecting, of each reply, and of closing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same of closing after a message was refused. Many connections may end this way, one after the
/// other.
const REFUSED: Duration = Duration::from_secs(1);

/// The addresses of a broker, and how to connect to it.
#[derive(Clone)]
pub struct Broker {
    /// Nodes of the cluster. Any of them will do.
    pub(crate) nodes: Vec<AMQPUri>,
    pub(crate) tls: TlsSpec,
    pub(crate) queues: Queues,
    pub(crate) exchange: Arc<str>,
    /// The name of the connection at the broker.
    name: &'static str,
    /// Index of the node to try first: the last one that worked.
    next: usize,
    timeout: Duration,
}

impl Broker {
    /// Parses the URLs. `name` identifies the program to the broker's operator.
    ///
    /// # Errors
    /// If a URL is invalid, or there is none.
    pub fn new(spec: &BrokerSpec, name: &'static str) -> Result<Self, AmqpError> {
        let nodes = spec.urls.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(AmqpError::Url("no URL configured"));
        }
        Ok(Self {
            nodes,
            tls: spec.tls.clone(),
            queues: spec.queues,
            exchange: Arc::from(spec.exchange.as_str()),
            name,
            next: 0,
            timeout: TIMEOUT,
        })
    }

    /// Sets another timeout.
    #[cfg(test)]
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Connects to the first node that accepts.
    ///
    /// # Errors
    /// The error of the last node, if none accepts.
    pub(crate) async fn connect(
        &mut self,
        purpose: Purpose,
    ) -> Result<BrokerConnection, AmqpError> {
        let mut tried = 0;
        loop {
            let node = self.nodes[self.next].clone();
            match self.connect_to(node, purpose).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tried += 1;
                    self.skip_node();
                    if tried == self.nodes.len() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Tries another node next time, because this one accepts connections and nothing else.
    pub(crate) fn skip_node(&mut self) {
        self.next = (self.next + 1) % self.nodes.len();
    }

    async fn connect_to(
        &self,
        node: AMQPUri,
        purpose: Purpose,
    ) -> Result<BrokerConnection, AmqpError> {
        let doing = "connecting to the broker";
        let security = Security::new(&node, &self.tls)?;
        // Before any AMQP, so that a failure leaves no thread of the library behind.
        let stream = with_timeout(self.timeout, doing, security.connect(&node)).await?;
        let (allowance, close_on_drop) = (Arc::new(Allowance::default()), CloseOnDrop::new());
        let frame_max = node.query.frame_max.unwrap_or(FRAME_MAX) as usize;
        let guard = FrameGuard::new(frame_max, purpose, Arc::clone(&allowance));
        let stream = Mutex::new(Some(GuardedStream::new(stream, guard, &close_on_drop)));
        // Called once: after a failure the caller connects again, with login and channels.
        let stream = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(stream))
        };
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let connecting = Connection::connector(node, runtime(), stream, properties);
        let connection = with_timeout(self.timeout, doing, connecting).await?;
        Ok(BrokerConnection {
            connection,
            purpose,
            queues: self.queues,
            exchange: Arc::clone(&self.exchange),
            allowance,
            timeout: self.timeout,
            close_on_drop: Some(close_on_drop),
        })
    }
}

/// A connection without channels.
pub(crate) struct BrokerConnection {
    connection: Connection,
    purpose: Purpose,
    queues: Queues,
    pub(crate) exchange: Arc<str>,
    pub(crate) allowance: Arc<Allowance>,
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
            let refused = self.allowance.unreadable().is_some();
            let timeout = if refused { REFUSED.min(self.timeout) } else { self.timeout };
            tokio.spawn(async move {
                tokio::time::sleep(timeout).await;
                drop(close_on_drop);
            });
        }
    }
}

impl BrokerConnection {
    /// Opens a channel; in confirm mode for a publisher. Nothing else opens channels.
    pub(crate) async fn open_channel(&self) -> Result<Channel, AmqpError> {
        let opening = self.connection.create_channel();
        let channel = self.step("opening a channel", opening).await?;
        if self.purpose == Purpose::Publishing {
            let confirming = channel.confirm_select(ConfirmSelectOptions::default());
            self.step("enabling confirms", confirming).await?;
        }
        Ok(channel)
    }

    /// Declares the exchange and this queue, and binds them. Replaces a channel that the broker has
    /// closed for it.
    pub(crate) async fn declare(
        &self,
        channel: &mut Channel,
        queue: &str,
    ) -> Result<(), AmqpError> {
        let declared = self.declare_exchange(channel, false).await;
        if self.exists_differently(channel, declared).await? {
            self.declare_exchange(channel, true).await?;
        }
        let declared = self.declare_queue(channel, queue, false).await;
        if self.exists_differently(channel, declared).await? {
            self.declare_queue(channel, queue, true).await?;
        }
        let name = ShortString::from(queue);
        let binding = channel.queue_bind(
            name.clone(),
            (&*self.exchange).into(),
            name,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        self.step("binding the queue", binding).await
    }

    /// Whether the broker has blocked the connection, because it is low on memory or disk.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Whether a declaration failed because the object exists with other properties, such as
    /// durable: then it is used as it is. The broker has closed the channel, so that a new one is
    /// opened.
    async fn exists_differently(
        &self,
        channel: &mut Channel,
        declared: Result<(), AmqpError>,
    ) -> Result<bool, AmqpError> {
        match declared {
            Err(AmqpError::Refused { error, .. }) if precondition_failed(&error) => {
                *channel = self.open_channel().await?;
                Ok(true)
            }
            other => other.map(|()| false),
        }
    }

    async fn declare_exchange(&self, channel: &Channel, passive: bool) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = ExchangeDeclareOptions { passive, durable, ..Default::default() };
        let kind = ExchangeKind::Topic;
        let exchange = (&*self.exchange).into();
        let declaring = channel.exchange_declare(exchange, kind, options, FieldTable::default());
        self.step("declaring the exchange", declaring).await
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        passive: bool,
    ) -> Result<(), AmqpError> {
        let durable = self.queues != Queues::Transient;
        let options = QueueDeclareOptions { passive, durable, ..Default::default() };
        let mut arguments = FieldTable::default();
        if self.queues == Queues::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let declaring = channel.queue_declare(name.into(), options, arguments);
        self.step("declaring the queue", declaring).await.map(|_| ())
    }

    /// Runs an operation with the timeout of replies. The library may not notice that a connection
    /// ends which it has only just made: the operation then ends with the reason of the frame guard.
    pub(crate) async fn step<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, AmqpError> {
        tokio::select! {
            biased;
            result = with_timeout(self.timeout, doing, work) => result,
            reason = self.allowance.wait_for_rejection() => {
                Err(AmqpError::Rejected { doing, reason: reason.to_string() })
            }
        }
    }
}

fn precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

async fn with_timeout<T>(
    timeout: Duration,
    doing: &'static str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(AmqpError::refused(doing)),
        Err(_) => Err(AmqpError::Timeout { doing, timeout }),
    }
}
