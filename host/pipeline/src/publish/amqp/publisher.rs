//! The publisher: sends a window of envelopes, then waits for the broker's confirms.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::{Broker, BrokerConnection};
use super::{AmqpError, sanitize};
use crate::publish::{Envelope, Publisher};
use nephometer_config::BrokerSpec;
use nephometer_model::DeliveryResult;
use nephometer_proof::{Digest, Link};
use nephometer_telemetry::events::publish as events;

/// Envelopes in flight: ten times the throughput of one at a time; more gain little.
const WINDOW: usize = 100;
/// Timeout of a confirm. A broker that is low on memory or disk may stop confirming without notice.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a wait checks whether the broker has blocked the connection.
const BLOCKED_CHECK: Duration = Duration::from_secs(1);

/// Sends notifications to a broker and waits for its confirms.
pub struct AmqpPublisher {
    broker: Broker,
    /// `None` until the first call and after every failure.
    connection: Option<BrokerConnection>,
    label: Arc<str>,
    /// Names the sequence of envelopes, which is that of the spool.
    stream: String,
}

impl AmqpPublisher {
    /// A publisher for this broker. Nothing is connected yet. `stream` identifies the spool:
    /// receivers get it with the number of each envelope.
    ///
    /// # Errors
    /// If a URL of the broker is invalid.
    pub fn new(spec: &BrokerSpec, label: &Arc<str>, stream: Uuid) -> Result<Self, AmqpError> {
        let (label, stream) = (Arc::clone(label), stream.to_string());
        Ok(Self { broker: Broker::new(spec)?, connection: None, label, stream })
    }

    /// A connection on which all routing keys have a queue. Declared before anything is sent,
    /// because a failed declaration closes the channel with everything in flight.
    async fn ready(&mut self, envelopes: &[Envelope]) -> Result<BrokerConnection, AmqpError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.broker.connect().await?,
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
}

impl AmqpPublisher {
    /// Sends all envelopes, then waits for all confirms. Also returns whether the connection is
    /// usable.
    async fn exchange(
        &self,
        connection: &mut BrokerConnection,
        envelopes: &[Envelope],
    ) -> (Vec<DeliveryResult>, bool) {
        connection.expect(envelopes);
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
            match self.wait_for_broker(connection, "waiting for a confirm", confirm).await {
                Ok(confirmation) => {
                    results.push(delivery_result(connection, envelope, &confirmation));
                }
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
        connection: &BrokerConnection,
        envelope: &Envelope,
    ) -> Result<PublisherConfirm, AmqpError> {
        let sending = connection.channel.basic_publish(
            (&*connection.exchange).into(),
            ShortString::from(&*envelope.address),
            BasicPublishOptions { mandatory: true, immediate: false },
            &envelope.body,
            self.properties(envelope),
        );
        self.wait_for_broker(connection, "sending to the broker", sending).await
    }

    /// Waits with a timeout, but without one while the broker blocks the connection and sends
    /// heartbeats: the envelopes are on their way, and sending them again would duplicate them.
    async fn wait_for_broker<T>(
        &self,
        connection: &BrokerConnection,
        doing: &'static str,
        work: impl Future<Output = lapin::Result<T>>,
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
                    return done.map_err(|error| AmqpError::Refused { doing, error });
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

    /// The properties that oslo.messaging sets, byte for byte, plus headers: the stream, the number of
    /// the envelope in it, and its link in the chain. A missing number is a gap; a repeated envelope
    /// keeps its number.
    fn properties(&self, envelope: &Envelope) -> BasicProperties {
        let mut headers = FieldTable::default();
        let stream = AMQPValue::LongString(self.stream.as_str().into());
        headers.insert("nephometer-stream".into(), stream);
        let sequence = i64::try_from(envelope.sequence).unwrap_or(i64::MAX);
        headers.insert("nephometer-sequence".into(), AMQPValue::LongLongInt(sequence));
        if let Some(Link { previous, digest }) = envelope.link {
            let text = |digest: Digest| AMQPValue::LongString(digest.to_string().into());
            headers.insert("nephometer-previous".into(), text(previous));
            headers.insert("nephometer-digest".into(), text(digest));
        }
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_priority(0)
    }
}

/// The result of a confirm. A message that no queue accepted is returned first, then confirmed.
fn delivery_result(
    connection: &mut BrokerConnection,
    envelope: &Envelope,
    confirmation: &Confirmation,
) -> DeliveryResult {
    let (Confirmation::Ack(returned) | Confirmation::Nack(returned)) = confirmation else {
        return DeliveryResult::pending("the channel does not confirm".to_owned());
    };
    match returned {
        Some(returned) => {
            connection.forget(&envelope.address);
            let reason = sanitize(returned.reply_text.as_str());
            DeliveryResult::pending(format!("returned by the broker: {reason}"))
        }
        None if confirmation.is_ack() => DeliveryResult::Acknowledged,
        None => DeliveryResult::pending("refused by the broker".to_owned()),
    }
}
