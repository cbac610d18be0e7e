//! When a transformer that keeps failing is no longer tried on every batch.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::publish::Backoff;

/// So many failures within [`WITHIN`] are too many.
const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(600);
/// How long it is left alone then: longer each time.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(600));

/// The failures of one transformer.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    failures: VecDeque<Instant>,
    /// How often in a row it was left alone.
    times: u32,
    until: Option<Instant>,
}

impl Quarantine {
    /// It failed on a batch. Whether it is left alone from now on.
    pub(super) fn failed(&mut self, now: Instant, spread: u16) -> bool {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now - *first > WITHIN) {
            self.failures.pop_front();
        }
        if self.failures.len() < FAILURES {
            return false;
        }
        self.times = self.times.saturating_add(1);
        self.until = Some(now + PAUSE.delay(self.times, spread));
        true
    }

    /// It worked on a batch.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether it is not to be tried now.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_fifth_failure_is_one_too_many_and_a_success_forgives_all() {
        let mut quarantine = Quarantine::default();
        let begun = Instant::now();
        for _ in 0..4 {
            assert!(!quarantine.failed(begun, 0));
        }
        assert!(!quarantine.holds(begun));
        assert!(quarantine.failed(begun, 0));
        assert!(quarantine.holds(begun + Duration::from_secs(4)));
        assert!(!quarantine.holds(begun + Duration::from_secs(6)));
        assert!(quarantine.failed(begun + Duration::from_secs(6), 0), "tried once, and not well");
        assert!(quarantine.holds(begun + Duration::from_secs(15)));
        quarantine.worked();
        assert!(!quarantine.holds(begun) && !quarantine.failed(begun, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_far_apart_are_no_reason() {
        let mut quarantine = Quarantine::default();
        let begun = Instant::now();
        for hour in 0..9 {
            assert!(!quarantine.failed(begun + Duration::from_secs(3_600 * hour), 0));
        }
    }
}
