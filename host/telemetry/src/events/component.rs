//! Events of components, and of the chains that recover them.

use std::path::Path;
use std::time::Duration;

/// A component was loaded and fits.
pub fn loaded(component: &str, path: &Path, digest: &str, cached: bool, took: Duration) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(component, path = %path.display(), digest, cached, millis, "component loaded");
}

/// A component cannot be compiled, and is not tried again until its file changes.
pub fn not_compiled(path: &Path, digest: &str, reason: &str) {
    tracing::warn!(path = %path.display(), digest, reason, "component cannot be compiled");
}

/// Compiled code cannot be kept: components are compiled anew at every start.
pub fn cache_unusable(path: &Path, reason: &str) {
    tracing::warn!(path = %path.display(), reason, "cache of compiled components cannot be used");
}

/// A file in the cache is not what this agent put there: it is not run, but made anew.
pub fn cache_refused(path: &Path, reason: &str) {
    tracing::warn!(path = %path.display(), reason, "compiled component in the cache refused");
}

/// A limit ended a call.
pub fn limit_hit(component: &str, limit: &str, call: &str) {
    tracing::warn!(component, limit, call, "component hit a limit");
}

/// An instance was discarded: a trap, a limit, a malformed answer, or the component said broken.
pub fn failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component failed");
}

/// All instances of a chain were made anew and have seen again what came since their last save.
pub fn recovered(sink: &str, events: usize) {
    tracing::info!(sink, events, "chain recovered");
}

/// A batch that had passed before made a component fail when it was run again to recover: the
/// state lacks it.
pub fn state_incomplete(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "recovered state lacks a batch");
}

/// Batches since the last save were forgotten because too many came without a save.
pub fn history_cut(sink: &str, events: usize) {
    tracing::warn!(sink, events, "batches forgotten that a recovery would need");
}

/// A component could not save its state: a recovery starts from an older one.
pub fn save_failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component could not save its state");
}

/// A component refused rows, which are dropped and counted.
pub fn rejected(sink: &str, component: &str, rows: usize, reason: &str) {
    tracing::warn!(sink, component, rows, reason, "component rejected rows");
}

/// What a component held back was not given out at this tick; it keeps it.
pub fn flush_failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component gave nothing out at the end of the tick");
}

/// A component wrote more lines in a window than it may, through all of its streams and instances.
pub fn log_dropped(component: &str, lines: u64, most: u64, window_s: u64) {
    tracing::warn!(component, lines, most, window_s, "lines of the component's log dropped");
}

/// A line of a component's own log.
pub fn says(component: &str, line: &str) {
    tracing::info!(component, "{line}");
}

/// A line of a component's own log, at level warn.
pub fn warns(component: &str, line: &str) {
    tracing::warn!(component, "{line}");
}

/// A line of a component's own log, at level error.
pub fn complains(component: &str, line: &str) {
    tracing::error!(component, "{line}");
}
