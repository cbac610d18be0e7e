//! What one event adds to the ledger at one stage.

use std::sync::atomic::Ordering::Relaxed;

use nephometer_telemetry::{Dropped, StageCount};

/// Rows of one event at one stage.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rows_in: u64,
    pub(super) passed: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) made: u64,
}

impl Tally {
    pub(super) fn count(self, count: &StageCount) {
        let lost = self.rejected + self.failed;
        count.rows_in.fetch_add(self.rows_in, Relaxed);
        count.passed.fetch_add(self.passed, Relaxed);
        // A component cannot pass more rows than it was given: each one passes once.
        let absorbed = self.rows_in.saturating_sub(self.passed + lost);
        count.absorbed.fetch_add(absorbed, Relaxed);
        count.dropped.add(Dropped::Rejected, self.rejected);
        count.dropped.add(Dropped::Failed, self.failed);
        count.made.fetch_add(self.made, Relaxed);
    }
}
