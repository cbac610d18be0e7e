//! When to ask again.

use std::time::Duration;

use uuid::Uuid;

/// The delay after the first failure; it doubles with each one that follows.
const FIRST: Duration = Duration::from_secs(5);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(300);

/// The delay after the `failures`th failure in a row, counted from 1: between half and all of the
/// doubled delay, and at least what the service asked for.
pub(crate) fn after_failures(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    doubled.mul_f64(0.5 + spread() / 2.0).max(asked.unwrap_or_default())
}

/// An interval, shortened by up to a tenth, so that the agents of many hosts do not ask at once.
pub(crate) fn spread_out(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - spread() / 10.0)
}

/// A number from 0 to 1, another one each time.
fn spread() -> f64 {
    let [first, second, ..] = Uuid::new_v4().into_bytes();
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_are_spread() {
        for (failures, most) in [(1, 5), (2, 10), (4, 40), (7, 300), (u32::MAX, 300)] {
            let most = Duration::from_secs(most);
            let delays: Vec<Duration> = (0..64).map(|_| after_failures(failures, None)).collect();
            assert!(delays.iter().all(|delay| *delay >= most / 2 && *delay <= most), "{delays:?}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
        }
        let asked = Duration::from_secs(900);
        assert_eq!(after_failures(1, Some(asked)), asked);
        let minute = Duration::from_secs(60);
        assert!((54..=60).contains(&spread_out(minute).as_secs()));
    }
}
