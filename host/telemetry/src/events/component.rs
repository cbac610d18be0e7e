//! Events of components, and of the transformer chains that recover them.

use std::path::Path;
use std::time::Duration;

use super::whole_ms;

/// A component was loaded and implements the expected contract.
pub fn loaded(component: &str, path: &Path, digest: &str, cached: bool, took: Duration) {
    let took_ms = whole_ms(took);
    tracing::info!(component, path = %path.display(), digest, cached, took_ms, "component loaded");
}

/// A component does not compile. It is not tried again until its file changes.
pub fn compilation_failed(path: &Path, digest: &str, reason: &str) {
    tracing::warn!(path = %path.display(), digest, reason, "component compilation failed");
}

/// Compiled code cannot be cached: components are compiled at every start.
pub fn cache_unusable(path: &Path, reason: &str) {
    tracing::warn!(path = %path.display(), reason, "component cache unusable");
}

/// A file in the cache was not written by this agent. It is not run; the component is compiled
/// again.
pub fn cache_entry_rejected(path: &Path, reason: &str) {
    tracing::warn!(path = %path.display(), reason, "component cache entry rejected");
}

/// An option has no effect: the component's schema does not describe it.
pub fn option_ignored(place: &str, reason: &str) {
    tracing::warn!(place, reason, "component option ignored");
}

/// A limit ended a call.
pub fn limit_exceeded(component: &str, limit: &str, call: &str) {
    tracing::warn!(component, limit, call, "component limit exceeded");
}

/// An instance was discarded: a trap, a limit, a malformed result, or the error `broken`.
pub fn failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component failed");
}

/// The shadow of a component failed; nothing depends on it.
pub fn shadow_failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component shadow failed");
}

/// The shadow of a component does not run any more.
pub fn shadow_stopped(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component shadow stopped");
}

/// All instances of a chain were created again and have replayed the batches since their last save.
pub fn recovered(sink: &str, batches: usize) {
    tracing::info!(sink, batches, "chain recovered");
}

/// A component used most of its memory limit: its instance is replaced by one with the same state.
pub fn recycled(sink: &str, component: &str, percent: u64) {
    tracing::info!(sink, component, percent, "component recycled");
}

/// A batch that had succeeded before failed when it was replayed: the recovered state lacks it.
pub fn state_incomplete(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "recovered state incomplete");
}

/// Too many batches since the last save: the oldest cannot be replayed by a recovery.
pub fn recovery_history_truncated(sink: &str, batches: usize) {
    tracing::warn!(sink, batches, "recovery history truncated");
}

/// A component could not save its state: a recovery starts from an older one.
pub fn save_failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component state save failed");
}

/// A component rejected samples. They are dropped and counted.
pub fn samples_rejected(sink: &str, component: &str, samples: usize, reason: &str) {
    tracing::warn!(sink, component, samples, reason, "component rejected samples");
}

/// A component did not emit its buffered samples in this polling cycle. It keeps them.
pub fn flush_failed(sink: &str, component: &str, reason: &str) {
    tracing::warn!(sink, component, reason, "component flush failed");
}

/// A component wrote more lines in a window than allowed, over all of its streams and instances.
pub fn log_lines_dropped(component: &str, lines: u64, max_lines: u64, window_s: u64) {
    tracing::warn!(component, lines, max_lines, window_s, "component log lines dropped");
}

/// A line of a component's own log.
pub fn log_info(component: &str, line: &str) {
    tracing::info!(component, "{line}");
}

/// A line of a component's own log, at level warn.
pub fn log_warn(component: &str, line: &str) {
    tracing::warn!(component, "{line}");
}

/// A line of a component's own log, at level error.
pub fn log_error(component: &str, line: &str) {
    tracing::error!(component, "{line}");
}
