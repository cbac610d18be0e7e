//! Events of polling.

use tracing::{debug, info, warn};

use crate::Chain;

/// The work of earlier ticks outlasted the interval.
pub fn cycles_skipped(interval: std::time::Duration, skipped: u64) {
    warn!(?interval, skipped, "poll outlasted its interval, ticks skipped");
}

/// The list of domains could not be had; the last one is used.
pub fn domains_unknown(error: &dyn std::error::Error, kept: usize) {
    warn!(reason = %Chain(error), kept, "domains cannot be listed, keeping the last list");
}

/// Domains can be listed again.
pub fn domains_known(domains: usize) {
    info!(domains, "domains are listed again");
}

/// A domain does not answer and is left alone until it does.
pub fn quarantined(domain: &str) {
    warn!(domain, "domain does not answer, left alone until it does");
}

/// A quarantined domain answers again.
pub fn released(domain: &str) {
    info!(domain, "domain answers again");
}

/// Reading a domain began to fail.
pub fn read_failed(domain: &str, error: &dyn std::error::Error) {
    warn!(domain, reason = %Chain(error), "domain cannot be read");
}

/// Reading a domain works again.
pub fn read_again(domain: &str) {
    info!(domain, "domain is read again");
}

/// One tick is done.
pub fn cycle_finished(domains: usize, readings: usize, samples: usize, took: std::time::Duration) {
    debug!(domains, readings, samples, ?took, "tick");
}

/// A recording came to its end.
pub fn recording_ended() {
    info!("the recording has ended");
}

/// The grace period was not enough; what is left is held and stands in the ledger.
pub fn drain_ended(grace: std::time::Duration) {
    warn!(?grace, "grace period is over, what is left stays held");
}
