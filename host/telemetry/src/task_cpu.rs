//! The processor time of the agent's tasks, by part of the agent.
//!
//! A task's time is that of its thread while the task is polled. What a task starts on other threads is
//! theirs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};

/// The tasks of one part of the agent.
#[derive(Debug, Clone, Default)]
pub struct TaskCpu(Arc<AtomicU64>);

impl TaskCpu {
    /// Counts the time of this task.
    pub fn measure<F: Future>(&self, task: F) -> MeasuredTask<F> {
        MeasuredTask { nanos: Arc::clone(&self.0), task: Box::pin(task) }
    }
}

/// The tasks of all parts since the start.
#[derive(Debug, Default)]
pub struct TaskTimes(Mutex<BTreeMap<&'static str, TaskCpu>>);

impl TaskTimes {
    /// The tasks of a part.
    pub fn part(&self, name: &'static str) -> TaskCpu {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry(name).or_default().clone()
    }

    /// Nanoseconds of processor time by part.
    pub fn nanos(&self) -> BTreeMap<&'static str, u64> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(name, part)| (*name, part.0.load(Relaxed))).collect()
    }
}

/// A task whose processor time is counted.
pub struct MeasuredTask<F> {
    nanos: Arc<AtomicU64>,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for MeasuredTask<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = thread_nanos();
        let polled = self.task.as_mut().poll(context);
        self.nanos.fetch_add(thread_nanos().saturating_sub(before), Relaxed);
        polled
    }
}

/// Nanoseconds of processor time of this thread.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The kernel never returns a negative time.
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_time_of_a_task_is_counted_for_its_part() {
        let times = TaskTimes::default();
        let busy = async {
            let mut sum = 0_u64;
            while sum < 10_000 {
                std::hint::black_box(thread_nanos());
                sum += 1;
            }
        };
        let mut task = times.part("sinks").measure(busy);
        drop(times.part("router"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut task).poll(&mut context).is_ready());
        let nanos = times.nanos();
        assert!(nanos["sinks"] > 100_000 && nanos["router"] == 0, "{nanos:?}");
    }
}
