//! Events of sinks.

use std::error::Error;
use std::path::Path;

use tracing::{debug, error, info, warn};

use crate::Chain;

/// A sink continues where an earlier run stopped: with the state saved at `offset` and
/// `catch_up_batches` batches to run again without output.
pub fn resumed(sink: &str, offset: u64, catch_up_batches: usize) {
    info!(sink, offset, catch_up_batches, "sink resumed");
}

/// The state of a sink is about to be written.
pub fn state_save_started(sink: &str, offset: u64) {
    debug!(sink, offset, "state save started");
}

/// The state of a sink was written.
pub fn state_saved(sink: &str, offset: u64) {
    debug!(sink, offset, "state saved");
}

/// A sink has no usable transformers; its batches wait in the journal.
pub fn sink_held(sink: &str, reason: &str) {
    error!(sink, reason, "sink held");
}

/// A component failed so often that it is only retried from time to time.
pub fn quarantined(sink: &str, component: &str, reason: &str) {
    error!(sink, component, reason, "component quarantined");
}

/// A component failed twice on the same batch, but not on the one before. `action` is the
/// configured `on_error`.
pub fn component_failed(sink: &str, samples: usize, action: &str, error: &dyn Error) {
    error!(sink, samples, action, reason = %Chain(error), "component failed twice on a batch");
}

/// The input that a component failed on was saved, for `nephometer component test`.
pub fn failed_input_saved(sink: &str, component: &str, fixture: &Path) {
    warn!(sink, component, fixture = %fixture.display(), "failed input saved as a fixture");
}

/// A batch passed all transformers after failures.
pub fn components_recovered(sink: &str) {
    info!(sink, "components recovered");
}

/// An observer of the output of a sink closed. Publishers are not affected.
pub fn observer_closed(sink: &str) {
    debug!(sink, "observer closed");
}
