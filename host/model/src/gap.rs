use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A time for which there are no samples where there should be some. Missing is never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The resource's id; `*` for all that the source meters.
    pub resource: String,
    /// The source in `pipeline.yaml`, or the spool that dropped them.
    pub source: String,
    /// Names or patterns of the meters.
    pub meters: Vec<String>,
    /// The last moment that is covered: what tells this gap from others of the resource.
    pub begin: Timestamp,
    /// The first moment that is covered again, or up to which it lasts by now.
    pub until: Timestamp,
    /// Why.
    pub reason: GapReason,
}

/// Why samples are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Its QEMU does not answer.
    Stuck,
    /// libvirt did not answer in time.
    Timeout,
    /// It could not be read for another reason.
    Failed,
    /// Numbers are missing that were there before.
    Partial,
    /// The agent was not running.
    AgentDown,
    /// A poll outlasted its interval, or the agent stood still.
    Skipped,
    /// The host was suspended.
    Suspended,
    /// Samples that had been polled were dropped.
    Dropped,
}

impl GapReason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::AgentDown => "agent_down",
            Self::Skipped => "skipped",
            Self::Suspended => "suspended",
            Self::Dropped => "dropped",
        }
    }
}
