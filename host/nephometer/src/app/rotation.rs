//! New credentials, certificates and secrets: what a reload does with them, and has it done.
//!
//! Lines name publishers and keys, never values.

use std::sync::Arc;

use super::factory::{Factory, message_form};
use nephometer_config::{
    AgentSpec, DiscoverySpec, ListenSpec, NotifierSpec, PublisherSpec, PublisherTarget,
};
use nephometer_pipeline::{Publishers, SinkHandle};

/// Whether messages get other signatures.
fn signs_differently(old: &AgentSpec, new: &AgentSpec) -> bool {
    let (old, new) = (&old.message, &new.message);
    old.telemetry_secret != new.telemetry_secret || old.signature != new.signature
}

/// Whether more than the token of a listener differs. It then needs a restart as a whole: the token, or
/// that there is none, was chosen for the new addresses.
pub(super) fn other_listener(old: &ListenSpec, new: &ListenSpec) -> bool {
    ListenSpec { token: new.token.clone(), ..old.clone() } != *new
}

/// The same of the listener for the guests' meters.
pub(super) fn other_scrapes(old: &AgentSpec, new: &AgentSpec) -> bool {
    let (old, new) = (&old.prometheus, &new.prometheus);
    old.form != new.form || other_listener(&old.listen, &new.listen)
}

/// The listeners with a new token, by section.
fn new_tokens(old: &AgentSpec, new: &AgentSpec) -> Vec<&'static str> {
    let scrapes = !other_scrapes(old, new) && old.prometheus != new.prometheus;
    let telemetry =
        !other_listener(&old.telemetry, &new.telemetry) && old.telemetry != new.telemetry;
    let changed = [("prometheus", scrapes), ("telemetry", telemetry)];
    changed.into_iter().filter(|one| one.1).map(|one| one.0).collect()
}

/// Whether Nova is asked as before, but with other credentials or at another address.
fn new_cloud(old: &AgentSpec, new: &AgentSpec) -> bool {
    let (old, new) = (&old.discovery, &new.discovery);
    let others = DiscoverySpec { nova: new.nova.clone(), ..old.clone() };
    others == *new && old.nova != new.nova
}

/// Whether listeners or the client of Nova have to learn what is new.
pub(super) fn changes_listeners_or_cloud(old: &AgentSpec, new: &AgentSpec) -> bool {
    new_cloud(old, new) || !new_tokens(old, new).is_empty()
}

/// Takes over what a reload replaces.
pub(super) fn commit(spec: &mut AgentSpec, new: &AgentSpec) {
    for section in new_tokens(spec, new) {
        match section {
            "prometheus" => spec.prometheus.listen.token.clone_from(&new.prometheus.listen.token),
            _ => spec.telemetry.token.clone_from(&new.telemetry.token),
        }
    }
    if new_cloud(spec, new) {
        spec.discovery.nova.clone_from(&new.discovery.nova);
    }
    spec.amqp.clone_from(&new.amqp);
    spec.message.telemetry_secret.clone_from(&new.message.telemetry_secret);
    spec.message.signature = new.message.signature;
    spec.secret_files.clone_from(&new.secret_files);
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
    changes.extend(
        new_tokens(old, new)
            .into_iter()
            .map(|section| format!("{section}: new token, counts from the next request on")),
    );
    if new_cloud(old, new) {
        changes
            .push("service_credentials: new settings, asks Nova for all servers again".to_owned());
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
