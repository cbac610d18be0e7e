//! What a guard has found: how the output of a new revision differs from what the revision before makes
//! of the same batches, and whether that is beyond the bounds.
//!
//! Owns the counts and what a correction needs; runs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::shadow_report::{MeterComparison, ShadowProgress, VolumeSum};
use nephometer_config::GuardSpec;
use nephometer_model::{Batch, Bound, Sample, Timestamp, Volume};

/// Bounds are not judged before a source has had so many cycles: the first ones after a reload may
/// differ in time only.
const SETTLING_CYCLES: u32 = 3;
/// Processor time of the new revision below which costs are not judged, in nanoseconds.
const LEAST_COST: u64 = 50_000_000;

/// What a guard compares, and for how long.
#[derive(Debug, Clone)]
pub struct GuardPlan {
    /// The bounds.
    pub bounds: GuardSpec,
    /// The sources of the sink with their intervals.
    pub sources: Vec<(Arc<str>, Duration)>,
    /// The components with other code, separated by commas.
    pub components: String,
}

/// The state of a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardState {
    /// Both revisions process all batches.
    Comparing,
    /// The output went beyond a bound, for this reason: the sink rolls back before its next batch.
    Exceeded(String),
    /// The revision before runs again, for this reason.
    RolledBack(String),
    /// The output stayed within the bounds.
    Passed,
    /// It ended without a result, for this reason. The new revision runs.
    Ended(String),
}

impl GuardState {
    /// The state as `status` reports it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Comparing => "comparing",
            Self::Exceeded(_) => "exceeded",
            Self::RolledBack(_) => "rolled_back",
            Self::Passed => "passed",
            Self::Ended(_) => "ended",
        }
    }

    /// Why it is in this state.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Comparing | Self::Passed => None,
            Self::Exceeded(reason) | Self::RolledBack(reason) | Self::Ended(reason) => Some(reason),
        }
    }
}

/// A meter of a resource, with its sums in both outputs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeriesComparison {
    /// Samples that were published.
    pub published: u64,
    /// Their sum.
    pub published_sum: VolumeSum,
    /// Samples of the revision before.
    pub expected: u64,
    /// Their sum.
    pub expected_sum: VolumeSum,
    /// Samples that differ, or that only one of them has.
    pub differing: u64,
    /// Times of the first and the last of these.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// A sample that the revision before would not have published, or not like this.
#[derive(Debug, Clone)]
pub struct CorrectedSample {
    /// What differs; `missing` if only the revision before has it, `extra` if it was only published.
    pub what: &'static str,
    /// The meter.
    pub meter: Arc<str>,
    /// The resource.
    pub resource: Arc<str>,
    /// The time of the sample.
    pub time: Timestamp,
    /// The published one.
    pub published: Option<(Uuid, Volume)>,
    /// What the revision before makes in its place.
    pub expected: Option<Volume>,
}

/// What a guard has found so far. In `comparison`, `live` is the revision before, and `shadow` is what was
/// published.
#[derive(Debug, Clone)]
pub struct GuardProgress {
    /// The state.
    pub state: GuardState,
    /// Polling cycles of the source with the fewest.
    pub cycles: u32,
    /// Samples and sums.
    pub comparison: ShadowProgress,
    /// Series that only the revision before has.
    pub absent: u64,
    /// Published samples that were not compared.
    pub uncompared: u64,
    /// Processor time per sample of the new revision and of the one before, in nanoseconds.
    pub cost: Option<(f64, f64)>,
}

/// The meter and the resource of a series.
pub(crate) type SeriesKey = (Arc<str>, Arc<str>);

/// What was published and has to be corrected, by one new revision.
#[derive(Debug, Clone)]
pub struct GuardCorrection {
    /// The components with other code.
    pub components: String,
    /// Series that differ, by meter and resource.
    pub series: Vec<(SeriesKey, SeriesComparison)>,
    /// The samples that differ.
    pub samples: Vec<CorrectedSample>,
    /// Series beyond [`Bound::GuardSeries`], by sample.
    pub series_omitted: u64,
    /// Samples beyond [`Bound::GuardCorrections`].
    pub samples_omitted: u64,
    /// Published samples that were not compared.
    pub uncompared: u64,
}

