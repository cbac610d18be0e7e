//! Consumes the queues of a broker. A message is acknowledged after its commit, and at most
//! `prefetch` are under way for each queue. When the connection is lost, the broker delivers what was
//! not acknowledged again; the store finds repeated samples.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_rs::TokioRuntime;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, Consumer, ErrorKind, ExchangeKind};
use nephometer_config::{CollectedQueues, Queues, TlsSpec};
use nephometer_model::{Secret, clean};
use nephometer_telemetry::events::collector as events;
use thiserror::Error;
use tokio::sync::watch;
use url::{Host, Url};

use super::stream::place;
use super::{Handover, Health, Receipt};
use crate::message::Arrival;
use crate::sample::Shared;

/// Timeout of each step of connecting.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before the next attempt to connect: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// Heartbeat interval in seconds, unless the URL sets another one.
const HEARTBEAT: u16 = 10;

#[derive(Debug, Error)]
enum ConsumeError {
    #[error("the broker's URL is malformed")]
    Url,
    #[error("no answer from the broker within {} s while {doing}", TIMEOUT.as_secs())]
    Timeout { doing: &'static str },
    #[error("cannot read {path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("{0} failed: {text}", text = clean(&.1.to_string()))]
    Refused(&'static str, lapin::Error),
    #[error("the broker has ended the delivery of {0}; it was deleted, or the connection is lost")]
    Ended(String),
}

/// A broker whose queues are consumed.
pub(crate) struct Source {
    pub(crate) spec: CollectedQueues,
    pub(crate) handover: Handover,
    pub(crate) health: Arc<Health>,
    /// Becomes true when the collector ends.
    pub(crate) ending: watch::Receiver<bool>,
}

impl Source {
    /// Consumes until the collector ends; connects again whenever that is needed.
    pub(crate) async fn run(mut self) {
        let (mut node, mut pause, mut reported) = (0, PAUSE, false);
        self.health.set_broker(&self.spec.label, false);
        while !*self.ending.borrow() {
            let url = self.spec.broker.urls[node % self.spec.broker.urls.len()].clone();
            let (mut connected, mut ending) = (false, self.ending.clone());
            let outcome = tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                outcome = self.consume(&url, &mut connected) => outcome,
            };
            self.health.set_broker(&self.spec.label, false);
            if connected {
                (pause, reported) = (PAUSE, false);
            } else {
                node += 1;
            }
            if let (Err(error), false) = (outcome, reported) {
                events::broker_unavailable(&self.spec.label, &error.to_string());
                reported = true;
            }
            tokio::select! {
                _ = self.ending.wait_for(|ending| *ending) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (2 * pause).min(LONGEST);
        }
    }

    /// Connects and consumes until something fails.
    async fn consume(&self, url: &Secret, connected: &mut bool) -> Result<(), ConsumeError> {
        let connection = connect(url, &self.spec.broker.tls).await?;
        let mut queues = Vec::new();
        for queue in &self.spec.queues {
            queues.push((queue.clone(), self.open(&connection, queue).await?));
        }
        *connected = true;
        self.health.set_broker(&self.spec.label, true);
        events::broker_connected(&self.spec.label);
        let mut all: FuturesUnordered<_> =
            queues.into_iter().map(|(queue, consumer)| self.deliver(queue, consumer)).collect();
        // The first queue that fails ends all: the connection is made again.
        all.next().await.unwrap_or(Ok(()))
    }

    async fn open(&self, connection: &Connection, queue: &str) -> Result<Consumer, ConsumeError> {
        let channel = self.prepare(connection, queue).await?;
        let qos = channel.basic_qos(self.spec.prefetch, BasicQosOptions::default());
        step("limiting what is delivered", qos).await?;
        let options = BasicConsumeOptions::default();
        let consuming =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        step("consuming the queue", consuming).await
    }

    /// Declares exchange and queue, unless they exist in another form. The broker closes a channel on
    /// which a declaration failed, so that each one has its own.
    async fn prepare(&self, connection: &Connection, queue: &str) -> Result<Channel, ConsumeError> {
        let durable = self.spec.broker.queues != Queues::Transient;
        let exchange = self.spec.broker.exchange.as_str();
        let channel = step("opening a channel", connection.create_channel()).await?;
        let options = ExchangeDeclareOptions { durable, ..Default::default() };
        let (kind, table) = (ExchangeKind::Topic, FieldTable::default);
        let declaring = channel.exchange_declare(exchange.into(), kind, options, table());
        let declared = step("declaring the exchange", declaring).await;
        let channel = existing(connection, channel, declared).await?;
        let mut arguments = table();
        if self.spec.broker.queues == Queues::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let options = QueueDeclareOptions { durable, ..Default::default() };
        let declaring = channel.queue_declare(queue.into(), options, arguments);
        let declared = step("declaring the queue", declaring).await.map(|_| ());
        let channel = existing(connection, channel, declared).await?;
        let options = QueueBindOptions::default();
        let binding =
            channel.queue_bind(queue.into(), exchange.into(), queue.into(), options, table());
        step("binding the queue", binding).await?;
        Ok(channel)
    }

    /// Hands messages over and acknowledges those that are committed.
    async fn deliver(&self, queue: String, mut consumer: Consumer) -> Result<(), ConsumeError> {
        let origin: Shared = queue.as_str().into();
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(committed) = waiting.next(), if !waiting.is_empty() => {
                    acknowledge(committed).await?;
                }
                delivery = consumer.next() => {
                    let Some(delivery) = delivery else {
                        return Err(ConsumeError::Ended(queue));
                    };
                    let failed = |error| ConsumeError::Refused("delivering", error);
                    let mut delivery = delivery.map_err(failed)?;
                    let body = std::mem::take(&mut delivery.data);
                    let place = delivery.properties.headers().as_ref().and_then(place);
                    let arrival = Arrival { origin: Shared::clone(&origin), body, place };
                    let Some(receipt) = self.handover.hand(arrival).await else { return Ok(()) };
                    waiting.push(committed(receipt, delivery));
                }
            }
        }
    }
}

