//! A connection that publishes: one channel in confirm mode.

use std::collections::HashSet;
use std::sync::Arc;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use crate::connection::{Broker, BrokerConnection};
use crate::error::{AmqpError, sanitize};
use crate::frames::Purpose;
use crate::headers::MessageHeaders;

/// A connection with a channel in confirm mode.
pub struct PublishingConnection {
    connection: BrokerConnection,
    channel: Channel,
    /// Routing keys whose exchange and queue are declared.
    declared: HashSet<Arc<str>>,
}

impl Broker {
    /// Connects to the first node that accepts, and opens a channel.
    ///
    /// # Errors
    /// The error of the last node, if none accepts.
    pub async fn publishing(&mut self) -> Result<PublishingConnection, AmqpError> {
        let connection = self.connect(Purpose::Publishing).await?;
        match connection.open_channel().await {
            Ok(channel) => {
                Ok(PublishingConnection { connection, channel, declared: HashSet::new() })
            }
            Err(error) => {
                self.skip_node();
                Err(error)
            }
        }
    }
}

impl PublishingConnection {
    /// Declares the exchange, and the queue of this routing key, and binds them.
    ///
    /// # Errors
    /// If the broker refuses, or does not reply in time.
    pub async fn prepare(&mut self, key: &Arc<str>) -> Result<(), AmqpError> {
        if !self.declared.contains(key) {
            self.connection.declare(&mut self.channel, key).await?;
            self.declared.insert(Arc::clone(key));
        }
        Ok(())
    }

    /// Declares the queue of this routing key again next time, because it may have been deleted.
    pub fn forget(&mut self, key: &Arc<str>) {
        self.declared.remove(key);
    }

    /// Announces the messages that are about to be sent, and the bytes of their bodies: the broker
    /// may return no more than these until the next call.
    pub fn expect(&self, messages: usize, bytes: usize) {
        self.connection.allowance.set(messages, bytes);
    }

    /// Whether the broker has blocked the connection, because it is low on memory or disk.
    pub fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }

    /// Sends a message. It has the properties that oslo.messaging sets, byte for byte, plus headers.
    /// Waits for as long as the broker takes nothing.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send(
        &self,
        key: &str,
        body: &[u8],
        headers: MessageHeaders,
    ) -> Result<PendingConfirm, AmqpError> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(headers.into_table())
            .with_delivery_mode(2)
            .with_priority(0);
        let sending = self.channel.basic_publish(
            (&*self.connection.exchange).into(),
            ShortString::from(key),
            BasicPublishOptions { mandatory: true, immediate: false },
            body,
            properties,
        );
        sending.await.map(PendingConfirm).map_err(AmqpError::refused("sending to the broker"))
    }
}

/// A message that was sent and is not confirmed.
pub struct PendingConfirm(PublisherConfirm);

/// The broker's reply to a message.
#[derive(Debug)]
pub enum BrokerReply {
    /// The message is in a queue.
    Acknowledged,
    /// No queue has accepted the message. The text is the broker's reason, sanitized.
    Returned(String),
    /// The broker could not process the message.
    Refused,
    /// The channel does not confirm.
    NotConfirming,
}

impl PendingConfirm {
    /// Waits for the broker's reply, however long it takes.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn reply(self) -> Result<BrokerReply, AmqpError> {
        let confirmation = self.0.await.map_err(AmqpError::refused("waiting for a confirm"))?;
        // A message that no queue accepted is returned first, then confirmed.
        Ok(match confirmation {
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                BrokerReply::Returned(sanitize(returned.reply_text.as_str()))
            }
            Confirmation::Ack(None) => BrokerReply::Acknowledged,
            Confirmation::Nack(None) => BrokerReply::Refused,
            Confirmation::NotRequested => BrokerReply::NotConfirming,
        })
    }
}