/// The progress of one guard. A clone is the same.
#[derive(Debug, Clone)]
pub struct GuardReport(Arc<SharedGuard>);

#[derive(Debug)]
struct SharedGuard {
    plan: GuardPlan,
    /// That of an earlier new revision with the same one before.
    earlier: OnceLock<GuardReport>,
    begun: Instant,
    counts: Mutex<GuardCounts>,
}

#[derive(Debug)]
struct GuardCounts {
    state: GuardState,
    comparison: ShadowProgress,
    series: HashMap<SeriesKey, SeriesComparison>,
    series_omitted: u64,
    samples: Vec<CorrectedSample>,
    samples_omitted: u64,
    uncompared: u64,
    /// By source: the first and the last cycle.
    cycles: HashMap<Arc<str>, (Timestamp, Timestamp)>,
    /// Samples in batches after the first, and the processor time of both then and now.
    cost_samples: u64,
    cost: Option<[(u64, u64); 2]>,
}

impl GuardReport {
    /// The report of a guard that begins.
    pub fn new(plan: GuardPlan) -> Self {
        let counts = GuardCounts {
            state: GuardState::Comparing,
            comparison: ShadowProgress::default(),
            series: HashMap::new(),
            series_omitted: 0,
            samples: Vec::new(),
            samples_omitted: 0,
            uncompared: 0,
            cycles: HashMap::new(),
            cost_samples: 0,
            cost: None,
        };
        let (begun, counts) = (Instant::now(), Mutex::new(counts));
        Self(Arc::new(SharedGuard { plan, earlier: OnceLock::new(), begun, counts }))
    }

    /// The plan.
    pub fn plan(&self) -> &GuardPlan {
        &self.0.plan
    }

    /// The state.
    pub fn state(&self) -> GuardState {
        self.lock().state.clone()
    }

    /// What was found so far.
    pub fn progress(&self) -> GuardProgress {
        let counts = self.lock();
        GuardProgress {
            state: counts.state.clone(),
            cycles: counts.cycles(&self.0.plan).0,
            comparison: counts.comparison.clone(),
            absent: counts.absent().count() as u64,
            uncompared: counts.uncompared,
            cost: counts.cost_per_sample(),
        }
    }

    /// What has to be corrected, the earliest revision first.
    pub fn corrections(&self) -> Vec<GuardCorrection> {
        let mut all = self.0.earlier.get().map_or_else(Vec::new, Self::corrections);
        let counts = self.lock();
        let differs = counts.series.iter().filter(|(_, one)| one.differing > 0);
        let mut series: Vec<_> = differs.map(|(key, one)| (key.clone(), *one)).collect();
        series.sort_by(|one, other| one.0.cmp(&other.0));
        all.push(GuardCorrection {
            components: self.0.plan.components.clone(),
            series,
            samples: counts.samples.clone(),
            series_omitted: counts.series_omitted,
            samples_omitted: counts.samples_omitted,
            uncompared: counts.uncompared,
        });
        all
    }

    /// Makes an earlier report part of what has to be corrected, and ends that.
    pub(crate) fn follow(&self, earlier: &Self) {
        earlier.end("another reload has replaced the new version".to_owned());
        // A report follows one other at most.
        drop(self.0.earlier.set(earlier.clone()));
    }

    /// Ends it without a result, unless it has one.
    pub fn end(&self, reason: String) {
        let mut counts = self.lock();
        if counts.state == GuardState::Comparing {
            counts.state = GuardState::Ended(reason);
        }
    }

    pub(crate) fn rolled_back(&self, reason: &str) {
        self.lock().state = GuardState::RolledBack(reason.to_owned());
    }

    /// Counts published samples that cannot be compared.
    pub(crate) fn uncompared(&self, samples: usize) {
        self.lock().uncompared += samples as u64;
    }

