//! Counters of every component: calls, failures, processor time, memory, samples.
//!
//! There is one [`ComponentCounters`] per component in a pipeline. It outlives the component's
//! instances, and is dropped with its handle. No mutex guard outlives a function here.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Instant;

use super::cpu::Processor;
use super::digest::Digest;
use super::line_budget::LineBudget;

/// The counters of one component in a pipeline, from its start.
#[derive(Debug)]
pub struct ComponentCounters {
    digest: Digest,
    calls: AtomicU64,
    failed: AtomicU64,
    limits_exceeded: AtomicU64,
    cpu_nanos: AtomicU64,
    memory: AtomicU64,
    memory_peak: AtomicU64,
    samples_in: AtomicU64,
    samples_out: AtomicU64,
    lines: Arc<LineBudget>,
    log_dropped: AtomicU64,
    refused: AtomicU64,
    instances: AtomicU64,
    configured: AtomicBool,
    last_failure: Mutex<Option<Arc<str>>>,
}

/// A snapshot of [`ComponentCounters`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentStats {
    /// SHA-256 of the component file.
    pub digest: Digest,
    /// Calls into the component, including those that start an instance.
    pub calls: u64,
    /// Calls that ended an instance: traps, limits, malformed answers.
    pub failed: u64,
    /// Failed calls that exceeded a limit.
    pub limits_exceeded: u64,
    /// Processor time of its calls, nanoseconds.
    pub cpu_nanos: u64,
    /// Linear memory of its instance, bytes.
    pub memory: u64,
    /// Peak of `memory`, bytes.
    pub memory_peak: u64,
    /// Samples passed to the component.
    pub samples_in: u64,
    /// Samples returned by the component.
    pub samples_out: u64,
    /// Log lines dropped because of the limit.
    pub log_dropped: u64,
    /// Sockets, connections, lookups and request texts refused because of a bound.
    pub refused: u64,
    /// Instances after the first one.
    pub restarts: u64,
    /// Reason of the last failure.
    pub last_failure: Option<Arc<str>>,
}

/// A component in a pipeline, with its counters.
#[derive(Debug, Clone)]
pub struct ListedComponent {
    /// Location in the pipeline, such as `cpu_sink/0`.
    pub location: Arc<str>,
    /// The component's name.
    pub component: Arc<str>,
    /// The live counters.
    pub counters: Arc<ComponentCounters>,
}

impl ComponentCounters {
    pub(super) fn new(digest: Digest) -> Self {
        Self::with_lines(digest, Arc::default())
    }

    fn with_lines(digest: Digest, lines: Arc<LineBudget>) -> Self {
        Self {
            digest,
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            limits_exceeded: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            samples_in: AtomicU64::new(0),
            samples_out: AtomicU64::new(0),
            lines,
            log_dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            instances: AtomicU64::new(0),
            configured: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        }
    }

    /// The current values. Read one after the other: a call that ends in between may be in some of
    /// them only.
    pub fn stats(&self) -> ComponentStats {
        ComponentStats {
            digest: self.digest,
            calls: self.calls.load(Relaxed),
            failed: self.failed.load(Relaxed),
            limits_exceeded: self.limits_exceeded.load(Relaxed),
            cpu_nanos: self.cpu_nanos.load(Relaxed),
            memory: self.memory.load(Relaxed),
            memory_peak: self.memory_peak.load(Relaxed),
            samples_in: self.samples_in.load(Relaxed),
            samples_out: self.samples_out.load(Relaxed),
            log_dropped: self.log_dropped.load(Relaxed),
            refused: self.refused.load(Relaxed),
            restarts: self.instances.load(Relaxed).saturating_sub(1),
            last_failure: lock(&self.last_failure).clone(),
        }
    }

    pub(super) fn count_instance(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    /// Marks that an instance was configured, and returns whether an earlier one was: with the same
    /// options, because these do not change as long as the counters live.
    pub(super) fn mark_configured(&self) -> bool {
        self.configured.swap(true, Relaxed)
    }

    pub(super) fn count_call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Counts a call that ended the instance.
    pub(super) fn count_failure(&self, by_limit: bool, reason: &str) {
        self.failed.fetch_add(1, Relaxed);
        self.limits_exceeded.fetch_add(u64::from(by_limit), Relaxed);
        *lock(&self.last_failure) = Some(Arc::from(reason));
    }

    pub(super) fn count_samples(&self, passed: usize, returned: usize) {
        self.samples_in.fetch_add(passed as u64, Relaxed);
        self.samples_out.fetch_add(returned as u64, Relaxed);
    }

    pub(super) fn lines(&self) -> &LineBudget {
        &self.lines
    }

    /// Whether the component may log one more line. Counts refused ones.
    pub(super) fn may_log(&self, component: &Arc<str>) -> bool {
        let allowed = self.lines.try_take(component, Instant::now());
        self.log_dropped.fetch_add(u64::from(!allowed), Relaxed);
        allowed
    }

    /// Counts lines dropped without [`Self::may_log`], right after a refused one.
    pub(super) fn drop_lines(&self, component: &Arc<str>, lines: u64) {
        self.lines.drop_lines(component, lines);
        self.log_dropped.fetch_add(lines, Relaxed);
    }

    /// Counts a refusal because of a bound.
    pub(super) fn count_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Adds memory of an instance. Counted as differences, because the next instance may exist
    /// before the previous one is dropped.
    pub(super) fn memory_grew(&self, bytes: u64) {
        let now = self.memory.fetch_add(bytes, Relaxed).saturating_add(bytes);
        self.memory_peak.fetch_max(now, Relaxed);
    }

    /// Subtracts the memory of a dropped instance.
    pub(super) fn memory_freed(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
    }

    /// Adds the processor time of `work`. Measured around each poll, so that other work on the same
    /// thread is not counted.
    pub(super) async fn measure<T>(
        &self,
        processor: &Processor,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            processor.begin_poll();
            let result: Poll<T> = work.as_mut().poll(context);
            self.cpu_nanos.fetch_add(processor.end_poll(), Relaxed);
            result
        })
        .await
    }
}

