//! Events of the room `pipeline`.

use tracing::{debug, error, info};

use crate::telemetry::Chain;

/// A batch of a source that nobody has a sink for: a fault of ours, since `check` sees to it.
pub fn unrouted(source: &str, samples: usize) {
    error!(source, samples, "batch of a source without a sink");
}

/// A component failed on the same batch twice, and had not on the one before; `decision` is what its configuration says.
pub fn component_failed(sink: &str, samples: usize, decision: &str, error: &dyn std::error::Error) {
    error!(sink, samples, decision, reason = %Chain(error), "component failed twice on a batch");
}

/// A batch went through all components again.
pub fn component_works(sink: &str) {
    info!(sink, "components work again");
}

/// Whoever was looking on stopped; publishers are not concerned.
pub fn onlooker_gone(sink: &str) {
    debug!(sink, "nobody looks on any more");
}
