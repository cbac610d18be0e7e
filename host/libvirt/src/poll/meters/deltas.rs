//! The growth of counters between readings, for meters that are deltas.

use std::collections::HashMap;

use uuid::Uuid;

/// The last value of each counter.
///
/// Each poll task has its own. In Ceilometer all tasks share one memory, so that two intervals take
/// each other's growth; this bug is not reproduced, not even as a quirk.
#[derive(Debug, Default)]
pub(super) struct CounterDeltas(HashMap<Uuid, HashMap<(usize, String), u64>>);

impl CounterDeltas {
    /// Stores the value of a counter and returns its growth since the last one: 0 for the first
    /// value. A counter that fell was reset, and has grown by its new value.
    pub(super) fn since_last(&mut self, domain: Uuid, meter: usize, device: &str, now: u64) -> u64 {
        let series = self.0.entry(domain).or_default();
        match series.insert((meter, device.to_owned()), now) {
            Some(before) => now.checked_sub(before).unwrap_or(now),
            None => 0,
        }
    }

    /// Forgets domains that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(Uuid) -> bool) {
        self.0.retain(|domain, _| exists(*domain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_is_the_growth_since_the_last_reading() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut deltas = CounterDeltas::default();
        let mut delta = |domain, meter, device, now| deltas.since_last(domain, meter, device, now);
        assert_eq!(delta(a, 1, "tap0", 50), 0);
        assert_eq!(delta(a, 1, "tap0", 70), 20);
        assert_eq!(delta(a, 2, "tap0", 5), 0, "another meter");
        assert_eq!(delta(a, 1, "tap1", 5), 0, "another device");
        assert_eq!(delta(b, 1, "tap0", 5), 0, "another domain");
        assert_eq!(delta(a, 1, "tap0", 30), 30, "a reset");
        deltas.retain(|domain| domain == b);
        assert_eq!(deltas.since_last(a, 1, "tap0", 60), 0);
        assert_eq!(deltas.since_last(b, 1, "tap0", 6), 1);
    }
}
