//! Processor time of a guest, without the time that it waits for the network.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};

/// What one call has used. Epochs cannot tell: the first check after a long wait is one as well.
#[derive(Debug, Default)]
pub(crate) struct Processor {
    /// In polls that have ended, nanoseconds.
    spent: AtomicU64,
    /// The clock of the thread when the poll began.
    since: AtomicU64,
}

impl Processor {
    /// A call begins.
    pub(crate) fn begin_call(&self) {
        self.spent.store(0, Relaxed);
        self.since.store(now(), Relaxed);
    }

    /// Nanoseconds. Asked within a poll.
    pub(crate) fn used(&self) -> u64 {
        let running = now().saturating_sub(self.since.load(Relaxed));
        self.spent.load(Relaxed).saturating_add(running)
    }
}

/// The clock of this thread, nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// A call whose polls are timed.
pub(crate) struct Metered<F> {
    call: Pin<Box<F>>,
    processor: Arc<Processor>,
}

impl<F> Metered<F> {
    pub(crate) fn new(call: F, processor: &Arc<Processor>) -> Self {
        Self { call: Box::pin(call), processor: Arc::clone(processor) }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Each poll may be on another thread, with another clock.
        self.processor.since.store(now(), Relaxed);
        let result = self.call.as_mut().poll(context);
        let used = self.processor.used();
        self.processor.spent.store(used, Relaxed);
        self.processor.since.store(now(), Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn waiting_costs_nothing_and_working_does() {
        let processor = Arc::new(Processor::default());
        processor.begin_call();
        Metered::new(tokio::time::sleep(Duration::from_millis(80)), &processor).await;
        let waited = processor.used();
        let work = async {
            let end = Instant::now() + Duration::from_millis(60);
            while Instant::now() < end {
                std::hint::black_box(end);
            }
        };
        Metered::new(work, &processor).await;
        assert!(waited < 40_000_000, "{waited}");
        assert!(processor.used() > waited);
    }
}
