//! What every component costs and does, counted where it happens.
//!
//! One [`ComponentCount`] per place of a component in a pipeline. It outlives the instances that
//! are made there one after the other, and ends with the handle. Locks a mutex; no guard outlives
//! a function here.

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

/// The numbers of one place, counted from its beginning.
#[derive(Debug)]
pub struct ComponentCount {
    digest: Digest,
    calls: AtomicU64,
    failed: AtomicU64,
    limits: AtomicU64,
    cpu_nanos: AtomicU64,
    memory: AtomicU64,
    memory_peak: AtomicU64,
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    lines: Arc<LineBudget>,
    log_dropped: AtomicU64,
    refused: AtomicU64,
    made: AtomicU64,
    configured: AtomicBool,
    last_failure: Mutex<Option<Arc<str>>>,
}

/// A count as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentNumbers {
    /// SHA-256 of the component's file.
    pub digest: Digest,
    /// Calls into the component, those that make an instance ready among them.
    pub calls: u64,
    /// Calls that ended an instance: traps, limits, malformed answers.
    pub failed: u64,
    /// Failed calls that were ended by a limit.
    pub limits: u64,
    /// Processor time of its calls, in nanoseconds.
    pub cpu_nanos: u64,
    /// Linear memory of its instance now, in bytes.
    pub memory: u64,
    /// The most that it ever was.
    pub memory_peak: u64,
    /// Rows that it was given.
    pub rows_in: u64,
    /// Rows that it gave.
    pub rows_out: u64,
    /// Lines of its log that were over the limit.
    pub log_dropped: u64,
    /// Sockets, connections, look-ups and texts of requests that were over a bound.
    pub refused: u64,
    /// Instances after the first one.
    pub restarts: u64,
    /// What the last failure was.
    pub last_failure: Option<Arc<str>>,
}

/// The count of one place.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Where in the pipeline, such as `cpu_sink/0`.
    pub place: Arc<str>,
    /// The component's name.
    pub component: Arc<str>,
    /// Its numbers, which go on.
    pub count: Arc<ComponentCount>,
}

impl ComponentCount {
    pub(super) fn new(digest: Digest) -> Self {
        Self::with_lines(digest, Arc::default())
    }

    fn with_lines(digest: Digest, lines: Arc<LineBudget>) -> Self {
        Self {
            digest,
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            limits: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            lines,
            log_dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            made: AtomicU64::new(0),
            configured: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        }
    }

    /// The numbers as they stand. They are read one after the other: a call that ends meanwhile
    /// may be in some of them.
    pub fn numbers(&self) -> ComponentNumbers {
        ComponentNumbers {
            digest: self.digest,
            calls: self.calls.load(Relaxed),
            failed: self.failed.load(Relaxed),
            limits: self.limits.load(Relaxed),
            cpu_nanos: self.cpu_nanos.load(Relaxed),
            memory: self.memory.load(Relaxed),
            memory_peak: self.memory_peak.load(Relaxed),
            rows_in: self.rows_in.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            log_dropped: self.log_dropped.load(Relaxed),
            refused: self.refused.load(Relaxed),
            restarts: self.made.load(Relaxed).saturating_sub(1),
            last_failure: held(&self.last_failure).clone(),
        }
    }

    pub(super) fn made(&self) {
        self.made.fetch_add(1, Relaxed);
    }

    /// An instance is configured. Whether one was before, with the same options: a place keeps its
    /// options for as long as its count.
    pub(super) fn configured(&self) -> bool {
        self.configured.swap(true, Relaxed)
    }

    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// A call ended the instance.
    pub(super) fn failed(&self, by_limit: bool, reason: &str) {
        self.failed.fetch_add(1, Relaxed);
        self.limits.fetch_add(u64::from(by_limit), Relaxed);
        *held(&self.last_failure) = Some(Arc::from(reason));
    }

    pub(super) fn rows(&self, given: usize, got: usize) {
        self.rows_in.fetch_add(given as u64, Relaxed);
        self.rows_out.fetch_add(got as u64, Relaxed);
    }

    pub(super) fn lines(&self) -> &LineBudget {
        &self.lines
    }

    /// Whether this place may write one more line to the log. One that may not is counted.
    pub(super) fn may_log(&self, component: &Arc<str>) -> bool {
        let may = self.lines.take(component, Instant::now());
        self.log_dropped.fetch_add(u64::from(!may), Relaxed);
        may
    }

    /// These lines were dropped without asking, right after one that might not be written.
    pub(super) fn drop_lines(&self, component: &Arc<str>, lines: u64) {
        self.lines.drop_lines(component, lines);
        self.log_dropped.fetch_add(lines, Relaxed);
    }

    /// Something was refused that would have been over a bound.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// An instance took more memory. By differences, because for a moment the next instance may
    /// be there before the last one has gone.
    pub(super) fn grew(&self, bytes: u64) {
        let now = self.memory.fetch_add(bytes, Relaxed).saturating_add(bytes);
        self.memory_peak.fetch_max(now, Relaxed);
    }

