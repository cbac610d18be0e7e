use std::collections::HashMap;

use uuid::Uuid;

/// What was added to counters since they were last read, for meters that are given as deltas.
///
/// Each poll task remembers for itself. Upstream's tasks share one memory, so that two intervals
/// take each other's growth; that is corrected without a way back.
#[derive(Debug, Default)]
pub(super) struct Growth(HashMap<Uuid, HashMap<(usize, String), u64>>);

impl Growth {
    /// The growth of a series of a domain, meter and device. The first reading has grown by
    /// nothing; a counter that fell began anew.
    pub(super) fn since_last(&mut self, domain: Uuid, meter: usize, device: &str, now: u64) -> u64 {
        let series = self.0.entry(domain).or_default();
        match series.insert((meter, device.to_owned()), now) {
            Some(before) => now.checked_sub(before).unwrap_or(now),
            None => 0,
        }
    }

    /// Forgets all domains but these.
    pub(super) fn retain(&mut self, there: impl Fn(Uuid) -> bool) {
        self.0.retain(|domain, _| there(*domain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_from_one_reading_to_the_next() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut growth = Growth::default();
        let mut of = |domain, meter, device, now| growth.since_last(domain, meter, device, now);
        assert_eq!(of(a, 1, "tap0", 50), 0);
        assert_eq!(of(a, 1, "tap0", 70), 20);
        assert_eq!(of(a, 2, "tap0", 5), 0, "another meter");
        assert_eq!(of(a, 1, "tap1", 5), 0, "another device");
        assert_eq!(of(b, 1, "tap0", 5), 0, "another domain");
        assert_eq!(of(a, 1, "tap0", 30), 30, "a reset");
        growth.retain(|domain| domain == b);
        assert_eq!(growth.since_last(a, 1, "tap0", 60), 0);
        assert_eq!(growth.since_last(b, 1, "tap0", 6), 1);
    }
}
