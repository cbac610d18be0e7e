//! Exponential backoff with a spread.

use std::time::Duration;

/// Delays between attempts: they double up to a bound, and are spread, so that the agents of many
/// hosts do not reconnect to a broker at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// For publishers: from 1 s to 30 s.
    pub(crate) const PUBLISHER: Self = Self::new(Duration::from_secs(1), Duration::from_secs(30));

    /// A delay of `first`, which doubles up to `max`.
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The delay after the `failures`th failure in a row, counted from 1: between half and all of
    /// the doubled delay. `spread`, a number that differs between hosts, selects where.
    pub(crate) fn delay(self, failures: u32, spread: u16) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = full / 2;
        half + half * u32::from(spread) / u32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_within_bounds_and_grow(failures: u32, spread: u16) {
            let backoff = Backoff::PUBLISHER;
            let delay = backoff.delay(failures, spread);
            prop_assert!(delay >= Duration::from_millis(500));
            prop_assert!(delay <= Duration::from_secs(30));
            prop_assert!(backoff.delay(failures.saturating_add(1), spread) >= delay);
        }
    }

    #[test]
    fn the_maximum_delay_is_reached() {
        assert_eq!(Backoff::PUBLISHER.delay(1, u16::MAX), Duration::from_secs(1));
        assert_eq!(Backoff::PUBLISHER.delay(3, u16::MAX), Duration::from_secs(4));
        assert_eq!(Backoff::PUBLISHER.delay(u32::MAX, u16::MAX), Duration::from_secs(30));
        assert_eq!(Backoff::PUBLISHER.delay(9, 0), Duration::from_secs(15));
    }
}
