use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A period with missing samples. Missing values are never reported as zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The resource's id; `*` for all resources of the source.
    pub resource: String,
    /// The source in `pipeline.yaml`, or the spool that dropped the samples.
    pub source: String,
    /// Names or patterns of the meters.
    pub meters: Vec<String>,
    /// The last covered time. Distinguishes this gap from others of the resource.
    pub begin: Timestamp,
    /// The first time that is covered again; while the gap is open, the time up to which it
    /// extends.
    pub until: Timestamp,
    /// Why the samples are missing.
    pub reason: GapReason,
}

/// Why samples are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The domain's QEMU does not answer.
    Stuck,
    /// libvirt did not answer in time.
    Timeout,
    /// The domain could not be read for another reason.
    Failed,
    /// Values that were reported before are missing.
    Partial,
    /// The agent was not running.
    AgentDown,
    /// A polling cycle outlasted its interval, or the agent process was paused.
    Skipped,
    /// The host was suspended.
    Suspended,
    /// Samples that had been polled were dropped.
    Dropped,
    /// The samples are there, but lack what Nova's API knows of the instance.
    Metadata,
    /// libvirt has no numbers for a disk of the domain.
    NoDiskStatistics,
    /// libvirt has no numbers for an interface of the domain.
    NoInterfaceStatistics,
}

impl GapReason {
    /// The reason as text.
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
            Self::Metadata => "metadata",
            Self::NoDiskStatistics => "no_disk_statistics",
            Self::NoInterfaceStatistics => "no_interface_statistics",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GapReason::{
        AgentDown, Dropped, Failed, Metadata, NoDiskStatistics, NoInterfaceStatistics, Partial,
        Skipped, Stuck, Suspended, Timeout,
    };

    /// They are stored, printed and sent as these words.
    #[test]
    fn gap_reasons_are_fixed_words() {
        let old =
            [Stuck, Timeout, Failed, Partial, AgentDown, Skipped, Suspended, Dropped, Metadata];
        for reason in old.into_iter().chain([NoDiskStatistics, NoInterfaceStatistics]) {
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(text, format!("\"{}\"", reason.as_str()));
        }
        assert_eq!(AgentDown.as_str(), "agent_down");
    }
}
