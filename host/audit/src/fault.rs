//! Why something cannot be proved. `docs/audit.md` has a table of them.

use std::fmt;

use serde::{Serialize, Serializer};

/// A reason for the result *not provable*.
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

/// Identifiers, which never change.
const NAMES: [(Fault, &str); 23] = [
    (Fault::NoStream, "no_stream"),
    (Fault::NoChain, "no_chain"),
    (Fault::NoCheckpoint, "no_checkpoint"),
    (Fault::NoContents, "no_contents"),
    (Fault::NoStatement, "no_statement"),
    (Fault::HostMissing, "host_missing"),
    (Fault::UnknownKey, "unknown_key"),
    (Fault::KeyRevoked, "key_revoked"),
    (Fault::OldKeyUsed, "old_key_used"),
    (Fault::WrongSignature, "wrong_signature"),
    (Fault::WrongStream, "wrong_stream"),
    (Fault::WrongHost, "wrong_host"),
    (Fault::ChainBroken, "chain_broken"),
    (Fault::NumbersRepeated, "numbers_repeated"),
    (Fault::HoleUndeclared, "hole_undeclared"),
    (Fault::MessagesUnaccounted, "messages_unaccounted"),
    (Fault::ContentsDiffer, "contents_differ"),
    (Fault::SamplesRefused, "samples_refused"),
    (Fault::StreamStartMissing, "stream_start_missing"),
    (Fault::StreamEndMissing, "stream_end_missing"),
    (Fault::RollupsDiffer, "rollups_differ"),
    (Fault::ClosingDiffers, "closing_differs"),
    (Fault::SamplesExpired, "samples_expired"),
];

impl Fault {
    /// Its identifier.
    pub fn as_str(self) -> &'static str {
        let found = NAMES.iter().find(|(fault, _)| *fault == self);
        found.map_or("unknown", |(_, name)| name)
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
        for (fault, name) in NAMES {
            assert!(page.contains(&format!("\n| `{name}` |")), "docs/audit.md has no {name}");
            assert_eq!(fault.to_string(), name);
        }
        assert_eq!(NAMES.len(), Fault::SamplesExpired as usize + 1, "each fault has a name");
    }
}
