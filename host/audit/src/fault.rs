//! Why something cannot be proved. `docs/audit.md` has a table of them.

use std::fmt;

use serde::{Serialize, Serializer};

/// A reason for the verdict *not provable*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// There is no stream at all in this time.
    NoStream,
    /// Samples came without numbers and digests.
    NoChain,
    /// Samples came in a stream, and no checkpoint covers them.
    NoCheckpoint,
    /// The checkpoints are of an agent that does not state what a batch contains.
    NoContents,
    /// The statement that batches were made with is missing.
    NoStatement,
    /// A host with a trusted key has no stream here.
    HostMissing,
    /// The key of a record is not trusted.
    UnknownKey,
    /// The key was revoked before.
    KeyRevoked,
    /// A key signs again after another one had replaced it.
    OldKeyUsed,
    /// A signature does not match its record.
    WrongSignature,
    /// A record is not of the stream that it stands in.
    WrongStream,
    /// The key belongs to another host than the stream.
    WrongHost,
    /// The digests do not follow each other.
    ChainBroken,
    /// Numbers do not grow.
    NumbersRepeated,
    /// Numbers are missing, and no drop is declared.
    HoleUndeclared,
    /// Messages belong to no batch.
    MessagesUnaccounted,
    /// The samples are not those that the agent has signed.
    ContentsDiffer,
    /// The collector refused samples of the agent.
    SamplesRefused,
    /// The stream begins later than it should.
    StreamStartMissing,
    /// The stream ends before the time is over.
    StreamEndMissing,
    /// The sums of days in the store are not those of the samples.
    RollupsDiffer,
    /// The record of the closed month is not what the samples and later corrections make.
    ClosingDiffers,
    /// The samples were dropped when their time was over; only sums are left.
    SamplesExpired,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::NoStream,
        Self::NoChain,
        Self::NoCheckpoint,
        Self::NoContents,
        Self::NoStatement,
        Self::HostMissing,
        Self::UnknownKey,
        Self::KeyRevoked,
        Self::OldKeyUsed,
        Self::WrongSignature,
        Self::WrongStream,
        Self::WrongHost,
        Self::ChainBroken,
        Self::NumbersRepeated,
        Self::HoleUndeclared,
        Self::MessagesUnaccounted,
        Self::ContentsDiffer,
        Self::SamplesRefused,
        Self::StreamStartMissing,
        Self::StreamEndMissing,
        Self::RollupsDiffer,
        Self::ClosingDiffers,
        Self::SamplesExpired,
    ];

    /// Its identifier, which never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoStream => "no_stream",
            Self::NoChain => "no_chain",
            Self::NoCheckpoint => "no_checkpoint",
            Self::NoContents => "no_contents",
            Self::NoStatement => "no_statement",
            Self::HostMissing => "host_missing",
            Self::UnknownKey => "unknown_key",
            Self::KeyRevoked => "key_revoked",
            Self::OldKeyUsed => "old_key_used",
            Self::WrongSignature => "wrong_signature",
            Self::WrongStream => "wrong_stream",
            Self::WrongHost => "wrong_host",
            Self::ChainBroken => "chain_broken",
            Self::NumbersRepeated => "numbers_repeated",
            Self::HoleUndeclared => "hole_undeclared",
            Self::MessagesUnaccounted => "messages_unaccounted",
            Self::ContentsDiffer => "contents_differ",
            Self::SamplesRefused => "samples_refused",
            Self::StreamStartMissing => "stream_start_missing",
            Self::StreamEndMissing => "stream_end_missing",
            Self::RollupsDiffer => "rollups_differ",
            Self::ClosingDiffers => "closing_differs",
            Self::SamplesExpired => "samples_expired",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_table_of_the_docs() {
        let page = include_str!("../../../docs/audit.md");
        for fault in Fault::ALL {
            assert!(page.contains(&format!("\n| `{fault}` |")), "docs/audit.md has no {fault}");
        }
    }
}
