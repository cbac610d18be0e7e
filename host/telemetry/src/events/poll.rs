//! Events of polling.

use std::error::Error;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{precise_ms, whole_ms};
use crate::Chain;

/// Polling took longer than the interval.
pub fn cycles_skipped(interval: Duration, skipped: u64) {
    warn!(interval_ms = whole_ms(interval), skipped, "polling cycle skipped");
}

/// Domains cannot be listed; the last list is used.
pub fn domain_listing_failed(error: &dyn Error, last_domains: usize) {
    warn!(reason = %Chain(error), last_domains, "domain listing failed");
}

/// Domains can be listed again.
pub fn domain_listing_restored(domains: usize) {
    info!(domains, "domain listing restored");
}

/// A domain does not respond. It is not polled until it does.
pub fn domain_quarantined(domain: &str) {
    warn!(domain, "domain quarantined");
}

/// A quarantined domain responds again.
pub fn domain_released(domain: &str) {
    info!(domain, "domain released from quarantine");
}

/// Reading a domain began to fail.
pub fn read_failed(domain: &str, error: &dyn Error) {
    warn!(domain, reason = %Chain(error), "domain read failed");
}

/// Reading a domain works again.
pub fn read_restored(domain: &str) {
    info!(domain, "domain read restored");
}

/// One polling cycle is complete.
pub fn cycle_finished(domains: usize, readings: usize, samples: usize, took: Duration) {
    let took_ms = precise_ms(took);
    debug!(domains, readings, samples, took_ms, "polling cycle finished");
}

/// A recording came to its end.
pub fn recording_finished() {
    info!("recording finished");
}

/// The grace period was too short to deliver everything. The rest stays pending and is listed in
/// the ledger.
pub fn grace_period_expired(grace: Duration) {
    warn!(grace_ms = whole_ms(grace), "grace period expired");
}
