//! What polling has done, by interval and by source: for metrics and health.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of the durations of cycles, in seconds.
pub const CYCLE_SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The outcome of one polling cycle.
#[derive(Debug, Clone, Default)]
pub struct CycleSummary {
    /// How long it took.
    pub took: Duration,
    /// Domains by state: `healthy`, or the reason why values are missing.
    pub domains: BTreeMap<&'static str, u64>,
}

/// All cycles of one interval.
#[derive(Debug, Clone)]
pub struct IntervalStats {
    /// Cycles that took at most [`CYCLE_SECONDS`], each with those before; all.
    pub buckets: [u64; CYCLE_SECONDS.len()],
    /// The number of cycles.
    pub cycles: u64,
    /// Seconds that they took together.
    pub seconds: f64,
    /// When the last one ended.
    pub last: Instant,
    /// Domains by state in the last one.
    pub domains: BTreeMap<&'static str, u64>,
}

/// All samples and gaps of one source.
#[derive(Debug, Clone, Default)]
pub struct SourceStats {
    /// Samples.
    pub samples: u64,
    /// Gaps that were reported, by reason.
    pub gaps: BTreeMap<&'static str, u64>,
}

/// What polling has done since the agent started. Locks are held for a moment only.
#[derive(Debug, Default)]
pub struct PollingStats {
    intervals: Mutex<BTreeMap<Duration, IntervalStats>>,
    sources: Mutex<BTreeMap<String, SourceStats>>,
    /// Why domains cannot be listed, and since when.
    unlistable: Mutex<Option<(String, Instant)>>,
}

impl PollingStats {
    /// Adds a cycle.
    pub fn add_cycle(&self, interval: Duration, cycle: CycleSummary) {
        let mut intervals = lock(&self.intervals);
        let stats = intervals.entry(interval).or_insert_with(|| IntervalStats {
            buckets: [0; CYCLE_SECONDS.len()],
            cycles: 0,
            seconds: 0.0,
            last: Instant::now(),
            domains: BTreeMap::new(),
        });
        let seconds = cycle.took.as_secs_f64();
        for (bucket, most) in stats.buckets.iter_mut().zip(CYCLE_SECONDS) {
            *bucket += u64::from(seconds <= most);
        }
        stats.cycles += 1;
        stats.seconds += seconds;
        stats.last = Instant::now();
        stats.domains = cycle.domains;
    }

    /// Adds a batch of a source, with the reasons of its gaps.
    pub fn add_batch(
        &self,
        source: &str,
        samples: u64,
        gaps: impl IntoIterator<Item = &'static str>,
    ) {
        let mut sources = lock(&self.sources);
        if !sources.contains_key(source) {
            sources.insert(source.to_owned(), SourceStats::default());
        }
        let Some(stats) = sources.get_mut(source) else { return };
        stats.samples += samples;
        for reason in gaps {
            *stats.gaps.entry(reason).or_default() += 1;
        }
    }

    /// Records whether domains can be listed, or why not.
    pub fn set_listable(&self, failure: Option<String>) {
        let mut unlistable = lock(&self.unlistable);
        match failure {
            None => *unlistable = None,
            Some(reason) if unlistable.is_none() => *unlistable = Some((reason, Instant::now())),
            Some(_) => {}
        }
    }

    /// Why domains cannot be listed, and for how long.
    pub fn unlistable(&self) -> Option<(String, Duration)> {
        lock(&self.unlistable).as_ref().map(|(reason, since)| (reason.clone(), since.elapsed()))
    }

    /// The cycles by interval.
    pub fn intervals(&self) -> BTreeMap<Duration, IntervalStats> {
        lock(&self.intervals).clone()
    }

    /// Forgets intervals that are not polled any more.
    pub fn retain(&self, intervals: &[Duration]) {
        lock(&self.intervals).retain(|interval, _| intervals.contains(interval));
    }

    /// The batches by source.
    pub fn sources(&self) -> BTreeMap<String, SourceStats> {
        lock(&self.sources).clone()
    }
}

/// No code under these locks panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_cumulative_buckets() {
        let stats = PollingStats::default();
        for ms in [5, 30, 20_000] {
            let took = Duration::from_millis(ms);
            stats.add_cycle(Duration::from_secs(1), CycleSummary { took, ..Default::default() });
        }
        let found = &stats.intervals()[&Duration::from_secs(1)];
        assert_eq!(found.buckets, [1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((found.cycles, found.seconds), (3, 20.035));
        stats.retain(&[]);
        assert!(stats.intervals().is_empty());
    }

    #[test]
    fn the_first_failure_to_list_is_kept_until_it_ends() {
        let stats = PollingStats::default();
        stats.set_listable(Some("a".to_owned()));
        stats.set_listable(Some("b".to_owned()));
        assert_eq!(stats.unlistable().unwrap().0, "a");
        stats.set_listable(None);
        assert_eq!(stats.unlistable(), None);
    }
}
