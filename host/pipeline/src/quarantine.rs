//! Quarantine: a transformer that fails too often is skipped for a growing period of time.
//!
//! It only counts and measures time; the sink decides what happens to the skipped batches.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::publish::Backoff;

/// Failures within [`FAILURE_PERIOD`] that start a quarantine.
const MAX_FAILURES: usize = 5;
const FAILURE_PERIOD: Duration = Duration::from_secs(600);
/// Length of a quarantine. It doubles with each one in a row.
const LENGTH: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(600));

/// The failures of one transformer.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    failures: VecDeque<Instant>,
    /// Quarantines in a row.
    count: u32,
    until: Option<Instant>,
}

impl Quarantine {
    /// Counts a failed batch. Returns whether that starts a quarantine. `spread` varies its length.
    pub(super) fn record_failure(&mut self, now: Instant, spread: u16) -> bool {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now - *first > FAILURE_PERIOD) {
            self.failures.pop_front();
        }
        if self.failures.len() < MAX_FAILURES {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.until = Some(now + LENGTH.delay(self.count, spread));
        true
    }

    /// Ends the quarantine and forgets all failures, after a batch succeeded.
    pub(super) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Whether the transformer is skipped now.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_fifth_failure_starts_a_quarantine_and_a_success_ends_it() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        for _ in 0..4 {
            assert!(!quarantine.record_failure(start, 0));
        }
        assert!(!quarantine.is_active(start));
        assert!(quarantine.record_failure(start, 0));
        assert!(quarantine.is_active(start + Duration::from_secs(4)));
        assert!(!quarantine.is_active(start + Duration::from_secs(6)));
        assert!(
            quarantine.record_failure(start + Duration::from_secs(6), 0),
            "tried once, failed again"
        );
        assert!(quarantine.is_active(start + Duration::from_secs(15)));
        quarantine.record_success();
        assert!(!quarantine.is_active(start) && !quarantine.record_failure(start, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_far_apart_start_no_quarantine() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        for hour in 0..9 {
            assert!(!quarantine.record_failure(start + Duration::from_secs(3_600 * hour), 0));
        }
    }
}
