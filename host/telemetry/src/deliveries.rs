//! Attempts of a publisher to deliver: how long they took, and how many failed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the durations of attempts, in seconds.
pub const DELIVERY_SECONDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

/// The attempts since the agent started. Not stored.
#[derive(Debug, Default)]
pub struct DeliveryStats(Mutex<Deliveries>);

/// A snapshot of [`DeliveryStats`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deliveries {
    /// Attempts that took at most [`DELIVERY_SECONDS`], each with those before.
    pub buckets: [u64; DELIVERY_SECONDS.len()],
    /// All attempts.
    pub attempts: u64,
    /// Attempts after which an envelope has to be sent again.
    pub failed: u64,
    /// Seconds that all attempts took together.
    pub seconds: f64,
    /// Envelopes that are being sent.
    pub in_flight: u64,
}

impl DeliveryStats {
    /// An attempt with this many envelopes begins.
    pub fn begin(&self, envelopes: u64) {
        self.lock().in_flight = envelopes;
    }

    /// The attempt has ended.
    pub fn end(&self, took: Duration, failed: bool) {
        let mut known = self.lock();
        let seconds = took.as_secs_f64();
        for (bucket, most) in known.buckets.iter_mut().zip(DELIVERY_SECONDS) {
            *bucket += u64::from(seconds <= most);
        }
        known.attempts += 1;
        known.failed += u64::from(failed);
        known.seconds += seconds;
        known.in_flight = 0;
    }

    /// The attempts so far.
    pub fn snapshot(&self) -> Deliveries {
        self.lock().clone()
    }

    /// No code under the lock panics half-way.
    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_duration_and_result() {
        let stats = DeliveryStats::default();
        stats.begin(7);
        assert_eq!(stats.snapshot().in_flight, 7);
        stats.end(Duration::from_millis(3), true);
        stats.end(Duration::from_secs(60), false);
        let found = stats.snapshot();
        assert_eq!((found.attempts, found.failed, found.in_flight), (2, 1, 0));
        assert_eq!(found.buckets, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(found.seconds, 60.003);
    }
}
