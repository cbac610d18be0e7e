//! What one event adds to the ledger at one stage.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use uuid::Uuid;

use nephometer_model::Sample;
use nephometer_telemetry::{Dropped, TransformerCount};

/// Rows of one event at one stage.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rows_in: u64,
    pub(super) passed: u64,
    pub(super) absorbed: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) made: u64,
}

impl Tally {
    pub(super) fn count(self, count: &TransformerCount) {
        count.rows_in.fetch_add(self.rows_in, Relaxed);
        count.passed.fetch_add(self.passed, Relaxed);
        count.absorbed.fetch_add(self.absorbed, Relaxed);
        count.dropped.add(Dropped::Rejected, self.rejected);
        count.dropped.add(Dropped::Failed, self.failed);
        count.made.fetch_add(self.made, Relaxed);
    }
}

/// How many of the rows that a stage was given are not among those that it left.
pub(super) fn absorbed(given: &[Sample], left: &[Sample]) -> u64 {
    // Most keep the order, and one walk tells.
    let mut ids = left.iter().map(|sample| sample.id).filter(|id| !id.is_nil()).peekable();
    let gone = given.iter().filter(|sample| ids.next_if_eq(&sample.id).is_none()).count();
    if ids.peek().is_none() {
        return gone as u64;
    }
    let ids: HashSet<Uuid> = left.iter().map(|sample| sample.id).collect();
    given.iter().filter(|sample| !ids.contains(&sample.id)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::summing::sample;
    use super::*;

    #[test]
    fn rows_that_are_not_left_are_absorbed_in_any_order() {
        let rows = |ids: &[u128]| -> Vec<Sample> {
            ids.iter().map(|id| sample(Uuid::from_u128(*id), 0.0)).collect()
        };
        let given = rows(&[1, 2, 3, 4]);
        for (left, gone) in [
            (&[1, 2, 3, 4][..], 0),
            (&[], 4),
            (&[2, 0, 4, 0], 2),
            (&[4, 1], 2),
            (&[0, 0], 4),
            (&[3, 2, 1, 4], 0),
        ] {
            assert_eq!(absorbed(&given, &rows(left)), gone, "{left:?}");
        }
    }
}
