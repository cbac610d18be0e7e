use std::time::Duration;

/// How long to wait between tries: twice as long each time, up to a bound, and spread, so that the
/// agents of many hosts do not come back to one broker all at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// For publishers: from a second to half a minute.
    pub(crate) const PUBLISHER: Self = Self::new(Duration::from_secs(1), Duration::from_secs(30));

    /// From `first`, twice as long each time, up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after the `failures`th failure in a row, from 1: between half and all of what
    /// doubling gives. `spread`, any number that differs between hosts, decides where.
    pub(crate) fn delay(self, failures: u32, spread: u16) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let half = whole / 2;
        half + half * u32::from(spread) / u32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_grow(failures: u32, spread: u16) {
            let backoff = Backoff::PUBLISHER;
            let delay = backoff.delay(failures, spread);
            prop_assert!(delay >= Duration::from_millis(500));
            prop_assert!(delay <= Duration::from_secs(30));
            prop_assert!(backoff.delay(failures.saturating_add(1), spread) >= delay);
        }
    }

    #[test]
    fn the_longest_wait_is_reached() {
        assert_eq!(Backoff::PUBLISHER.delay(1, u16::MAX), Duration::from_secs(1));
        assert_eq!(Backoff::PUBLISHER.delay(3, u16::MAX), Duration::from_secs(4));
        assert_eq!(Backoff::PUBLISHER.delay(u32::MAX, u16::MAX), Duration::from_secs(30));
        assert_eq!(Backoff::PUBLISHER.delay(9, 0), Duration::from_secs(15));
    }
}
