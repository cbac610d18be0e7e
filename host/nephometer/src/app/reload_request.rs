//! Requests to the supervisor for a reload, and the report that it returns.

use tokio::sync::oneshot;

/// What a user requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReloadKind {
    /// Apply what has changed.
    Apply,
    /// Only report what would change.
    Plan,
    /// Run this component with the code of its shadow.
    Promote(String),
    /// Run this component as configured again.
    Demote(String),
}

/// A reload that a user requested over the control socket.
pub(super) struct ReloadRequest {
    pub(super) kind: ReloadKind,
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
