//! The clocks that samples and gaps are dated with.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use nephometer_model::{Moment, Timestamp};

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
        Self::fixed(wall().as_nanos(), nanos(ClockId::Boottime))
    }

    fn fixed(wall: u64, boot: u64) -> Self {
        Self { boot_offset_ns: wall.saturating_sub(boot) }
    }

    fn continuous(self, boot: u64) -> u64 {
        boot.saturating_add(self.boot_offset_ns)
    }

    /// Now, on all clocks.
    pub fn now(&self) -> Moment {
        Moment {
            wall: wall(),
            continuous: Some(self.continuous(nanos(ClockId::Boottime))),
            monotonic: Some(nanos(ClockId::Monotonic)),
        }
    }
}

/// Read through the C library, so that tests can make it jump with libfaketime.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
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
