//! New credentials, certificates and secrets: what a reload does with them, and has it done.
//!
//! Lines name publishers and keys, never values.

use std::sync::Arc;

use super::factory::{Factory, message_form};
use nephometer_config::{AgentSpec, NotifierSpec, PublisherSpec, PublisherTarget};
use nephometer_pipeline::{Publishers, SinkHandle};

/// Whether messages get other signatures.
fn signs_differently(old: &AgentSpec, new: &AgentSpec) -> bool {
    let (old, new) = (&old.message, &new.message);
    old.telemetry_secret != new.telemetry_secret || old.signature != new.signature
}

/// The publishers that send to brokers, with the names of their sinks.
fn notifiers(spec: &AgentSpec) -> impl Iterator<Item = (&str, &PublisherSpec, &NotifierSpec)> {
    let all = spec.pipeline.sinks.iter();
    let all = all.flat_map(|sink| sink.publishers.iter().map(|one| (&*sink.name, one)));
    all.filter_map(|(sink, publisher)| match &publisher.target {
        PublisherTarget::Notifier(notifier) => Some((sink, publisher, notifier)),
        _ => None,
    })
}

/// What is new for running publishers, one line each, and settings that cannot be used.
pub(super) fn plan(
    factory: &Factory,
    old: &AgentSpec,
    new: &AgentSpec,
) -> (Vec<String>, Vec<String>) {
    let (mut changes, mut problems) = (Vec::new(), Vec::new());
    for (sink, publisher, notifier) in notifiers(new) {
        let label = &publisher.label;
        match factory.rotation.broker_change(&publisher.url, &notifier.broker) {
            Ok(None) => {}
            Ok(Some(change)) => {
                changes.push(format!("sink {sink}: publisher {label}: {change}, connects again"));
            }
            Err(error) => problems.push(format!("sink {sink}: publisher {label}: {error}")),
        }
    }
    if signs_differently(old, new) {
        changes.push("message: new secret, signs the messages of the next batches".to_owned());
    }
    (changes, problems)
}

/// Gives running publishers what is new.
pub(super) async fn apply(
    factory: &Factory,
    sinks: &[(Arc<str>, SinkHandle)],
    old: &AgentSpec,
    new: &AgentSpec,
) {
    let rotation = &factory.rotation;
    // The plan has reported brokers that cannot be used; their publishers keep what they have.
    drop(rotation.replace_broker(&old.amqp.broker, &new.amqp.broker));
    for (_, publisher, notifier) in notifiers(new) {
        drop(rotation.set_broker(&publisher.url, &notifier.broker));
    }
    if !signs_differently(old, new) {
        return;
    }
    let messages = message_form(new);
    rotation.set_messages(messages.clone());
    for (_, sink) in sinks {
        let messages = messages.clone();
        let change = move |publishers: &mut Publishers| {
            publishers.iter_mut().for_each(|(_, publisher)| publisher.set_messages(&messages));
        };
        sink.change_publishers(change).await;
    }
}
