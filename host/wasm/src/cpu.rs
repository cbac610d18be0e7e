//! Measures the processor time of a guest: not the time it waits for the network or for a thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of one call. Counting epochs would not do: they also pass while a guest waits.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    /// Used in finished polls, nanoseconds.
    spent: AtomicU64,
    /// The thread's clock when the current poll began, nanoseconds.
    since: AtomicU64,
    running: AtomicBool,
}

impl Processor {
    /// Resets the time for a new call.
    pub(crate) fn begin_call(&self) {
        self.spent.store(0, Relaxed);
    }

    /// Starts a poll of the call. Each poll may run on another thread, with another clock.
    pub(crate) fn begin_poll(&self) {
        self.since.store(thread_time(), Relaxed);
        self.running.store(true, Relaxed);
    }

    /// Ends the poll and returns its processor time in nanoseconds.
    pub(crate) fn end_poll(&self) -> u64 {
        let took = thread_time().saturating_sub(self.since.load(Relaxed));
        self.spent.fetch_add(took, Relaxed);
        self.running.store(false, Relaxed);
        took
    }

    /// Processor time of the call so far in nanoseconds, the current poll included.
    pub(crate) fn used(&self) -> u64 {
        let spent = self.spent.load(Relaxed);
        if !self.running.load(Relaxed) {
            return spent;
        }
        spent.saturating_add(thread_time().saturating_sub(self.since.load(Relaxed)))
    }
}

/// Processor time of this thread, nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_polls_are_counted_and_each_call_starts_at_zero() {
        let spin = || {
            let end = thread_time() + 20_000_000;
            while thread_time() < end {}
        };
        let processor = Processor::default();
        processor.begin_call();
        processor.begin_poll();
        spin();
        assert!(processor.used() >= 20_000_000);
        let poll = processor.end_poll();
        assert!(poll >= 20_000_000);
        let used = processor.used();
        spin();
        processor.begin_poll();
        assert!(processor.end_poll() < 10_000_000);
        assert!(processor.used() >= used);
        processor.begin_call();
        processor.begin_poll();
        assert!(processor.used() < 10_000_000);
    }
}
