use std::time::Duration;

use async_trait::async_trait;
use lapin::options::BasicPublishOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::time::timeout;

use super::AmqpError;
use super::connection::{Broker, EXCHANGE, Link};
use crate::config::Secret;
use crate::publish::{Envelope, Outcome, Publisher};

/// Envelopes in flight: ten times faster than one at a time, while more gain little.
const WINDOW: usize = 100;
/// How long a confirm may take. A broker that is out of memory or disk stops confirming and says
/// nothing.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);

/// Sends notifications to a broker and waits for its confirms.
pub struct AmqpPublisher {
    broker: Broker,
    /// `None` until the first call and after every failure.
    link: Option<Link>,
}

impl AmqpPublisher {
    /// A publisher for the broker of this `amqp://` URL. Nothing is connected yet.
    pub fn new(url: &Secret) -> Result<Self, AmqpError> {
        Ok(Self { broker: Broker::new(url)?, link: None })
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
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<Outcome> {
        match self.ready(envelopes).await {
            Ok(mut link) => {
                let (outcomes, whole) = exchange(&mut link, envelopes).await;
                // One failure leaves everything behind it in doubt: the next call starts anew.
                self.link = whole.then_some(link);
                outcomes
            }
            Err(error) => vec![Outcome::Later(error.to_string()); envelopes.len()],
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// Sends all, then waits for all. Besides the outcomes, whether the link is still good.
async fn exchange(link: &mut Link, envelopes: &[Envelope]) -> (Vec<Outcome>, bool) {
    let mut confirms = Vec::with_capacity(envelopes.len());
    let mut failure = None;
    for envelope in envelopes {
        match send(link, envelope).await {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => {
                failure = Some(error.to_string());
                break;
            }
        }
    }
    let mut outcomes = Vec::with_capacity(envelopes.len());
    for (confirm, envelope) in confirms.into_iter().zip(envelopes) {
        match confirmed(confirm).await {
            Ok(confirmation) => outcomes.push(judge(link, envelope, &confirmation)),
            Err(error) => {
                failure = Some(error.to_string());
                break;
            }
        }
    }
    let whole = failure.is_none();
    outcomes.resize(envelopes.len(), Outcome::Later(failure.unwrap_or_default()));
    (outcomes, whole)
}

async fn send(link: &Link, envelope: &Envelope) -> Result<PublisherConfirm, AmqpError> {
    let doing = "sending to the broker";
    let sending = link.channel.basic_publish(
        EXCHANGE.into(),
        ShortString::from(&*envelope.address),
        BasicPublishOptions { mandatory: true, immediate: false },
        &envelope.body,
        properties(),
    );
    match timeout(CONFIRM_LIMIT, sending).await {
        Ok(sent) => sent.map_err(|said| AmqpError::Refused { doing, said }),
        Err(_) => Err(AmqpError::Timeout { doing, limit: CONFIRM_LIMIT }),
    }
}

async fn confirmed(confirm: PublisherConfirm) -> Result<Confirmation, AmqpError> {
    let doing = "waiting for a confirm";
    match timeout(CONFIRM_LIMIT, confirm).await {
        Ok(confirmation) => confirmation.map_err(|said| AmqpError::Refused { doing, said }),
        Err(_) => Err(AmqpError::Timeout { doing, limit: CONFIRM_LIMIT }),
    }
}

/// A message that no queue took is returned first and then confirmed all the same.
fn judge(link: &mut Link, envelope: &Envelope, confirmation: &Confirmation) -> Outcome {
    let (Confirmation::Ack(returned) | Confirmation::Nack(returned)) = confirmation else {
        return Outcome::Later("the broker was not asked to confirm".to_owned());
    };
    match returned {
        Some(returned) => {
            link.forget(&envelope.address);
            Outcome::Later(format!("returned by the broker: {}", returned.reply_text))
        }
        None if confirmation.is_ack() => Outcome::Confirmed,
        None => Outcome::Later("refused by the broker".to_owned()),
    }
}

/// As oslo.messaging sets them, byte for byte.
fn properties() -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(FieldTable::default())
        .with_delivery_mode(2)
        .with_priority(0)
}
