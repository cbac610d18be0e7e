//! The size of the database: bytes of stored data, and bytes that its file takes on disk.
//!
//! Pages are a power of two, and the file does not shrink when data is removed. When most of it is
//! free, it is compacted.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Files up to this size, bytes, are not worth a compaction.
const SMALL: u64 = 32 << 20;
/// How many times the stored bytes the file may take beyond that: twice for the rounding of pages,
/// and that twice for writes while the state before them is still in use. A file that was just
/// compacted does not reach this by itself.
const FACTOR: u64 = 4;

/// Rejected envelopes of one spool.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RejectedTotals {
    pub(super) count: i64,
    pub(super) bytes: i64,
}

/// Bytes in the tables that can be large.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct StoredBytes {
    /// In all tables.
    pub(super) total: i64,
    /// Rejected envelopes, by spool.
    rejected: BTreeMap<String, RejectedTotals>,
    /// Gaps.
    pub(super) gaps: i64,
}

impl StoredBytes {
    /// Adds bytes; a negative number for removed ones.
    pub(super) fn add(&mut self, bytes: i64) {
        self.total += bytes;
    }

    /// Adds a rejected envelope of a spool.
    pub(super) fn add_rejected(&mut self, spool: &str, bytes: i64) {
        self.total += bytes;
        let rejected = self.rejected.entry(spool.to_owned()).or_default();
        rejected.count += 1;
        rejected.bytes += bytes;
    }

    /// Takes a rejected envelope of a spool away.
    pub(super) fn remove_rejected(&mut self, spool: &str, bytes: i64) {
        self.total -= bytes;
        if let Some(rejected) = self.rejected.get_mut(spool) {
            rejected.count -= 1;
            rejected.bytes -= bytes;
        }
    }

    /// Bytes of all rejected envelopes.
    pub(super) fn rejected_bytes(&self) -> i64 {
        self.rejected.values().map(|rejected| rejected.bytes).sum()
    }

    /// The spool with the most rejected envelopes, by number or by bytes.
    pub(super) fn most_rejected(&self, by: impl Fn(&RejectedTotals) -> i64) -> Option<String> {
        let most = self.rejected.iter().max_by_key(|(_, rejected)| by(rejected));
        most.map(|(spool, _)| spool.clone())
    }

    /// Adds bytes of gaps; a negative number for removed ones.
    pub(super) fn add_gaps(&mut self, bytes: i64) {
        self.total += bytes;
        self.gaps += bytes;
    }
}

/// The length of a value as a change in size.
pub(super) fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// A number of bytes as a change in size.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Decides when the file is compacted.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// Size of the file before a compaction that freed too little, bytes; 0 if the last one was
    /// effective.
    ineffective_at: AtomicU64,
}

impl Footprint {
    /// Whether a compaction is worth its cost for a file of `allocated` bytes with `stored` bytes of
    /// data.
    pub(super) fn is_due(&self, allocated: u64, stored: i64) -> bool {
        let stored = u64::try_from(stored).unwrap_or(0);
        let ineffective_at = self.ineffective_at.load(Relaxed);
        allocated > SMALL.saturating_add(stored.saturating_mul(FACTOR))
            && allocated > ineffective_at + ineffective_at / 4
    }

    /// Records the size of the file before and after a compaction.
    pub(super) fn compacted(&self, before: u64, after: u64) {
        let ineffective_at = if after > before / 4 * 3 { before } else { 0 };
        self.ineffective_at.store(ineffective_at, Relaxed);
    }
}

/// Bytes that a file takes on disk; holes take none.
pub(super) fn allocated_bytes(path: &Path) -> u64 {
    // `st_blocks` counts blocks of 512 bytes on every file system.
    path.metadata().map_or(0, |found| found.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_is_due_when_most_of_the_file_is_free_and_the_last_one_was_effective() {
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