/// Locks a mutex. Values stay valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The counters of all components of a host.
#[derive(Debug, Default)]
pub(super) struct CounterRegistry {
    entries: Mutex<Vec<CounterEntry>>,
    lines: Mutex<LineBudgets>,
}

/// Line budgets by location and component: a component that is replaced keeps its budget.
type LineBudgets = HashMap<(Arc<str>, Arc<str>), Arc<LineBudget>>;

#[derive(Debug)]
struct CounterEntry {
    location: Arc<str>,
    component: Arc<str>,
    counters: Weak<ComponentCounters>,
}

impl CounterRegistry {
    /// Creates counters, which are listed until dropped.
    pub(super) fn add(
        &self,
        location: &str,
        component: &Arc<str>,
        digest: Digest,
    ) -> Arc<ComponentCounters> {
        let (location, component) = (Arc::<str>::from(location), Arc::clone(component));
        let lines = self.budget(&location, &component);
        let counters = Arc::new(ComponentCounters::with_lines(digest, lines));
        let mut entries = lock(&self.entries);
        entries.retain(|entry| entry.counters.strong_count() > 0);
        entries.push(CounterEntry { location, component, counters: Arc::downgrade(&counters) });
        counters
    }

    fn budget(&self, location: &Arc<str>, component: &Arc<str>) -> Arc<LineBudget> {
        let (mut lines, now) = (lock(&self.lines), Instant::now());
        // An unused budget is dropped once its window is over: a new one would be equal.
        lines.retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.end_window(now));
        let key = (Arc::clone(location), Arc::clone(component));
        Arc::clone(lines.entry(key).or_default())
    }

    /// All live counters, in order of creation.
    pub(super) fn list(&self) -> Vec<ListedComponent> {
        let listed = |entry: &CounterEntry| {
            Some(ListedComponent {
                location: Arc::clone(&entry.location),
                component: Arc::clone(&entry.component),
                counters: entry.counters.upgrade()?,
            })
        };
        lock(&self.entries).iter().filter_map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::Bound;

    #[test]
    fn counters_are_listed_until_dropped() {
        let registry = CounterRegistry::default();
        let name = Arc::from("rate");
        let one = registry.add("a/0", &name, Digest::from([1; 32]));
        let two = registry.add("b/0", &name, Digest::from([1; 32]));
        two.count_failure(true, "too much memory");
        let locations: Vec<Arc<str>> =
            registry.list().into_iter().map(|entry| entry.location).collect();
        assert_eq!(locations, ["a/0".into(), "b/0".into()]);
        drop(one);
        let left = registry.list();
        assert_eq!(left.len(), 1);
        let stats = left[0].counters.stats();
        assert_eq!((stats.failed, stats.limits_exceeded, stats.restarts), (1, 1, 0));
        assert_eq!(stats.last_failure.as_deref(), Some("too much memory"));
    }

    #[test]
    fn replaced_component_keeps_its_line_budget() {
        let (registry, name) = (CounterRegistry::default(), Arc::from("chatty"));
        let add = |location| registry.add(location, &name, Digest::from([1; 32]));
        let one = add("a/0");
        assert!((0..Bound::LogLines.most()).all(|_| one.may_log(&name)));
        assert!(!one.may_log(&name));
        drop(one);
        assert!(!add("a/0").may_log(&name));
        assert!(add("b/0").may_log(&name));
    }

    #[test]
    fn memory_is_freed_with_its_instance_and_has_a_peak() {
        let counters = ComponentCounters::new(Digest::from([0; 32]));
        counters.memory_grew(10);
        counters.memory_grew(20);
        counters.memory_freed(30);
        counters.memory_grew(5);
        assert_eq!((counters.stats().memory, counters.stats().memory_peak), (5, 30));
    }

    #[tokio::test]
    async fn only_polls_are_measured() {
        let counters = ComponentCounters::new(Digest::from([0; 32]));
        let processor = Processor::default();
        let waiting = tokio::time::sleep(std::time::Duration::from_millis(50));
        counters.measure(&processor, waiting).await;
        assert!(counters.stats().cpu_nanos < 40_000_000, "{}", counters.stats().cpu_nanos);
        let before = processor.used();
        let spin = async { while processor.used() < before + 20_000_000 {} };
        counters.measure(&processor, spin).await;
        assert!(counters.stats().cpu_nanos >= 20_000_000, "{}", counters.stats().cpu_nanos);
    }
}
