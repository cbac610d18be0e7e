//! Processor time of a guest, without the time that it waits for the network or for its turn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

/// What one call has used. Epochs cannot tell: the first check after a long wait is one as well.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    /// In turns that have ended, nanoseconds.
    spent: AtomicU64,
    /// The clock of the thread when the turn began.
    since: AtomicU64,
    running: AtomicBool,
}

impl Processor {
    /// A call begins.
    pub(crate) fn begin_call(&self) {
        self.spent.store(0, Relaxed);
    }

    /// The call has its thread for a while: each turn may be on another one, with another clock.
    pub(crate) fn begin_turn(&self) {
        self.since.store(now(), Relaxed);
        self.running.store(true, Relaxed);
    }

    /// The turn is over. Nanoseconds that it took.
    pub(crate) fn end_turn(&self) -> u64 {
        let took = now().saturating_sub(self.since.load(Relaxed));
        self.spent.fetch_add(took, Relaxed);
        self.running.store(false, Relaxed);
        took
    }

    /// Nanoseconds of this call, with those of the turn that goes on.
    pub(crate) fn used(&self) -> u64 {
        let spent = self.spent.load(Relaxed);
        if !self.running.load(Relaxed) {
            return spent;
        }
        spent.saturating_add(now().saturating_sub(self.since.load(Relaxed)))
    }
}

/// The clock of this thread, nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_in_turns_is_counted_and_each_call_starts_anew() {
        let spin = || {
            let end = now() + 20_000_000;
            while now() < end {}
        };
        let processor = Processor::default();
        processor.begin_call();
        processor.begin_turn();
        spin();
        assert!(processor.used() >= 20_000_000);
        let turn = processor.end_turn();
        assert!(turn >= 20_000_000);
        let used = processor.used();
        spin();
        processor.begin_turn();
        assert!(processor.end_turn() < 10_000_000);
        assert!(processor.used() >= used);
        processor.begin_call();
        processor.begin_turn();
        assert!(processor.used() < 10_000_000);
    }
}