/// A delivery whose samples are committed; `None` if the collector ends before.
async fn committed(receipt: Receipt, delivery: Delivery) -> Option<Delivery> {
    receipt.await.ok().map(|()| delivery)
}

async fn acknowledge(delivery: Option<Delivery>) -> Result<(), ConsumeError> {
    let Some(delivery) = delivery else { return Ok(()) };
    let acked = delivery.ack(BasicAckOptions::default()).await;
    acked.map(|_| ()).map_err(|error| ConsumeError::Refused("acknowledging", error))
}

/// After a declaration that failed because the object exists with other properties: a new channel.
async fn existing(
    connection: &Connection,
    channel: Channel,
    declared: Result<(), ConsumeError>,
) -> Result<Channel, ConsumeError> {
    match declared {
        Ok(()) => Ok(channel),
        Err(ConsumeError::Refused(_, error)) if precondition_failed(&error) => {
            step("opening a channel", connection.create_channel()).await
        }
        Err(error) => Err(error),
    }
}

fn precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

async fn connect(url: &Secret, tls: &TlsSpec) -> Result<Connection, ConsumeError> {
    // The errors of both parsers may contain the URL, so that they are dropped.
    let parsed = Url::parse(url.reveal()).map_err(|_| ConsumeError::Url)?;
    let mut uri: AMQPUri = url.reveal().parse().map_err(|_| ConsumeError::Url)?;
    // lapin ignores IPv6 literals, and connects to localhost.
    if let Some(Host::Ipv6(address)) = parsed.host() {
        uri.authority.host = address.to_string();
    }
    if uri.vhost.is_empty() {
        uri.vhost.push('/');
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    // Read for each connection: certificates are renewed while the collector runs.
    let tls = match uri.scheme {
        AMQPScheme::AMQPS => tls_config(tls)?,
        AMQPScheme::AMQP => OwnedTLSConfig::default(),
    };
    let name = "nephometer-collector".into();
    let properties = ConnectionProperties::default().with_connection_name(name);
    let runtime = TokioRuntime::tokio_current();
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    step("connecting to the broker", connecting).await
}

fn tls_config(tls: &TlsSpec) -> Result<OwnedTLSConfig, ConsumeError> {
    let read = |path: &Path| {
        let unreadable = |source| ConsumeError::File { path: path.to_owned(), source };
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

/// Runs a step of connecting with a timeout.
async fn step<T>(
    doing: &'static str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, ConsumeError> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(result) => result.map_err(|error| ConsumeError::Refused(doing, error)),
        Err(_) => Err(ConsumeError::Timeout { doing }),
    }
}
