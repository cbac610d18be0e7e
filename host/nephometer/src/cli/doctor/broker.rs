//! The brokers of `notifier://`: each node is connected to as the agent does, and nothing is sent.

use nephometer_config::{AgentSpec, BrokerSpec, PublisherTarget, broker_label};
use nephometer_pipeline::publish;

use super::Diagnosis;

const CHECK: &str = "broker";

pub(super) async fn check(spec: &AgentSpec) -> Vec<Diagnosis> {
    let mut brokers: Vec<&BrokerSpec> = Vec::new();
    for publisher in spec.pipeline.sinks.iter().flat_map(|sink| &sink.publishers) {
        if let PublisherTarget::Notifier(notifier) = &publisher.target
            && !brokers.contains(&&notifier.broker)
        {
            brokers.push(&notifier.broker);
        }
    }
    if brokers.is_empty() {
        return vec![Diagnosis::ok(CHECK, "no publisher needs one")];
    }
    let mut found = Vec::new();
    for broker in brokers {
        found.extend(nodes(broker).await);
    }
    found
}

/// Checks each node of a broker. One that answers is enough for the agent.
async fn nodes(broker: &BrokerSpec) -> Vec<Diagnosis> {
    let (mut answering, mut silent) = (Vec::new(), Vec::new());
    for url in &broker.urls {
        let label = broker_label(url);
        let node = BrokerSpec { urls: vec![url.clone()], ..broker.clone() };
        match publish::try_broker(&node).await {
            Ok(()) => answering.push(Diagnosis::ok(CHECK, format!("{label}: connected"))),
            Err(error) => silent.push((format!("{label}: {error}"), remedy(&error.to_string()))),
        }
    }
    let is_served = !answering.is_empty();
    let report = |(message, remedy): (String, &'static str)| match is_served {
        true => Diagnosis::warning(CHECK, message, remedy),
        false => Diagnosis::failed(CHECK, message, remedy),
    };
    answering.into_iter().chain(silent.into_iter().map(report)).collect()
}

fn remedy(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["access_refused", "access-refused", "access refused", "login"]) {
        "correct user, password and virtual host in amqp.url; guest is accepted from the broker's own \
         host only"
    } else if has(&["certificate", "tls", "handshake"]) {
        "correct amqp.tls and the port: amqps:// is 5671 on most brokers"
    } else if has(&["not_allowed", "not-allowed", "vhost"]) {
        "create the virtual host, and give the user rights on it"
    } else {
        "start the broker, or correct amqp.url; samples wait on disk until then"
    }
}
