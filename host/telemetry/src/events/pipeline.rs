//! Events of sinks.

use tracing::{debug, error, info};

use crate::Chain;

/// A sink takes up where an earlier run has stopped: from the state that was saved at a place of the
/// journal, with so many batches to be run again silently.
pub fn resumed(sink: &str, saved: u64, again: usize) {
    info!(sink, saved, again, "sink resumed");
}

/// The state of a sink is about to be written.
pub fn saving(sink: &str, position: u64) {
    debug!(sink, position, "saving state");
}

/// The state of a sink was written.
pub fn saved(sink: &str, position: u64) {
    debug!(sink, position, "state saved");
}

/// A sink has no transformers to work with; its batches wait in the journal.
pub fn held(sink: &str, reason: &str) {
    error!(sink, reason, "sink held");
}

/// A component failed so often that it is only tried from time to time.
pub fn quarantined(sink: &str, component: &str, reason: &str) {
    error!(sink, component, reason, "component quarantined");
}

/// A component failed on the same batch twice, and had not on the one before; `action` is what its configuration says.
pub fn component_failed(sink: &str, samples: usize, action: &str, error: &dyn std::error::Error) {
    error!(sink, samples, action, reason = %Chain(error), "component failed twice on a batch");
}

/// What a component failed on is in a file, for `nephometer component test`.
pub fn input_kept(sink: &str, component: &str, path: &std::path::Path) {
    tracing::warn!(sink, component, fixture = %path.display(), "the rows that it failed on are kept as a fixture");
}

/// A batch went through all components again.
pub fn component_works(sink: &str) {
    info!(sink, "components work again");
}

/// The observer of a sink's output has gone; publishers are not affected.
pub fn observer_closed(sink: &str) {
    debug!(sink, "observer closed");
}
