//! `/health` and `/metrics`: what is known without reading the store.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use crate::ingest::Health;
use crate::store::ServerState;

/// Whether all is well, and the parts.
pub(super) fn health(health: &Health) -> (bool, Value) {
    let brokers = health.brokers();
    let failure = health.failure();
    let healthy = failure.is_none() && brokers.iter().all(|(_, connected)| *connected);
    let brokers: Vec<Value> = brokers
        .into_iter()
        .map(|(broker, connected)| json!({"broker": broker, "connected": connected}))
        .collect();
    let store = failure.as_deref().unwrap_or("ok");
    let mut state = json!({"healthy": healthy, "store": store, "brokers": brokers});
    let servers: Vec<Value> = health
        .servers()
        .into_iter()
        .map(|ServerState { server, up, behind }| {
            json!({"server": server, "up": up, "hours_behind": behind})
        })
        .collect();
    if !servers.is_empty() {
        state["servers"] = Value::Array(servers);
    }
    (healthy, state)
}

/// The counters in the text form of Prometheus.
pub(super) fn text(health: &Health) -> String {
    let mut text = String::new();
    let counters = [
        ("commits", "Groups that were committed.", &health.commits),
        ("samples_stored", "Samples that were stored.", &health.stored),
        ("samples_duplicate", "Samples that were stored before.", &health.duplicates),
        ("dead_letters", "Messages that could not be read.", &health.letters),
    ];
    for (name, about, count) in counters {
        let name = format!("nephometer_collector_{name}_total");
        let count = count.load(Relaxed);
        write_line(
            &mut text,
            &format!("# HELP {name} {about}\n# TYPE {name} counter\n{name} {count}"),
        );
    }
    let name = "nephometer_collector_samples_refused_total";
    let about = "Samples that are not stored, by reason.";
    write_line(&mut text, &format!("# HELP {name} {about}\n# TYPE {name} counter"));
    let refused = health.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for refusal in crate::sample::Refusal::ALL.map(crate::sample::Refusal::as_str) {
        let count = refused.get(refusal).copied().unwrap_or(0);
        write_line(&mut text, &format!("{name}{{reason=\"{refusal}\"}} {count}"));
    }
    let name = "nephometer_collector_store_up";
    let up = u8::from(health.failure().is_none());
    write_line(
        &mut text,
        &format!(
            "# HELP {name} Whether the store takes samples.\n# TYPE {name} gauge\n{name} {up}"
        ),
    );
    let name = "nephometer_collector_broker_up";
    write_line(
        &mut text,
        &format!("# HELP {name} Whether a broker is connected.\n# TYPE {name} gauge"),
    );
    for (broker, connected) in health.brokers() {
        let broker = broker.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let connected = u8::from(connected);
        write_line(&mut text, &format!("{name}{{broker=\"{broker}\"}} {connected}"));
    }
    received(&mut text, health);
    servers(&mut text, &health.servers());
    text
}

/// Servers of the store, if it is not in files.
fn servers(text: &mut String, servers: &[ServerState]) {
    if servers.is_empty() {
        return;
    }
    let name = "nephometer_collector_store_server_up";
    let about = "Whether a server of the store has answered.";
    write_line(text, &format!("# HELP {name} {about}\n# TYPE {name} gauge"));
    for ServerState { server, up, .. } in servers {
        write_line(text, &format!("{name}{{server=\"{server}\"}} {}", u8::from(*up)));
    }
    let name = "nephometer_collector_store_server_hours_behind";
    let about = "Hours and days that are over, and whose sums a server has to count.";
    write_line(text, &format!("# HELP {name} {about}\n# TYPE {name} gauge"));
    for ServerState { server, behind, .. } in servers {
        write_line(text, &format!("{name}{{server=\"{server}\"}} {behind}"));
    }
}

/// Messages of the receivers.
fn received(text: &mut String, health: &Health) {
    let name = "nephometer_collector_receiver_messages_total";
    let about = "Messages that a receiver has read.";
    write_line(text, &format!("# HELP {name} {about}\n# TYPE {name} counter"));
    for (receiver, messages) in health.received() {
        write_line(text, &format!("{name}{{receiver=\"{receiver}\"}} {messages}"));
    }
}

fn write_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes every write");
}