    /// An instance went, and its memory with it.
    pub(super) fn shrank(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
    }

    /// Adds the processor time that this work takes: measured around each of its turns, so that
    /// what others do on the thread in between is not counted.
    pub(super) async fn timed<T>(&self, processor: &Processor, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            processor.begin_turn();
            let result: Poll<T> = work.as_mut().poll(context);
            self.cpu_nanos.fetch_add(processor.end_turn(), Relaxed);
            result
        })
        .await
    }
}

/// A guard; a holder that panicked left a value that is whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All counts of a host.
#[derive(Debug, Default)]
pub(super) struct Counts {
    entries: Mutex<Vec<Listed>>,
    lines: Mutex<Budgets>,
}

/// The budgets of lines by place and component: what is made anew there goes on with the same.
type Budgets = HashMap<(Arc<str>, Arc<str>), Arc<LineBudget>>;

#[derive(Debug)]
struct Listed {
    place: Arc<str>,
    component: Arc<str>,
    count: Weak<ComponentCount>,
}

impl Counts {
    /// A new count, which is listed for as long as it is held.
    pub(super) fn add(
        &self,
        place: &str,
        component: &Arc<str>,
        digest: Digest,
    ) -> Arc<ComponentCount> {
        let (place, component) = (Arc::<str>::from(place), Arc::clone(component));
        let lines = self.budget(&place, &component);
        let count = Arc::new(ComponentCount::with_lines(digest, lines));
        let mut entries = held(&self.entries);
        entries.retain(|entry| entry.count.strong_count() > 0);
        entries.push(Listed { place, component, count: Arc::downgrade(&count) });
        count
    }

    fn budget(&self, place: &Arc<str>, component: &Arc<str>) -> Arc<LineBudget> {
        let (mut lines, now) = (held(&self.lines), Instant::now());
        // One that nobody uses is of no use to the next either, when its window is over.
        lines.retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.turn(now));
        let key = (Arc::clone(place), Arc::clone(component));
        Arc::clone(lines.entry(key).or_default())
    }

    /// Those that are still held, in the order in which they were made.
    pub(super) fn list(&self) -> Vec<Counted> {
        let listed = |entry: &Listed| {
            Some(Counted {
                place: Arc::clone(&entry.place),
                component: Arc::clone(&entry.component),
                count: entry.count.upgrade()?,
            })
        };
        held(&self.entries).iter().filter_map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::Bound;

    #[test]
    fn a_count_is_listed_for_as_long_as_it_is_held() {
        let counts = Counts::default();
        let name = Arc::from("rate");
        let one = counts.add("a/0", &name, Digest::from([1; 32]));
        let two = counts.add("b/0", &name, Digest::from([1; 32]));
        two.failed(true, "it wanted more");
        let places: Vec<Arc<str>> = counts.list().into_iter().map(|entry| entry.place).collect();
        assert_eq!(places, ["a/0".into(), "b/0".into()]);
        drop(one);
        let left = counts.list();
        assert_eq!(left.len(), 1);
        let numbers = left[0].count.numbers();
        assert_eq!((numbers.failed, numbers.limits, numbers.restarts), (1, 1, 0));
        assert_eq!(numbers.last_failure.as_deref(), Some("it wanted more"));
    }

    #[test]
    fn what_is_made_anew_in_a_place_has_no_new_budget_of_lines() {
        let (counts, name) = (Counts::default(), Arc::from("chatty"));
        let add = |place| counts.add(place, &name, Digest::from([1; 32]));
        let one = add("a/0");
        assert!((0..Bound::LogLines.most()).all(|_| one.may_log(&name)));
        assert!(!one.may_log(&name));
        drop(one);
        assert!(!add("a/0").may_log(&name));
        assert!(add("b/0").may_log(&name));
    }

    #[test]
    fn memory_has_a_peak_and_goes_with_its_instance() {
        let count = ComponentCount::new(Digest::from([0; 32]));
        count.grew(10);
        count.grew(20);
        count.shrank(30);
        count.grew(5);
        assert_eq!((count.numbers().memory, count.numbers().memory_peak), (5, 30));
    }

    #[tokio::test]
    async fn only_the_turns_of_the_work_are_timed() {
        let count = ComponentCount::new(Digest::from([0; 32]));
        let processor = Processor::default();
        let waiting = tokio::time::sleep(std::time::Duration::from_millis(50));
        count.timed(&processor, waiting).await;
        assert!(count.numbers().cpu_nanos < 40_000_000, "{}", count.numbers().cpu_nanos);
        let before = processor.used();
        let spin = async { while processor.used() < before + 20_000_000 {} };
        count.timed(&processor, spin).await;
        assert!(count.numbers().cpu_nanos >= 20_000_000, "{}", count.numbers().cpu_nanos);
    }
}
