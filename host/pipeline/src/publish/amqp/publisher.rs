use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::{Broker, EXCHANGE, Link};
use super::{AmqpError, harmless};
use crate::publish::{Envelope, Publisher};
use nephometer_config::BrokerSpec;
use nephometer_model::DeliveryResult;
use nephometer_telemetry::events::publish as events;

/// Envelopes in flight: ten times faster than one at a time, while more gain little.
const WINDOW: usize = 100;
/// How long a confirm may take. A broker that is out of memory or disk stops confirming and says
/// nothing.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// How often a wait looks whether the broker has said so.
const LOOK: Duration = Duration::from_secs(1);

/// Sends notifications to a broker and waits for its confirms.
pub struct AmqpPublisher {
    broker: Broker,
    /// `None` until the first call and after every failure.
    link: Option<Link>,
    label: Arc<str>,
    /// What is numbered: all that goes through one spool.
    stream: String,
}

impl AmqpPublisher {
    /// A publisher for this broker. Nothing is connected yet. `stream` names the spool: what it numbers
    /// is told to receivers under this name.
    pub fn new(spec: &BrokerSpec, label: &Arc<str>, stream: Uuid) -> Result<Self, AmqpError> {
        let (label, stream) = (Arc::clone(label), stream.to_string());
        Ok(Self { broker: Broker::new(spec)?, link: None, label, stream })
    }

    /// A link on which all routing keys have a queue. Made before anything is sent, because a
    /// declaration that is refused closes the channel with all that is in flight on it.
    async fn ready(&mut self, envelopes: &[Envelope]) -> Result<Link, AmqpError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.broker.connect().await?,
        };
        for envelope in envelopes {
            link.prepare(&envelope.address).await?;
        }
        Ok(link)
    }
}

#[async_trait]
impl Publisher for AmqpPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        match self.ready(envelopes).await {
            Ok(mut link) => {
                let (outcomes, whole) = self.exchange(&mut link, envelopes).await;
                // One failure leaves everything behind it in doubt: the next call starts anew.
                self.link = whole.then_some(link);
                outcomes
            }
            Err(error) => vec![DeliveryResult::pending(error.to_string()); envelopes.len()],
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

impl AmqpPublisher {
    /// Sends all, then waits for all. Besides the outcomes, whether the link is still good.
    async fn exchange(
        &self,
        link: &mut Link,
        envelopes: &[Envelope],
    ) -> (Vec<DeliveryResult>, bool) {
        link.expect(envelopes);
        let mut confirms = Vec::with_capacity(envelopes.len());
        let mut failure = None;
        for envelope in envelopes {
            match self.send(link, envelope).await {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        let mut outcomes = Vec::with_capacity(envelopes.len());
        for (confirm, envelope) in confirms.into_iter().zip(envelopes) {
            match self.patiently(link, "waiting for a confirm", confirm).await {
                Ok(confirmation) => outcomes.push(judge(link, envelope, &confirmation)),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        let whole = failure.is_none();
        outcomes.resize(envelopes.len(), DeliveryResult::pending(failure.unwrap_or_default()));
        (outcomes, whole)
    }

    async fn send(&self, link: &Link, envelope: &Envelope) -> Result<PublisherConfirm, AmqpError> {
        let sending = link.channel.basic_publish(
            EXCHANGE.into(),
            ShortString::from(&*envelope.address),
            BasicPublishOptions { mandatory: true, immediate: false },
            &envelope.body,
            self.properties(envelope),
        );
        self.patiently(link, "sending to the broker", sending).await
    }

    /// A broker that has said that it takes nothing for now is waited for as long as it lives, which
    /// heartbeats tell: what was sent to it is on its way, and sending it again elsewhere would double
    /// it.
    async fn patiently<T>(
        &self,
        link: &Link,
        doing: &'static str,
        work: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, AmqpError> {
        tokio::pin!(work);
        let mut blocked = false;
        loop {
            // Looked at more often than the limit, so that it is said soon.
            let mut left = CONFIRM_LIMIT;
            while !left.is_zero() {
                if let Ok(done) = timeout(LOOK.min(left), &mut work).await {
                    if blocked {
                        events::unblocked(&self.label);
                    }
                    return done.map_err(|said| AmqpError::Refused { doing, said });
                }
                if link.is_blocked() && !blocked {
                    blocked = true;
                    events::blocked(&self.label);
                }
                left = left.saturating_sub(LOOK);
            }
            if !link.is_blocked() {
                return Err(AmqpError::Timeout { doing, limit: CONFIRM_LIMIT });
            }
        }
    }

    /// As oslo.messaging sets them, byte for byte, but for the two headers: the number of the envelope
    /// in its stream. Where one is left out a receiver has a gap; a repeat has its first number.
    fn properties(&self, envelope: &Envelope) -> BasicProperties {
        let mut headers = FieldTable::default();
        let stream = AMQPValue::LongString(self.stream.as_str().into());
        headers.insert("nephometer-stream".into(), stream);
        let sequence = i64::try_from(envelope.sequence).unwrap_or(i64::MAX);
        headers.insert("nephometer-sequence".into(), AMQPValue::LongLongInt(sequence));
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_priority(0)
    }
}

/// A message that no queue took is returned first and then confirmed all the same.
fn judge(link: &mut Link, envelope: &Envelope, confirmation: &Confirmation) -> DeliveryResult {
    let (Confirmation::Ack(returned) | Confirmation::Nack(returned)) = confirmation else {
        return DeliveryResult::pending("the broker was not asked to confirm".to_owned());
    };
    match returned {
        Some(returned) => {
            link.forget(&envelope.address);
            let reason = harmless(returned.reply_text.as_str());
            DeliveryResult::pending(format!("returned by the broker: {reason}"))
        }
        None if confirmation.is_ack() => DeliveryResult::Acknowledged,
        None => DeliveryResult::pending("refused by the broker".to_owned()),
    }
}
