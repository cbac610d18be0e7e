//! What becomes of an envelope.

use std::time::Duration;

/// What became of one envelope that was handed to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The receiver has it.
    Acknowledged,
    /// Not now: it stays in the spool and is sent again, in order.
    Pending {
        /// Why.
        reason: String,
        /// How long to wait, where the receiver named one.
        after: Option<Duration>,
    },
    /// Never: the receiver will not take it, for this reason.
    Rejected(String),
}

impl DeliveryResult {
    /// Not now, for this reason.
    pub fn pending(reason: impl Into<String>) -> Self {
        Self::Pending { reason: reason.into(), after: None }
    }
}
