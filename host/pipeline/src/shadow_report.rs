//! How the output of a shadow differs from that of the live transformer.
//!
//! Samples are compared without their ids, in order if they agree, otherwise by meter, resource and
//! time. Owns the counts; runs nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transform::MissedBatches;
use nephometer_model::{Bound, Sample, Timestamp, Volume};

/// What a shadow is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ShadowState {
    /// It is being built, which may include compiling.
    #[default]
    Preparing,
    /// It gets what the live transformer gets.
    Comparing,
    /// It has missed batches, or failed, for this reason, and begins again from the live state soon.
    Waiting(String),
    /// It does not run, for this reason.
    Stopped(String),
}

impl ShadowState {
    /// The state as `status` reports it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Comparing => "comparing",
            Self::Waiting(_) => "waiting",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Why it compares nothing, if there is a reason to report.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Preparing | Self::Comparing => None,
            Self::Waiting(reason) | Self::Stopped(reason) => Some(reason),
        }
    }
}

/// A sample that is not the same in both outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleDifference {
    /// What differs: `volume`, `unit`, `type`, `owner` or `metadata`; `missing` if only the live
    /// transformer returned it, `extra` if only the shadow did.
    pub what: &'static str,
    /// The meter.
    pub meter: Arc<str>,
    /// The resource.
    pub resource: Arc<str>,
    /// The time of the sample.
    pub time: Timestamp,
    /// The value of the live one.
    pub live: Option<Volume>,
    /// The value of the shadow.
    pub shadow: Option<Volume>,
}

/// A sum of values: whole numbers exactly, others as doubles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VolumeSum {
    whole: i128,
    rest: f64,
}

impl VolumeSum {
    pub(crate) fn add(&mut self, volume: Volume) {
        match volume {
            Volume::Integer(whole) => self.whole = self.whole.saturating_add(whole),
            Volume::Float(rest) => self.rest += rest,
        }
    }

    /// How much more another sum is.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { whole: other.whole.saturating_sub(self.whole), rest: other.rest - self.rest }
    }

    /// The sum; a whole number if all values are whole.
    #[expect(clippy::cast_precision_loss, reason = "a sum with fractions is a double")]
    pub fn volume(self) -> Volume {
        if self.rest == 0.0 {
            return Volume::Integer(self.whole);
        }
        Volume::Float(self.whole as f64 + self.rest)
    }
}

/// Both outputs of one meter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeterComparison {
    /// The sum of the live values.
    pub live: VolumeSum,
    /// The sum of the shadow's values.
    pub shadow: VolumeSum,
    /// Samples of the live one.
    pub live_samples: u64,
    /// Samples of the shadow.
    pub shadow_samples: u64,
    /// Samples that differ.
    pub differing: u64,
}

/// What was compared so far.
#[derive(Debug, Clone, Default)]
pub struct ShadowProgress {
    /// What the shadow is doing.
    pub state: ShadowState,
    /// Batches that both have processed.
    pub batches: u64,
    /// Samples that the live one returned for them.
    pub samples: u64,
    /// Samples that are not the same in both, and those that only one returned.
    pub differing: u64,
    /// Of these, those that only the live one returned.
    pub missing: u64,
    /// Of these, those that only the shadow returned.
    pub extra: u64,
    /// The first of them.
    pub first: Option<SampleDifference>,
    /// By meter; the first [`Bound::ShadowMeters`] of them.
    pub meters: BTreeMap<Arc<str>, MeterComparison>,
    /// Batches that the shadow did not get, because it was too slow or being built.
    pub missed_batches: u64,
    /// Samples in them.
    pub missed_samples: u64,
    /// Samples that bypassed the live one, because it had failed on them.
    pub skipped: u64,
    /// Calls that ended an instance of the shadow.
    pub failures: u64,
    /// The reason of the last one.
    pub last_failure: Option<String>,
    /// How often it began from the live state.
    pub starts: u64,
    /// Whether it began without a state, because it refuses that of the live one.
    pub is_reset: bool,
}

impl ShadowProgress {
    /// Whether the shadow runs, and all that the live one returned since it began was compared.
    pub fn is_complete(&self) -> bool {
        let is_missing = self.missed_batches > 0 || self.skipped > 0 || self.failures > 0;
        self.state == ShadowState::Comparing && !is_missing && !self.is_reset
    }
}

/// The progress of one shadow, for those who run it and those who ask. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct ShadowReport(Arc<SharedReport>);

#[derive(Debug, Default)]
struct SharedReport {
    progress: Mutex<ShadowProgress>,
    missed: Arc<MissedBatches>,
}

impl ShadowReport {
    /// What was compared so far.
    pub fn progress(&self) -> ShadowProgress {
        let missed = &self.0.missed;
        let (missed_batches, missed_samples) =
            (missed.batches.load(Relaxed), missed.samples.load(Relaxed));
        ShadowProgress { missed_batches, missed_samples, ..self.lock().clone() }
    }

    /// Reports that the shadow cannot run.
    pub fn stop(&self, reason: String) {
        self.set_state(ShadowState::Stopped(reason));
    }

    pub(crate) fn missed(&self) -> &Arc<MissedBatches> {
        &self.0.missed
    }

    pub(crate) fn set_state(&self, state: ShadowState) {
        self.lock().state = state;
    }

