//! Requests to the supervisor for a reload, and the report that it returns.

use tokio::sync::oneshot;

/// A reload that a user requested over the control socket.
pub(super) struct ReloadRequest {
    /// Only report what would change.
    pub(super) plan: bool,
    pub(super) reply: oneshot::Sender<ReloadReport>,
}

/// What a reload changed, or would change.
#[derive(Debug, Clone, Default)]
pub(super) struct ReloadReport {
    /// Applied changes, one line each.
    pub(super) changes: Vec<String>,
    /// Refused changes with their reasons.
    pub(super) problems: Vec<String>,
}
