//! A connection that consumes queues. Each queue has its own channel, because the broker closes a
//! channel on which a declaration fails.

use std::sync::Arc;

use futures_util::StreamExt as _;

use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Consumer};

use crate::allowance::Allowance;
use crate::connection::{Broker, BrokerConnection};
use crate::error::AmqpError;
use crate::frames::Purpose;
use crate::headers::MessageHeaders;
use nephometer_model::Bound;

/// A connection whose queues are consumed. The consumers end when it is dropped.
pub struct Consumption {
    connection: BrokerConnection,
    channels: Vec<Channel>,
}

impl Broker {
    /// Connects to the first node that accepts, declares the queues where they are missing, and
    /// consumes them. At most `prefetch` messages of each queue are delivered before they are
    /// acknowledged, and bodies of [`Bound::Unacknowledged`] of all of them.
    ///
    /// # Errors
    /// The error of the last node, if none accepts; of the node that accepts, if it refuses a queue.
    pub async fn consume(
        &mut self,
        queues: &[String],
        prefetch: u16,
    ) -> Result<(Consumption, Vec<QueueConsumer>), AmqpError> {
        let connection = self.connect(Purpose::Consuming).await?;
        connection.allowance.set(0, Bound::Unacknowledged.size());
        let mut consumption = Consumption { connection, channels: Vec::new() };
        let mut consumers = Vec::new();
        for queue in queues {
            // An earlier queue may deliver a message that is refused: then no reply is received.
            let opened = tokio::select! {
                opened = consumption.open(queue, prefetch) => opened,
                refused = consumption.refuse_unreadable() => return Err(refused),
            };
            match opened {
                Ok((channel, consumer)) => {
                    consumption.channels.push(channel);
                    consumers.push(consumer);
                }
                Err(error) => {
                    self.skip_node();
                    return Err(error);
                }
            }
        }
        Ok((consumption, consumers))
    }
}

impl Consumption {
    async fn open(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<(Channel, QueueConsumer), AmqpError> {
        let mut channel = self.connection.open_channel().await?;
        self.connection.declare(&mut channel, queue).await?;
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        self.connection.step("limiting what is delivered", qos).await?;
        // The broker delivers as soon as it has the next method.
        self.connection.allowance.add(usize::from(prefetch), 0);
        let options = BasicConsumeOptions::default();
        let consuming =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let consumer = self.connection.step("consuming the queue", consuming).await?;
        let allowance = Arc::clone(&self.connection.allowance);
        Ok((channel, QueueConsumer { consumer, allowance, queue: queue.to_owned() }))
    }

    /// Waits for a message whose headers are not accepted, and refuses it, so that the broker does
    /// not deliver it again: it discards the message, or moves it to the queue's dead-letter exchange.
    /// Returns the reason. The connection has to be dropped afterwards.
    pub async fn refuse_unreadable(&self) -> AmqpError {
        let message = self.connection.allowance.wait_for_unreadable().await;
        let Some(channel) = self.channels.iter().find(|one| one.id() == message.channel) else {
            // The queue of this channel is being opened, which ends soon: its reply came before.
            return std::future::pending().await;
        };
        let refusing = channel.basic_reject(message.tag, BasicRejectOptions { requeue: false });
        match self.connection.step("refusing a message", refusing).await {
            Ok(()) => AmqpError::Unreadable(message.reason.to_string()),
            Err(error) => error,
        }
    }

    /// Whether the connection has ended because the messages that were delivered and not yet
    /// acknowledged were too large: with a lower `prefetch` fewer are.
    pub fn is_too_large(&self) -> bool {
        self.connection.allowance.is_exceeded()
    }
}

/// Receives the messages of a queue.
pub struct QueueConsumer {
    consumer: Consumer,
    allowance: Arc<Allowance>,
    queue: String,
}

impl QueueConsumer {
    /// The name of the queue.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Waits for the next message. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// If the connection is lost, or the broker ends the delivery.
    pub async fn next(&mut self) -> Result<BrokerDelivery, AmqpError> {
        let Some(delivery) = self.consumer.next().await else {
            return Err(AmqpError::Ended { queue: self.queue.clone() });
        };
        let delivery = delivery.map_err(AmqpError::refused("delivering"))?;
        let headers = delivery.properties.headers().as_ref().map(MessageHeaders::of);
        let bytes = delivery.data.len();
        let allowance = Arc::clone(&self.allowance);
        let receipt = Unacknowledged { acker: delivery.acker, allowance, bytes };
        Ok(BrokerDelivery { body: delivery.data, headers: headers.unwrap_or_default(), receipt })
    }
}

/// A message of a queue.
pub struct BrokerDelivery {
    /// The content.
    pub body: Vec<u8>,
    /// The headers; empty if there are none.
    pub headers: MessageHeaders,
    /// For its acknowledgement.
    pub receipt: Unacknowledged,
}

/// A message that the broker delivers again unless it is acknowledged.
pub struct Unacknowledged {
    acker: Acker,
    allowance: Arc<Allowance>,
    bytes: usize,
}

impl Unacknowledged {
    /// Acknowledges the message, so that the broker removes it and delivers another one.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn acknowledge(self) -> Result<(), AmqpError> {
        // Before the acknowledgement, because the broker replies to it with a message.
        self.allowance.add(1, self.bytes);
        let acknowledging = self.acker.ack(BasicAckOptions::default()).await;
        acknowledging.map(|_| ()).map_err(AmqpError::refused("acknowledging"))
    }
}
