//! The timer of polling cycles.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Ticks at a fixed rate, measured from start to start. Ticks never overlap; missed ones are
/// skipped, not made up for.
#[derive(Debug)]
pub(crate) struct Ticker {
    interval: Duration,
    next: Instant,
}

/// One tick of a [`Ticker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Ticks skipped before this one because the work of an earlier one outlasted the interval.
    pub skipped: u64,
}

impl Ticker {
    /// The first tick comes after `delay`.
    pub(crate) fn new(interval: Duration, delay: Duration) -> Self {
        Self { interval, next: Instant::now() + delay }
    }

    /// Waits for the next tick.
    pub(crate) async fn tick(&mut self) -> Tick {
        let (due, skipped) = due(self.next, Instant::now(), self.interval);
        sleep_until(due).await;
        self.next = due + self.interval;
        Tick { skipped }
    }
}

/// When the tick planned for `next` comes, and how many before it are skipped. The phase is kept: a
/// tick that is late by less than an interval comes at once, and the following one on time.
fn due(next: Instant, now: Instant, interval: Duration) -> (Instant, u64) {
    let late = now.saturating_duration_since(next);
    let skipped = late.as_nanos() / interval.as_nanos().max(1);
    let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
    (next + interval * skipped, u64::from(skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_phase_and_counts_skipped_ticks() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let interval = Duration::from_secs(10);
        for (next, now, expected) in [
            (0, 0, (0, 0)),
            (10, 3, (10, 0)),
            (20, 29, (20, 0)),
            (20, 35, (30, 1)),
            (20, 40, (40, 2)),
        ] {
            let (due, skipped) = due(at(next), at(now), interval);
            assert_eq!((due, skipped), (at(expected.0), expected.1), "next {next}, now {now}");
        }
    }
}
