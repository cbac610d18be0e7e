//! Events of reloads: what was replaced while the agent runs, and what was not.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::precise_ms;

/// Files cannot be watched: changes are found by scanning, or by a reload on request. Logged once,
/// until files can be watched again.
pub fn file_watching_unavailable(error: &dyn Error) {
    tracing::warn!(reason = %error, "file watching unavailable, scanning every 10 s");
}

/// Files are watched again.
pub fn file_watching_available() {
    tracing::info!("file watching available again");
}

/// A new revision of a transformer chain is in use; the sink processed no batch for `pause`.
pub fn transformers_replaced(sink: &str, offset: u64, pause: Duration) {
    tracing::info!(sink, offset, pause_ms = precise_ms(pause), "transformers replaced");
}

/// A replacement was refused; the previous configuration stays in use.
pub fn refused(reason: &str) {
    tracing::error!(reason, "reload refused");
}

/// A step of a reload is done.
pub fn step(sink: &str, step: &str) {
    tracing::debug!(sink, step, "reload step");
}

/// New transformers failed within the roll-back window; the previous ones are in use again.
pub fn rolled_back(sink: &str, component: &str, reason: &str) {
    tracing::error!(sink, component, reason, "transformers rolled back");
}

/// The transformers before run on beside the new ones, and nothing of them is published.
pub fn guard_begun(sink: &str, components: &str) {
    tracing::info!(sink, components, "reload guard begun");
}

/// The output of new transformers stayed within the bounds of `guard`.
pub fn guard_passed(sink: &str, components: &str) {
    tracing::info!(sink, components, "reload guard passed");
}

/// A guard ended without a result; the new transformers stay in use.
pub fn guard_ended(sink: &str, components: &str, reason: &str) {
    tracing::warn!(sink, components, reason, "reload guard ended");
}

/// What was published before a rollback, and what it should have been, is in this file.
pub fn correction_written(sink: &str, path: &Path, samples: u64) {
    tracing::warn!(sink, path = %path.display(), samples, "correction written");
}

/// The correction of what was published before a rollback cannot be written.
pub fn correction_failed(sink: &str, reason: &str) {
    tracing::error!(sink, reason, "correction write failed");
}

/// A transformer refused the state of the previous one and starts without it, as
/// `on_state_mismatch: reset` asks for.
pub fn state_reset(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "transformer state reset");
}

/// A reload was applied; `changes` lists the differences.
pub fn applied(changes: &str) {
    tracing::info!(changes, "reload applied");
}

/// The list of promoted shadows cannot be read: components run as they are configured.
pub fn promotions_unreadable(path: &Path, reason: &str) {
    tracing::error!(path = %path.display(), reason, "promotions unreadable");
}

/// The configuration has another version of a component than the one that its shadow had replaced.
pub fn promotion_over(component: &str) {
    tracing::info!(component, "promotion over");
}
