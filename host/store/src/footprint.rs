//! What the database holds beside what it takes on disk. Pages are a power of two, and the file does
//! not shrink with what leaves it: when most of it is free, it is compacted.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A file of this size may hold nothing at all: less is not worth the work.
const SMALL: u64 = 32 << 20;
/// Beyond that the file may be so many times what it holds: twice for the rounding of pages, and that
/// twice for what is written while the state before it is still in use. One that was just compacted
/// does not come to this by itself.
const FACTOR: u64 = 4;

/// Envelopes that the receiver of one spool has refused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) count: i64,
    pub(super) bytes: i64,
}

/// Bytes in the tables that can be large.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Weights {
    /// Of all of them.
    pub(super) all: i64,
    /// Of envelopes that receivers have refused, by spool.
    refused: BTreeMap<String, Refused>,
    /// Of gaps.
    pub(super) gaps: i64,
}

impl Weights {
    /// Something was added, or taken away.
    pub(super) fn add(&mut self, bytes: i64) {
        self.all += bytes;
    }

    /// An envelope of a spool was refused.
    pub(super) fn add_refused(&mut self, spool: &str, bytes: i64) {
        self.all += bytes;
        let refused = self.refused.entry(spool.to_owned()).or_default();
        refused.count += 1;
        refused.bytes += bytes;
    }

    /// A refused envelope of a spool is not kept any more.
    pub(super) fn forget_refused(&mut self, spool: &str, bytes: i64) {
        self.all -= bytes;
        if let Some(refused) = self.refused.get_mut(spool) {
            refused.count -= 1;
            refused.bytes -= bytes;
        }
    }

    /// Of all refused envelopes.
    pub(super) fn refused_bytes(&self) -> i64 {
        self.refused.values().map(|refused| refused.bytes).sum()
    }

    /// The spool that has most refused envelopes, by number or by bytes.
    pub(super) fn most_refused(&self, by: impl Fn(&Refused) -> i64) -> Option<String> {
        let most = self.refused.iter().max_by_key(|(_, refused)| by(refused));
        most.map(|(spool, _)| spool.clone())
    }

    pub(super) fn add_gaps(&mut self, bytes: i64) {
        self.all += bytes;
        self.gaps += bytes;
    }
}

/// A length as a change of weight.
pub(super) fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// A weight that was written down.
pub(super) fn weight(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// When the file is worth a compaction.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// What it took when a compaction was in vain; 0 if the last one was not.
    in_vain: AtomicU64,
}

impl Footprint {
    /// Whether a compaction is worth its work, for a file that takes and holds so much.
    pub(super) fn is_due(&self, taken: u64, held: i64) -> bool {
        let held = u64::try_from(held).unwrap_or(0);
        let in_vain = self.in_vain.load(Relaxed);
        taken > SMALL.saturating_add(held.saturating_mul(FACTOR)) && taken > in_vain + in_vain / 4
    }

    /// It took so much before and after one.
    pub(super) fn compacted(&self, before: u64, after: u64) {
        let in_vain = if after > before / 4 * 3 { before } else { 0 };
        self.in_vain.store(in_vain, Relaxed);
    }
}

/// What a file takes on disk; holes take nothing.
pub(super) fn taken(path: &Path) -> u64 {
    // A block of stat is 512 bytes, whatever the file system's are.
    path.metadata().map_or(0, |found| found.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compaction_is_due_when_most_is_free_and_the_last_one_was_not_in_vain() {
        let footprint = Footprint::default();
        assert!(!footprint.is_due(SMALL, 0));
        assert!(footprint.is_due(SMALL + 1, 0));
        assert!(!footprint.is_due(SMALL + 4_000, 1_000));
        assert!(footprint.is_due(SMALL + 4_001, 1_000));
        footprint.compacted(4 * SMALL, 3 * SMALL);
        assert!(footprint.is_due(SMALL + 1, 0));
        footprint.compacted(4 * SMALL, 3 * SMALL + 1);
        assert!(!footprint.is_due(5 * SMALL, 0));
        assert!(footprint.is_due(5 * SMALL + 1, 0));
    }
}
