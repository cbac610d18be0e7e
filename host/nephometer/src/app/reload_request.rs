//! Reloads that people ask for, and what came of them.

use tokio::sync::oneshot;

/// Somebody asks for a reload.
pub(super) struct ReloadRequest {
    /// Only say what would happen.
    pub(super) plan: bool,
    pub(super) reply: oneshot::Sender<Report>,
}

/// What a reload did, or would do.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// What was changed, a line each.
    pub(super) changes: Vec<String>,
    /// What was not, and why.
    pub(super) problems: Vec<String>,
}
