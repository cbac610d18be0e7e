//! Events of publishers and their spools.

use std::error::Error;
use std::path::Path;

use tracing::{error, info, warn};
use uuid::Uuid;

use crate::Chain;

/// A delivery failed for now. `pending` envelopes wait in the spool.
pub fn unavailable(publisher: &str, reason: &str, pending: usize) {
    warn!(publisher, reason, pending, "publisher unavailable");
}

/// A publisher that was unavailable delivers again.
pub fn available_again(publisher: &str, pending: usize) {
    info!(publisher, pending, "publisher available again");
}

/// The receiver rejected an envelope for good. It becomes a dead letter.
pub fn envelope_rejected(publisher: &str, envelope: Uuid, samples: u64, reason: &str) {
    warn!(publisher, %envelope, samples, reason, "envelope rejected");
}

/// `policy=drop` dropped what could not be delivered at once.
pub fn dropped_by_policy(publisher: &str, envelopes: u64, reason: &str) {
    warn!(publisher, envelopes, reason, "envelopes dropped by policy");
}

/// The file with the host id cannot be read, and a new id is created: ids of repeated samples
/// differ from now on.
pub fn host_id_damaged(path: &Path, error: &dyn Error) {
    warn!(path = %path.display(), reason = %Chain(error), "host id damaged, new one created");
}

/// The file or the settings of a publisher component changed, and a new instance is in use.
pub fn component_replaced(publisher: &str) {
    info!(publisher, "publisher component replaced");
}

/// The new component is unusable; the previous one stays in use.
pub fn component_not_replaced(publisher: &str, reason: &str) {
    error!(publisher, reason, "publisher component not replaced");
}

/// The component reported that nothing can be delivered until someone intervenes. Logged once.
pub fn component_broken(publisher: &str, reason: &str) {
    error!(publisher, reason, "publisher component broken");
}

/// A trap or a limit ended the instance; the next envelope gets a new one.
pub fn component_failed(publisher: &str, reason: &str) {
    warn!(publisher, reason, "publisher component failed");
}

/// The broker accepts no messages for now, because it is short of memory or disk.
pub fn blocked(publisher: &str) {
    warn!(publisher, "broker blocked, short of memory or disk");
}

/// The broker accepts messages again.
pub fn unblocked(publisher: &str) {
    info!(publisher, "broker unblocked");
}
