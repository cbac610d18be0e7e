//! What a reload may replace under running publishers: the brokers, with their credentials and
//! certificates, and the form and signature of messages.
//!
//! Brokers do not pass through the sinks: a sink may wait for room in a spool that only the new
//! credentials can empty.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::amqp::NAME;
use nephometer_amqp::{AmqpError, Broker, BrokerChange};
use nephometer_config::{BrokerSpec, Secret};
use nephometer_wire::MessageForm;

/// The brokers and the form of messages that are in use.
#[derive(Clone)]
pub struct Rotation(Arc<RotationShared>);

struct RotationShared {
    /// By URL of the publisher, which with the configuration determines its broker.
    brokers: Mutex<Vec<(Secret, watch::Sender<Broker>)>>,
    messages: watch::Sender<MessageForm>,
}

impl Rotation {
    /// Publishers begin with messages of this form.
    pub fn new(messages: MessageForm) -> Self {
        let messages = watch::Sender::new(messages);
        Self(Arc::new(RotationShared { brokers: Mutex::default(), messages }))
    }

    fn brokers(&self) -> MutexGuard<'_, Vec<(Secret, watch::Sender<Broker>)>> {
        self.0.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker of a new publisher, now and after each change.
    ///
    /// # Errors
    /// If a URL of the broker is invalid.
    pub(super) fn broker(
        &self,
        url: &Secret,
        spec: &BrokerSpec,
    ) -> Result<watch::Receiver<Broker>, AmqpError> {
        let broker = Broker::new(spec, NAME)?;
        let mut brokers = self.brokers();
        // Nothing uses the brokers of publishers that have ended.
        brokers.retain(|(_, sender)| !sender.is_closed());
        if let Some((_, sender)) = brokers.iter().find(|(known, _)| known == url) {
            replace(sender, &broker);
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(broker);
        brokers.push((url.clone(), sender));
        Ok(receiver)
    }

    /// The form of messages, now and after each change.
    pub(super) fn messages(&self) -> watch::Receiver<MessageForm> {
        self.0.messages.subscribe()
    }

    /// What is new about the broker of a publisher. `None` if it stays, or if there is no such
    /// publisher yet.
    ///
    /// # Errors
    /// If a URL of the broker is invalid.
    pub fn broker_change(
        &self,
        url: &Secret,
        spec: &BrokerSpec,
    ) -> Result<Option<BrokerChange>, AmqpError> {
        let new = Broker::new(spec, NAME)?;
        let brokers = self.brokers();
        let known = brokers.iter().find(|(known, _)| known == url);
        Ok(known.and_then(|(_, sender)| sender.borrow().change_to(&new)))
    }

    /// Has a publisher connect with these settings from now on. What is not confirmed then is sent
    /// again.
    ///
    /// # Errors
    /// If a URL of the broker is invalid. The publisher keeps its broker.
    pub fn set_broker(&self, url: &Secret, spec: &BrokerSpec) -> Result<(), AmqpError> {
        let new = Broker::new(spec, NAME)?;
        let brokers = self.brokers();
        let known = brokers.iter().filter(|(known, _)| known == url);
        known.for_each(|(_, sender)| replace(sender, &new));
        Ok(())
    }

    /// The same for all publishers that use the broker `old`, also for those that the configuration
    /// no longer has and that still empty their spools.
    ///
    /// # Errors
    /// If a URL of one of the brokers is invalid.
    pub fn replace_broker(&self, old: &BrokerSpec, new: &BrokerSpec) -> Result<(), AmqpError> {
        let (old, new) = (Broker::new(old, NAME)?, Broker::new(new, NAME)?);
        for (_, sender) in &*self.brokers() {
            if sender.borrow().change_to(&old).is_none() {
                replace(sender, &new);
            }
        }
        Ok(())
    }

    /// The form of messages that publishers make when they send. Encoders are changed by
    /// [`PublisherHandle::set_messages`](super::PublisherHandle::set_messages).
    pub fn set_messages(&self, messages: MessageForm) {
        self.0.messages.send_replace(messages);
    }
}

/// Wakes the publisher only if its connection has to be opened again.
fn replace(sender: &watch::Sender<Broker>, new: &Broker) {
    sender.send_if_modified(|broker| {
        let changed = broker.change_to(new).is_some();
        if changed {
            *broker = new.clone();
        }
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_wire::{SignatureForm, Signer};

    fn spec(password: &str) -> BrokerSpec {
        let url = format!("amqp://agent:{password}@127.0.0.1/%2f");
        BrokerSpec { urls: vec![Secret::new(url)], ..BrokerSpec::default() }
    }

    #[test]
    fn only_publishers_whose_broker_differs_connect_again() {
        let signer = Signer::new(&Secret::new("s"), SignatureForm::default());
        let rotation = Rotation::new(MessageForm { signer, release: Default::default() });
        let (ours, own) = (Secret::new("notifier://"), Secret::new("notifier://a:b@c"));
        let mut default = rotation.broker(&ours, &spec("one")).unwrap();
        let mut other = rotation.broker(&own, &spec("own")).unwrap();
        assert_eq!(rotation.broker_change(&ours, &spec("one")).unwrap(), None);
        let change = rotation.broker_change(&ours, &spec("two")).unwrap();
        assert_eq!(change, Some(BrokerChange::Credentials));
        assert_eq!(rotation.broker_change(&Secret::new("new"), &spec("two")).unwrap(), None);

        rotation.set_broker(&ours, &spec("one")).unwrap();
        assert!(!default.has_changed().unwrap(), "the same settings");
        rotation.replace_broker(&spec("one"), &spec("two")).unwrap();
        assert!(default.has_changed().unwrap() && !other.has_changed().unwrap());
        default.mark_unchanged();
        rotation.set_broker(&own, &spec("three")).unwrap();
        assert!(!default.has_changed().unwrap() && other.has_changed().unwrap());
        other.mark_unchanged();

        let wrong = BrokerSpec { urls: vec![Secret::new("amqp://u:hunter2@h:x/")], ..spec("") };
        let error = rotation.set_broker(&ours, &wrong).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!default.has_changed().unwrap());
        drop(default);
        let again = rotation.broker(&ours, &spec("four")).unwrap();
        assert_eq!(again.borrow().change_to(&Broker::new(&spec("four"), NAME).unwrap()), None);
    }
}
