//! The clocks that samples and gaps are dated with.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use nephometer_model::{Moment, Timestamp};

/// How often two clocks are read at most until the readings are close enough.
const READS: usize = 10;
/// Two readings that are at most so far apart belong to one instant, ns.
const CLOSE_NS: u64 = 20_000;

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Wall minus boot time when the agent started, ns: it lets the continuous clock go on after a
    /// reboot. Fixed for the life of the process, so that a step of the wall clock has no effect.
    boot_offset_ns: u64,
}

impl Clock {
    /// Fixes the offset of the continuous clock.
    pub fn start() -> Self {
        let (wall, boot) = wall_and_boot();
        Self::fixed(wall.as_nanos(), boot)
    }

    fn fixed(wall: u64, boot: u64) -> Self {
        Self { boot_offset_ns: wall.saturating_sub(boot) }
    }

    fn continuous(self, boot: u64) -> u64 {
        boot.saturating_add(self.boot_offset_ns)
    }

    /// Now, on all clocks.
    pub fn now(&self) -> Moment {
        let (wall, boot) = wall_and_boot();
        let (continuous, monotonic) = (self.continuous(boot), nanos(ClockId::CLOCK_MONOTONIC));
        Moment { wall, continuous: Some(continuous), monotonic: Some(monotonic) }
    }
}

/// Wall and boot time of one instant. If the thread is preempted between the two, they are read again:
/// their difference continues the clock in the next process, and an error in it is one of rates.
fn wall_and_boot() -> (Timestamp, u64) {
    let read = || {
        let (before, wall, after) =
            (nanos(ClockId::CLOCK_BOOTTIME), wall(), nanos(ClockId::CLOCK_BOOTTIME));
        let apart = after.saturating_sub(before);
        (apart, (wall, before + apart / 2))
    };
    let mut best = read();
    for _ in 1..READS {
        if best.0 <= CLOSE_NS {
            break;
        }
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// Read through the C library, so that tests can make it jump with libfaketime.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Read through the C library, so that tests can suspend the host. 0 if there is no such clock.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map(std::time::Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuous_clock_survives_a_reboot_and_ignores_steps_of_the_wall_clock() {
        let second = 1_000_000_000;
        // The machine is up for 900 s at 10,000 s of the wall clock.
        let before = Clock::fixed(10_000 * second, 900 * second);
        assert_eq!(before.continuous(905 * second), 10_005 * second);
        // A minute later it has been up for 20 s again: rates go on over 55 s.
        let after = Clock::fixed(10_060 * second, 20 * second);
        assert_eq!(after.continuous(20 * second), 10_060 * second);
        // Suspended time counts, unlike on the monotonic clock; the wall clock is not read again.
        assert_eq!(after.continuous(3_620 * second), 13_660 * second);
        assert!(after.now().monotonic <= after.now().continuous);
    }
}
