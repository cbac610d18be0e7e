//! `notifier://` over AMQP 0-9-1: sends a window of envelopes, then waits for the broker's confirms.
//!
//! An envelope is acknowledged only when the broker has confirmed and routed it; in any doubt it is
//! sent again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Envelope, Publisher};
use nephometer_amqp::{
    AmqpError, Broker, BrokerReply, MessageHeaders, PendingConfirm, PublishingConnection,
};
use nephometer_config::BrokerSpec;
use nephometer_model::DeliveryResult;
use nephometer_proof::Link;
use nephometer_telemetry::events::publish as events;

/// The name of connections at the broker.
pub(super) const NAME: &str = "nephometer";
/// Envelopes in flight: ten times the throughput of one at a time; more gain little.
const WINDOW: usize = 100;
/// Timeout of a confirm. A broker that is low on memory or disk may stop confirming without notice.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a wait checks whether the broker has blocked the connection.
const BLOCKED_CHECK: Duration = Duration::from_secs(1);

/// Sends notifications to a broker and waits for its confirms.
pub struct AmqpPublisher {
    broker: Broker,
    /// Has new credentials and certificates after a reload.
    brokers: watch::Receiver<Broker>,
    /// `None` until the first call and after every failure.
    connection: Option<PublishingConnection>,
    label: Arc<str>,
    /// Names the sequence of envelopes, which is that of the spool.
    stream: String,
}

/// Connects to a broker as the publisher does. Declares and sends nothing.
///
/// # Errors
/// If its URL is invalid, or no node accepts the connection.
pub async fn try_broker(spec: &BrokerSpec) -> Result<(), AmqpError> {
    Broker::new(spec, NAME)?.publishing().await.map(drop)
}

impl AmqpPublisher {
    /// A publisher for this broker. Nothing is connected yet. `stream` identifies the spool:
    /// receivers get it with the number of each envelope.
    ///
    /// # Errors
    /// If a URL of the broker is invalid.
    pub fn new(spec: &BrokerSpec, label: &Arc<str>, stream: Uuid) -> Result<Self, AmqpError> {
        let (_, brokers) = watch::channel(Broker::new(spec, NAME)?);
        Ok(Self::following(brokers, label, stream))
    }

    /// The same for the broker in `brokers`, which a reload may replace.
    pub(super) fn following(
        mut brokers: watch::Receiver<Broker>,
        label: &Arc<str>,
        stream: Uuid,
    ) -> Self {
        let (label, stream) = (Arc::clone(label), stream.to_string());
        let broker = brokers.borrow_and_update().clone();
        Self { broker, brokers, connection: None, label, stream }
    }

    /// A connection on which all routing keys have a queue. Declared before anything is sent,
    /// because a failed declaration closes the channel with everything in flight.
    async fn ready(&mut self, envelopes: &[Envelope]) -> Result<PublishingConnection, AmqpError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.broker.publishing().await?,
        };
        for envelope in envelopes {
            connection.prepare(&envelope.address).await?;
        }
        Ok(connection)
    }
}

#[async_trait]
impl Publisher for AmqpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        match self.ready(envelopes).await {
            Ok(mut connection) => {
                let (results, complete) = self.exchange(&mut connection, envelopes).await;
                // After a failure everything behind it is in doubt: the next call reconnects.
                self.connection = complete.then_some(connection);
                results
            }
            Err(error) => vec![DeliveryResult::pending(error.to_string()); envelopes.len()],
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }

    /// Between two calls no envelope is in flight, so nothing is sent twice.
    async fn renewed(&mut self) {
        if self.brokers.changed().await.is_err() {
            // Nothing replaces this broker.
            return std::future::pending().await;
        }
        self.broker = self.brokers.borrow_and_update().clone();
        self.connection = None;
    }
}

impl AmqpPublisher {
    /// Sends all envelopes, then waits for all confirms. Also returns whether the connection is
    /// usable.
    async fn exchange(
        &self,
        connection: &mut PublishingConnection,
        envelopes: &[Envelope],
    ) -> (Vec<DeliveryResult>, bool) {
        connection.expect(envelopes.len(), envelopes.iter().map(|one| one.body.len()).sum());
        let mut confirms = Vec::with_capacity(envelopes.len());
        let mut failure = None;
        for envelope in envelopes {
            match self.send(connection, envelope).await {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        let mut results = Vec::with_capacity(envelopes.len());
        for (confirm, envelope) in confirms.into_iter().zip(envelopes) {
            let reply = confirm.reply();
            match self.wait_for_broker(connection, "waiting for a confirm", reply).await {
                Ok(reply) => results.push(delivery_result(connection, envelope, reply)),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        let complete = failure.is_none();
        results.resize(envelopes.len(), DeliveryResult::pending(failure.unwrap_or_default()));
        (results, complete)
    }

    async fn send(
        &self,
        connection: &PublishingConnection,
        envelope: &Envelope,
    ) -> Result<PendingConfirm, AmqpError> {
        let sending = connection.send(&envelope.address, &envelope.body, self.headers(envelope));
        self.wait_for_broker(connection, "sending to the broker", sending).await
    }

    /// Waits with a timeout, but without one while the broker blocks the connection and sends
    /// heartbeats: the envelopes are on their way, and sending them again would duplicate them.
    async fn wait_for_broker<T>(
        &self,
        connection: &PublishingConnection,
        doing: &'static str,
        work: impl Future<Output = Result<T, AmqpError>>,
    ) -> Result<T, AmqpError> {
        tokio::pin!(work);
        let mut blocked = false;
        loop {
            // Checked more often than the timeout, so that it is logged soon.
            let mut left = CONFIRM_TIMEOUT;
            while !left.is_zero() {
                if let Ok(done) = timeout(BLOCKED_CHECK.min(left), &mut work).await {
                    if blocked {
                        events::unblocked(&self.label);
                    }
                    return done;
                }
                if connection.is_blocked() && !blocked {
                    blocked = true;
                    events::blocked(&self.label);
                }
                left = left.saturating_sub(BLOCKED_CHECK);
            }
            if !connection.is_blocked() {
                return Err(AmqpError::Timeout { doing, timeout: CONFIRM_TIMEOUT });
            }
        }
    }

    /// The stream, the number of the envelope in it, and its link in the chain. A missing number is a
    /// gap; a repeated envelope keeps its number.
    fn headers(&self, envelope: &Envelope) -> MessageHeaders {
        let mut headers = MessageHeaders::default();
        headers.set_text("nephometer-stream", &self.stream);
        let sequence = i64::try_from(envelope.sequence).unwrap_or(i64::MAX);
        headers.set_number("nephometer-sequence", sequence);
        if let Some(Link { previous, digest }) = envelope.link {
            headers.set_text("nephometer-previous", &previous.to_string());
            headers.set_text("nephometer-digest", &digest.to_string());
        }
        headers
    }
}

/// What the driver gets for a reply.
fn delivery_result(
    connection: &mut PublishingConnection,
    envelope: &Envelope,
    reply: BrokerReply,
) -> DeliveryResult {
    match reply {
        BrokerReply::Acknowledged => DeliveryResult::Acknowledged,
        BrokerReply::Returned(reason) => {
            connection.forget(&envelope.address);
            DeliveryResult::pending(format!("returned by the broker: {reason}"))
        }
        BrokerReply::Refused => DeliveryResult::pending("refused by the broker".to_owned()),
        BrokerReply::NotConfirming => {
            DeliveryResult::pending("the channel does not confirm".to_owned())
        }
    }
}
