//! The outcome of delivering an envelope.

use std::time::Duration;

/// The outcome of one envelope that was sent to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The receiver accepted the envelope.
    Acknowledged,
    /// A temporary failure: the envelope stays in the spool and is sent again, in order.
    Pending {
        /// The reason of the failure.
        reason: String,
        /// The delay before the next attempt, if the receiver named one.
        after: Option<Duration>,
    },
    /// A permanent failure with its reason: the receiver will never accept the envelope.
    Rejected(String),
}

impl DeliveryResult {
    /// A temporary failure with this reason and no delay.
    pub fn pending(reason: impl Into<String>) -> Self {
        Self::Pending { reason: reason.into(), after: None }
    }
}
