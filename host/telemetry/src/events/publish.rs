//! Events of publishers and their spools.

use std::path::Path;

use tracing::{error, info, warn};

use crate::Chain;

/// A publisher went from well to unavailable.
pub fn unavailable(publisher: &str, reason: &str, held: usize) {
    warn!(publisher, reason, held, "publisher is unavailable, holding what is for it");
}

/// A publisher that was unavailable delivers again.
pub fn available_again(publisher: &str, held: usize) {
    info!(publisher, held, "publisher is back");
}

/// A receiver will never take an envelope.
pub fn refused(publisher: &str, envelope: uuid::Uuid, samples: u64, reason: &str) {
    warn!(publisher, %envelope, samples, reason, "envelope is refused for good and dropped");
}

/// `policy=drop` let go of what could not be delivered at once.
pub fn dropped_by_policy(publisher: &str, envelopes: u64, reason: &str) {
    warn!(publisher, envelopes, reason, "envelopes are dropped by policy");
}

/// The file with the host's generation cannot be read, so that a new one is minted.
pub fn host_id_damaged(path: &Path, error: &dyn std::error::Error) {
    warn!(
        path = %path.display(),
        error = %Chain(error),
        "host generation is damaged, ids of repeated samples will differ from now on"
    );
}

/// The file or the settings of a publisher that is a component changed, and another instance is at
/// work.
pub fn component_replaced(publisher: &str) {
    info!(publisher, "publisher's component replaced");
}

/// The new one is of no use; the one before goes on.
pub fn component_refused(publisher: &str, reason: &str) {
    error!(publisher, reason, "publisher's component not replaced");
}

/// It says that nothing can be delivered until someone acts; said once.
pub fn component_broken(publisher: &str, reason: &str) {
    error!(publisher, reason, "publisher's component is broken");
}

/// Its instance was ended by a trap or a limit; the next envelope gets another.
pub fn component_failed(publisher: &str, reason: &str) {
    warn!(publisher, reason, "publisher's component failed");
}

/// The broker takes nothing for now, because it is short of memory or disk.
pub fn blocked(publisher: &str) {
    warn!(publisher, "the broker is short of memory or disk and takes nothing for now");
}

/// It takes messages again.
pub fn unblocked(publisher: &str) {
    info!(publisher, "the broker takes messages again");
}
