//! Events of the collector.

use std::error::Error;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::precise_ms;
use crate::Chain;

/// The collector consumes and serves.
pub fn started(store: &str, api: &str) {
    info!(store, api, "collector started");
}

/// The collector ends: what was handed over is committed first.
pub fn ending() {
    info!("collector ending");
}

/// A broker delivers messages.
pub fn broker_connected(broker: &str) {
    info!(broker, "broker connected");
}

/// A broker delivers nothing for now. Logged once until it is connected again.
pub fn broker_unavailable(broker: &str, reason: &str) {
    warn!(broker, reason, "broker unavailable");
}

/// The messages that a broker delivers before they are acknowledged are too large together: from now
/// on fewer of them are requested. Set this value as `prefetch` of the broker.
pub fn prefetch_reduced(broker: &str, prefetch: u16) {
    warn!(broker, prefetch, "prefetch reduced");
}

/// A receiver takes what agents send over `udp://` or `tcp://`.
pub fn receiver_listening(receiver: &str) {
    info!(receiver, "receiver listening");
}

/// A receiver cannot accept or read for now.
pub fn receiver_failed(receiver: &str, reason: &str) {
    warn!(receiver, reason, "receiver failed");
}

/// A receiver has as many connections as it may have; more are closed. Logged once until there are
/// fewer. Send to several receivers.
pub fn receiver_full(receiver: &str, connections: usize) {
    warn!(receiver, connections, "receiver full");
}

/// A connection of a sender ended with an error. Its sender connects again.
pub fn receiver_connection_failed(receiver: &str, peer: &str, reason: &str) {
    debug!(receiver, peer, reason, "receiver connection failed");
}

/// A group is on disk.
pub fn committed(stored: u64, duplicates: u64, dead_letters: u64, took: Duration) {
    debug!(stored, duplicates, dead_letters, took_ms = precise_ms(took), "group committed");
}

/// A sample is not stored. The others of its message are.
pub fn sample_refused(origin: &str, reason: &str, sample: &str) {
    debug!(origin, reason, sample, "sample refused");
}

/// A message cannot be read. It becomes a dead letter.
pub fn message_malformed(origin: &str, reason: &str, bytes: usize) {
    warn!(origin, reason, bytes, "message malformed");
}

/// The store fails: nothing is acknowledged until it works again. Logged once.
pub fn store_failed(error: &dyn Error) {
    error!(reason = %Chain(error), "collector store failed, acknowledging nothing");
}

/// The store works again.
pub fn store_recovered() {
    info!("collector store recovered");
}

/// The thread that writes cannot wait for time.
pub fn writer_not_started() {
    error!("writer not started");
}

/// Keystone does not answer: clients get status 503, and nobody is let in except with tokens that
/// were validated a moment ago. Logged once until it answers. Check `api.keystone`.
pub fn keystone_unavailable(url: &str, error: &dyn Error) {
    error!(url, reason = %Chain(error), "keystone unavailable");
}

/// Keystone answers again.
pub fn keystone_available(url: &str) {
    info!(url, "keystone available");
}

/// A connection of the query API ended with an error.
pub fn query_connection_failed(reason: &str) {
    debug!(reason, "query connection failed");
}

/// A query failed inside the collector.
pub fn query_failed(error: &dyn Error) {
    error!(reason = %Chain(error), "query failed");
}

/// The query API accepts no connections for now.
pub fn accept_failed(reason: &str) {
    warn!(reason, "accept failed on query API");
}
