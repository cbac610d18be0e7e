//! Events of reloads: what was replaced while the agent runs, and what was not.

use std::time::Duration;

/// Files cannot be watched: changes are only seen when somebody asks for a reload, or by scanning.
/// Once, until they can be watched again.
pub fn not_watching(error: &dyn std::error::Error) {
    tracing::warn!(%error, "file watching unavailable, scanning every 10 s");
}

/// Files are watched again.
pub fn watching_again() {
    tracing::info!("file watching available again");
}

/// A generation of transformers took over; no batch was worked on for `pause`.
pub fn took_over(sink: &str, position: u64, pause: Duration) {
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(sink, position, micros, "new transformers took over");
}

/// Something that was to be replaced was not: what was at work goes on.
pub fn refused(reason: &str) {
    tracing::error!(reason, "reload refused");
}

/// A step of a reload is done; for whoever watches closely.
pub fn step(sink: &str, step: &str) {
    tracing::debug!(sink, step, "reload step");
}

/// New transformers failed within the window, and those before took over again.
pub fn rolled_back(sink: &str, component: &str, reason: &str) {
    tracing::error!(sink, component, reason, "rolled back to the transformers before");
}

/// A transformer starts without the state of the one before, because it does not take it and its
/// configuration says so.
pub fn state_reset(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "state given up: on_state_mismatch is reset");
}

/// The configuration was read again; what changed.
pub fn applied(changes: &str) {
    tracing::info!(changes, "reloaded");
}