    pub(crate) fn started(&self, is_reset: bool) {
        let mut progress = self.lock();
        progress.starts += 1;
        progress.is_reset |= is_reset;
        progress.state = ShadowState::Comparing;
    }

    /// Counts a failure. Returns their number.
    pub(crate) fn failed(&self, reason: &str) -> u64 {
        let mut progress = self.lock();
        progress.failures += 1;
        progress.last_failure = Some(reason.to_owned());
        progress.failures
    }

    pub(crate) fn skip(&self, samples: usize) {
        self.lock().skipped += samples as u64;
    }

    pub(crate) fn end_batch(&self) {
        self.lock().batches += 1;
    }

    /// Compares two outputs of one call.
    pub(crate) fn compare(&self, live: &[Sample], shadow: &[Sample]) {
        self.lock().compare(live, shadow, &mut |_, _, _| {});
    }

    fn lock(&self) -> MutexGuard<'_, ShadowProgress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Meter, resource and time.
type SampleKey<'a> = (&'a str, &'a str, Timestamp);

fn key(sample: &Sample) -> SampleKey<'_> {
    (&sample.meter.name, &sample.resource.id, sample.taken.wall)
}

/// Gets each difference: what it is, the sample of the live one, and that of the shadow.
type OnDifference<'a> = dyn FnMut(&'static str, Option<&Sample>, Option<&Sample>) + 'a;

impl ShadowProgress {
    /// Compares two outputs of the same input.
    pub(crate) fn compare(
        &mut self,
        live: &[Sample],
        shadow: &[Sample],
        on_difference: &mut OnDifference<'_>,
    ) {
        self.samples += live.len() as u64;
        let equal = live.len() == shadow.len()
            && live.iter().zip(shadow).all(|(live, shadow)| difference(live, shadow).is_none());
        for sample in live {
            if let Some(meter) = self.meter(&sample.meter.name) {
                meter.live.add(sample.volume);
                meter.live_samples += 1;
            }
        }
        for sample in shadow {
            if let Some(meter) = self.meter(&sample.meter.name) {
                meter.shadow.add(sample.volume);
                meter.shadow_samples += 1;
            }
        }
        if !equal {
            self.compare_by_key(live, shadow, on_difference);
        }
    }

    /// The sums of a meter; `None` beyond the bound.
    fn meter(&mut self, name: &Arc<str>) -> Option<&mut MeterComparison> {
        if !self.meters.contains_key(name) {
            Bound::ShadowMeters.check(self.meters.len() + 1).ok()?;
            self.meters.insert(Arc::clone(name), MeterComparison::default());
        }
        self.meters.get_mut(name)
    }

    /// Finds the sample of the shadow for each live one, and what is left.
    fn compare_by_key(
        &mut self,
        live: &[Sample],
        shadow: &[Sample],
        on_difference: &mut OnDifference<'_>,
    ) {
        let mut differs = |what: &'static str, live: Option<&Sample>, shadow: Option<&Sample>| {
            on_difference(what, live, shadow);
            self.differs(what, live, shadow);
        };
        let mut unmatched: HashMap<SampleKey<'_>, VecDeque<&Sample>> = HashMap::new();
        for sample in shadow {
            unmatched.entry(key(sample)).or_default().push_back(sample);
        }
        for sample in live {
            match unmatched.get_mut(&key(sample)).and_then(VecDeque::pop_front) {
                Some(other) => {
                    if let Some(what) = difference(sample, other) {
                        differs(what, Some(sample), Some(other));
                    }
                }
                None => differs("missing", Some(sample), None),
            }
        }
        for sample in shadow {
            let left = unmatched.get(&key(sample)).into_iter().flatten();
            if left.into_iter().any(|one| std::ptr::eq(*one, sample)) {
                differs("extra", None, Some(sample));
            }
        }
    }

    fn differs(&mut self, what: &'static str, live: Option<&Sample>, shadow: Option<&Sample>) {
        let Some(sample) = live.or(shadow) else { return };
        self.differing += 1;
        self.missing += u64::from(shadow.is_none());
        self.extra += u64::from(live.is_none());
        if let Some(meter) = self.meter(&sample.meter.name) {
            meter.differing += 1;
        }
        self.first.get_or_insert_with(|| SampleDifference {
            what,
            meter: Arc::clone(&sample.meter.name),
            resource: Arc::clone(&sample.resource.id),
            time: sample.taken.wall,
            live: live.map(|sample| sample.volume),
            shadow: shadow.map(|sample| sample.volume),
        });
    }
}

/// What differs between two samples, apart from their ids.
fn difference(one: &Sample, other: &Sample) -> Option<&'static str> {
    if key(one) != key(other) {
        return Some("missing");
    }
    let owner = |sample: &Sample| {
        let resource = &sample.resource;
        (resource.source.clone(), resource.project_id.clone(), resource.user_id.clone())
    };
    let same_resource = Arc::ptr_eq(&one.resource, &other.resource);
    let (a, b) = (&one.meter, &other.meter);
    let checks = [
        ("volume", one.volume == other.volume),
        ("unit", a.unit == b.unit),
        ("type", a.kind == b.kind),
        ("owner", same_resource || owner(one) == owner(other)),
        ("metadata", same_resource || one.resource.metadata == other.resource.metadata),
    ];
    checks.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}