    /// Compares what was published for a batch with what the revision before makes of it. `cpu` is the
    /// processor time of both so far.
    pub(crate) fn compare(
        &self,
        input: &Batch,
        published: &[Sample],
        expected: &[Sample],
        cpu: (u64, u64),
    ) {
        let mut guard = self.lock();
        let counts = &mut *guard;
        match counts.state {
            GuardState::Comparing | GuardState::Exceeded(_) => {}
            GuardState::Passed => return,
            GuardState::Ended(_) | GuardState::RolledBack(_) => {
                counts.uncompared += published.len() as u64;
                return;
            }
        }
        counts.add(published, expected);
        let time = input.cycle_start.wall;
        let span = counts.cycles.entry(Arc::clone(&input.source)).or_insert((time, time));
        span.1 = span.1.max(time);
        match &mut counts.cost {
            None => counts.cost = Some([cpu, cpu]),
            Some([_, now]) => {
                *now = cpu;
                counts.cost_samples += input.samples.len() as u64;
            }
        }
        if counts.state == GuardState::Comparing {
            let is_late = self.0.begun.elapsed() > self.0.plan.longest();
            if let Some(state) = counts.judge(&self.0.plan, is_late) {
                counts.state = state;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, GuardCounts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuardPlan {
    /// A guard ends after this time even if a source had fewer cycles: it may be gone.
    fn longest(&self) -> Duration {
        let interval = self.sources.iter().map(|(_, interval)| *interval).max();
        interval.unwrap_or_default().saturating_mul(self.bounds.cycles).saturating_mul(2)
    }
}

impl GuardCounts {
    fn add(&mut self, published: &[Sample], expected: &[Sample]) {
        let Self { comparison, series, series_omitted, samples, samples_omitted, .. } = self;
        for (list, is_published) in [(published, true), (expected, false)] {
            for sample in list {
                let Some(one) = entry(series, sample) else {
                    *series_omitted += 1;
                    continue;
                };
                let (count, sum) = if is_published {
                    (&mut one.published, &mut one.published_sum)
                } else {
                    (&mut one.expected, &mut one.expected_sum)
                };
                *count += 1;
                sum.add(sample.volume);
            }
        }
        comparison.compare(expected, published, &mut |what, expected, published| {
            let Some(sample) = published.or(expected) else { return };
            let time = sample.taken.wall;
            if let Some(one) = entry(series, sample) {
                one.differing += 1;
                let (first, last) = one.span.unwrap_or((time, time));
                one.span = Some((first.min(time), last.max(time)));
            }
            if Bound::GuardCorrections.check(samples.len() + 1).is_err() {
                *samples_omitted += 1;
                return;
            }
            samples.push(CorrectedSample {
                what,
                meter: Arc::clone(&sample.meter.name),
                resource: Arc::clone(&sample.resource.id),
                time,
                published: published.map(|one| (one.id, one.volume)),
                expected: expected.map(|one| one.volume),
            });
        });
        comparison.batches += 1;
    }

    /// Cycles of the source with the fewest, and of the one with the most.
    fn cycles(&self, plan: &GuardPlan) -> (u32, u32) {
        let cycles = |(source, interval): &(Arc<str>, Duration)| {
            let Some((first, last)) = self.cycles.get(source) else { return 0 };
            let nanos = last.as_nanos().saturating_sub(first.as_nanos());
            let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
            // Cycles do not begin to the nanosecond, and events of domains are none.
            let whole = (nanos.saturating_add(interval / 2)) / interval;
            u32::try_from(whole).unwrap_or(u32::MAX).saturating_add(1)
        };
        let all = || plan.sources.iter().map(cycles);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }

    fn absent(&self) -> impl Iterator<Item = &SeriesKey> {
        let absent = self.series.iter().filter(|(_, one)| one.published == 0 && one.expected > 0);
        absent.map(|(key, _)| key)
    }

    /// Nanoseconds per sample of the new revision and of the one before.
    fn cost_per_sample(&self) -> Option<(f64, f64)> {
        let [before, now] = self.cost?;
        let samples = Duration::from_nanos(self.cost_samples);
        let each = |before: u64, now: u64| {
            Duration::from_nanos(now.saturating_sub(before)).div_duration_f64(samples)
        };
        (self.cost_samples > 0).then(|| (each(before.0, now.0), each(before.1, now.1)))
    }

    /// The state that follows, if it is another.
    fn judge(&self, plan: &GuardPlan, is_late: bool) -> Option<GuardState> {
        let (fewest, most) = self.cycles(plan);
        if most < SETTLING_CYCLES.min(plan.bounds.cycles) {
            return None;
        }
        let is_over = fewest >= plan.bounds.cycles || is_late;
        let reason = self.output_exceeds(&plan.bounds);
        let reason = reason.or_else(|| is_over.then(|| self.cost_exceeds(&plan.bounds)).flatten());
        match reason {
            Some(reason) => Some(GuardState::Exceeded(reason)),
            None => is_over.then_some(GuardState::Passed),
        }
    }

    fn output_exceeds(&self, bounds: &GuardSpec) -> Option<String> {
        let meters = self.comparison.meters.iter();
        // A meter that only the new revision has is no meter of a bill so far.
        for (meter, one) in meters.filter(|(_, one)| one.live_samples > 0) {
            let MeterComparison { live, shadow, live_samples, shadow_samples, .. } = one;
            let (new, old) = (*shadow_samples, *live_samples);
            if let Some(far) = beyond(float(new), float(old), bounds.samples) {
                return Some(format!(
                    "{new} samples of {meter} in place of {old}: {far} (guard.samples)"
                ));
            }
            let (new, old) = (shadow.volume(), live.volume());
            if let Some(far) = beyond(new.as_f64(), old.as_f64(), bounds.sums) {
                let (new, old) = (new.as_f64(), old.as_f64());
                return Some(format!(
                    "the sum of {meter} is {new} in place of {old}: {far} (guard.sums)"
                ));
            }
        }
        let absent = self.absent().count() as u64;
        if absent > bounds.absent {
            let (meter, resource) = self.absent().min()?;
            return Some(format!(
                "{absent} series are absent, such as {meter} of {resource}: more than {} (guard.absent)",
                bounds.absent
            ));
        }
        None
    }

    fn cost_exceeds(&self, bounds: &GuardSpec) -> Option<String> {
        let [before, now] = self.cost?;
        let (new, old) = self.cost_per_sample()?;
        let is_measured = now.0.saturating_sub(before.0) >= LEAST_COST;
        (is_measured && new > old * f64::from(bounds.cost)).then(|| {
            format!(
                "a sample costs {:.2} us in place of {:.2} us: more than {} times (guard.cost)",
                new / 1e3,
                old / 1e3,
                bounds.cost
            )
        })
    }
}

/// How far a value is from another, if that is more than so many percent of it.
fn beyond(new: f64, old: f64, percent: u32) -> Option<String> {
    let far = (new - old).abs();
    let is_beyond = far > old.abs() * f64::from(percent) / 100.0;
    is_beyond.then(|| {
        if old == 0.0 {
            return "not the same".to_owned();
        }
        format!("{:.1}% off, more than {percent}%", 100.0 * far / old.abs())
    })
}

fn float(count: u64) -> f64 {
    Volume::Integer(i128::from(count)).as_f64()
}

/// The sums of the series of a sample; `None` beyond the bound.
fn entry<'a>(
    series: &'a mut HashMap<SeriesKey, SeriesComparison>,
    sample: &Sample,
) -> Option<&'a mut SeriesComparison> {
    let key = (Arc::clone(&sample.meter.name), Arc::clone(&sample.resource.id));
    let is_full = Bound::GuardSeries.check(series.len() + 1).is_err();
    if is_full && !series.contains_key(&key) {
        return None;
    }
    Some(series.entry(key).or_default())
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
