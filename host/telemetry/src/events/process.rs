//! Events of the process as a whole.

use std::time::Duration;

use super::whole_ms;

/// The limit on open files was raised.
pub fn descriptors_raised(from: Option<u64>, to: u64) {
    tracing::info!(from, to, "limit on open files raised");
}

/// The limit on open files stays as it is.
pub fn descriptors_not_raised(limit: Option<u64>, error: &std::io::Error) {
    tracing::warn!(limit, reason = %error, "limit on open files not raised");
}

/// Memory of code that only the start needed was given back.
pub fn startup_pages_given_back(bytes: u64) {
    tracing::debug!(bytes, "pages of the start given back");
}

/// Memory of code that only the start needed is kept.
pub fn startup_pages_kept(error: &std::io::Error) {
    tracing::warn!(reason = %error, "pages of the start kept");
}

/// The service manager cannot be reached at `NOTIFY_SOCKET`: it learns neither the state nor that the
/// program works, and may end it. Logged once, until it can be reached.
pub(crate) fn service_manager_unreachable(error: &std::io::Error) {
    tracing::warn!(reason = %error, "service manager unreachable");
}

/// The service manager does not read its messages: one was dropped.
pub(crate) fn service_message_dropped() {
    tracing::warn!("message to the service manager dropped");
}

/// A task was not run although it was woken. The service manager restarts the program, unless the task
/// is run in time.
pub(crate) fn watchdog_withheld(task: &str, age: Duration) {
    tracing::error!(task, stopped_ms = whole_ms(age), "watchdog not fed");
}

/// The task is run again.
pub(crate) fn watchdog_fed_again(task: &str) {
    tracing::info!(task, "watchdog fed again");
}
