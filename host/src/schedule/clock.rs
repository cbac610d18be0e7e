use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Moment, Timestamp};

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Wall minus boot time when the agent started, ns: what makes the continuous clock go on
    /// after a reboot. Fixed for the life of the process, so that a step of the wall clock is not
    /// seen.
    offset: u64,
}

impl Clock {
    /// Fixes the offset of the continuous clock.
    pub fn start() -> Self {
        let wall = wall().as_nanos();
        Self { offset: wall.saturating_sub(nanos(ClockId::Boottime)) }
    }

    /// Now, on all clocks.
    pub fn now(&self) -> Moment {
        Moment {
            wall: wall(),
            continuous: Some(nanos(ClockId::Boottime).saturating_add(self.offset)),
            monotonic: Some(nanos(ClockId::Monotonic)),
        }
    }
}

/// Asked through the C library, as by everybody else, so that tests can make it jump.
#[expect(clippy::disallowed_methods, reason = "the one place that asks for the time")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
