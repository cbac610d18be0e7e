//! What each place of a component does and uses.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// One place of a component: what all instances there have done since the agent started.
#[derive(Debug, Default)]
pub struct ComponentCount {
    /// Calls of any kind.
    pub calls: AtomicU64,
    /// Calls that ended the instance: traps, limits, malformed answers.
    pub failures: AtomicU64,
    /// Of these, calls that a limit ended.
    pub limits_hit: AtomicU64,
    /// Processor time in calls, nanoseconds, with what the host does for them.
    pub cpu: AtomicU64,
    /// Linear memory of the instance that is at work, bytes.
    pub memory: AtomicU64,
    /// The most that any instance had, bytes.
    pub memory_peak: AtomicU64,
    /// Rows that were handed over.
    pub rows_in: AtomicU64,
    /// Rows that came back.
    pub rows_out: AtomicU64,
    /// Lines of its log that were dropped.
    pub lines_dropped: AtomicU64,
    /// Instances that were made.
    pub instances: AtomicU64,
}

impl ComponentCount {
    /// For `nephometer component status --json`.
    pub fn to_json(&self) -> Value {
        let load = |count: &AtomicU64| count.load(Relaxed);
        json!({
            "calls": load(&self.calls),
            "failures": load(&self.failures),
            "limits_hit": load(&self.limits_hit),
            "cpu_seconds": Duration::from_nanos(load(&self.cpu)).as_secs_f64(),
            "memory_bytes": load(&self.memory),
            "memory_peak_bytes": load(&self.memory_peak),
            "rows_in": load(&self.rows_in),
            "rows_out": load(&self.rows_out),
            "lines_dropped": load(&self.lines_dropped),
            "restarts": load(&self.instances).saturating_sub(1),
        })
    }
}

/// All places, as long as somebody uses them.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeMap<(String, Arc<str>), Weak<ComponentCount>>>);

impl Places {
    /// Locked to look or to add, never over a call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Arc<str>), Weak<ComponentCount>>> {
        // Nothing between lock and unlock can panic half-way, so that the map is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of a component at its place: the same ones again for the one that takes over.
    pub(super) fn of(&self, place: &str, name: &Arc<str>) -> Arc<ComponentCount> {
        let mut places = self.lock();
        places.retain(|_, count| count.strong_count() > 0);
        let key = (place.to_owned(), Arc::clone(name));
        if let Some(count) = places.get(&key).and_then(Weak::upgrade) {
            return count;
        }
        let count = Arc::<ComponentCount>::default();
        places.insert(key, Arc::downgrade(&count));
        count
    }

    /// All that are in use.
    pub(super) fn all(&self) -> Vec<(String, Arc<str>, Arc<ComponentCount>)> {
        let known = |(key, count): (&(String, Arc<str>), &Weak<ComponentCount>)| {
            let (place, name) = key.clone();
            Some((place, name, count.upgrade()?))
        };
        self.lock().iter().filter_map(known).collect()
    }
}

/// Adds the processor time of a call to a count: that of its thread while the call is polled, so
/// that waiting costs nothing.
pub(super) struct Timed<'a, F> {
    pub(super) call: Pin<Box<F>>,
    pub(super) cpu: &'a AtomicU64,
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_time();
        let polled = self.call.as_mut().poll(cx);
        self.cpu.fetch_add(thread_time().saturating_sub(before), Relaxed);
        polled
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
    fn a_place_keeps_its_counts_while_somebody_holds_them() {
        let places = Places::default();
        let name: Arc<str> = "rate".into();
        let first = places.of("sink/0", &name);
        first.calls.store(3, Relaxed);
        assert_eq!(places.of("sink/0", &name).calls.load(Relaxed), 3);
        assert_eq!(places.of("sink/1", &name).calls.load(Relaxed), 0);
        drop(first);
        assert!(places.all().is_empty());
        assert_eq!(places.of("sink/0", &name).calls.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn waiting_is_not_counted_and_working_is() {
        let cpu = AtomicU64::new(0);
        let wait = tokio::time::sleep(Duration::from_millis(200));
        Timed { call: Box::pin(wait), cpu: &cpu }.await;
        let waited = cpu.swap(0, Relaxed);
        let work = async {
            let begun = thread_time();
            while thread_time() - begun < 30_000_000 {}
        };
        Timed { call: Box::pin(work), cpu: &cpu }.await;
        assert!(waited < 20_000_000 && cpu.load(Relaxed) >= 30_000_000);
    }
}
