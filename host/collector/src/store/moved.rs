//! What is moved from one engine to another.

use std::collections::{BTreeMap, BTreeSet};

use nephometer_model::Timestamp;

use super::{Closing, StoredLetter};

/// Samples that were moved, and a digest over all of them in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moved {
    pub(crate) samples: u64,
    sums: [u64; 4],
}

impl Moved {
    /// Adds a sample by the digest of its facts. Sums do not depend on the order, and unlike differences
    /// they notice a sample that is there twice.
    pub(crate) fn add(&mut self, digest: &[u8; 32]) {
        self.samples += 1;
        for (sum, part) in self.sums.iter_mut().zip(digest.chunks_exact(8)) {
            let number = part.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
            *sum = sum.wrapping_add(number);
        }
    }

    pub(crate) fn digest(&self) -> String {
        self.sums.iter().map(|sum| format!("{sum:016x}")).collect()
    }
}

/// What belongs to no month.
pub(crate) struct MovedLedger {
    /// With the numbers of their months.
    pub(crate) closings: Vec<(u32, Closing)>,
    pub(crate) letters: Vec<StoredLetter>,
    pub(crate) erasing: BTreeSet<String>,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) now: Timestamp,
}
