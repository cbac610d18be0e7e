//! Finds periods with missing samples: from when to when, of which domain, and why.
//!
//! Pure bookkeeping. It owns when each domain was last read and which gaps are open; it must not
//! read domains, and it does not store gaps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use nephometer_model::{Domain, GapReason, Moment, Timestamp};

/// The meter of gaps. Only sources that name it get it.
pub(super) const METER: &str = "nephometer.gap";
/// The prefix of the agent's own meters.
pub(super) const PREFIX: &str = "nephometer.";

/// A polling cycle that starts later than this many intervals after the previous one leaves a gap.
const LATE_FACTOR: f64 = 1.5;
/// Shortest suspension of the host that is reported, ns. The clocks that count suspended time and
/// those that do not may differ by less without one.
const MIN_SUSPENSION_NS: u64 = 1_000_000_000;

/// Reasons that concern all meters of a domain.
const WHOLE_DOMAIN: [GapReason; 3] = [GapReason::Stuck, GapReason::Timeout, GapReason::Failed];

/// Reasons that last as long as the domain has its devices.
const DEVICES: [GapReason; 2] = [GapReason::NoDiskStatistics, GapReason::NoInterfaceStatistics];

/// Tracks which periods are covered by readings.
#[derive(Debug)]
pub(super) struct GapTracker {
    /// Expected time between cycles; `None` if cycles have no fixed interval.
    interval: Option<Duration>,
    last_cycle: Option<Moment>,
    /// End of the period accounted for so far, by a reading or as a gap.
    covered_until: HashMap<Uuid, Timestamp>,
    /// Start of each open gap.
    open_since: HashMap<(Uuid, GapReason), Timestamp>,
    /// Meters seen so far of each domain, by index in [`super::meters::Meters::all`].
    known_meters: HashMap<Uuid, BTreeSet<usize>>,
}

/// A period without samples. Consecutive cycles report consecutive parts of one gap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MissingPeriod {
    /// `None`: all domains.
    pub domain: Option<Arc<Domain>>,
    pub reason: GapReason,
    /// Start of the whole gap.
    pub begin: Timestamp,
    /// Start of the part that is reported now.
    pub from: Timestamp,
    pub until: Timestamp,
    /// Indices of the missing meters; `None`: all selected ones.
    pub meters: Option<Vec<usize>>,
}

/// One successful reading of one domain.
pub(super) struct DomainObservation<'a> {
    pub domain: &'a Arc<Domain>,
    pub taken: Timestamp,
    /// Indices of the meters that have a sample.
    pub meters: BTreeSet<usize>,
    /// Whether a different set of meters is expected: the domain is shut off, or its devices
    /// changed.
    pub changed: bool,
    /// Whether the samples lack what Nova's API knows.
    pub lacking: bool,
    /// Kinds of devices without numbers, each with the indices of the meters that it lacks.
    pub uncounted: Vec<(GapReason, Vec<usize>)>,
}

impl GapTracker {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self {
            interval,
            last_cycle: None,
            covered_until: HashMap::new(),
            open_since: HashMap::new(),
            known_meters: HashMap::new(),
        }
    }

    /// Starts a cycle. Returns the period since the previous one if it concerns all domains.
    /// `last_polled` is the time of the last cycle of an earlier run.
    pub(super) fn begin_cycle(
        &mut self,
        cycle: Moment,
        last_polled: Option<Timestamp>,
    ) -> Option<MissingPeriod> {
        let last = self.last_cycle.replace(cycle);
        let late = self.interval?.mul_f64(LATE_FACTOR);
        let all = |reason, from| MissingPeriod {
            domain: None,
            reason,
            begin: from,
            from,
            until: cycle.wall,
            meters: None,
        };
        let Some(last) = last else {
            let last_polled = last_polled?;
            let since =
                Duration::from_nanos(cycle.wall.as_nanos().saturating_sub(last_polled.as_nanos()));
            return (since > late).then(|| all(GapReason::AgentDown, last_polled));
        };
        let awake = elapsed(last.monotonic, cycle.monotonic);
        let suspended = elapsed(last.continuous, cycle.continuous).saturating_sub(awake);
        if suspended > MIN_SUSPENSION_NS {
            return Some(all(GapReason::Suspended, last.wall));
        }
        (Duration::from_nanos(awake) > late).then(|| all(GapReason::Skipped, last.wall))
    }

    /// Records that a domain could not be read.
    pub(super) fn record_missing(
        &mut self,
        cycle: Moment,
        domain: &Arc<Domain>,
        reason: GapReason,
    ) -> MissingPeriod {
        let until = cycle.wall;
        let from = self.covered_until.insert(domain.uuid, until).unwrap_or(until);
        let begin = *self.open_since.entry((domain.uuid, reason)).or_insert(from);
        let domain = Some(Arc::clone(domain));
        MissingPeriod { domain, reason, begin, from, until, meters: None }
    }

    /// Records a reading. Closes the gaps of the whole domain; a known meter without a sample opens
    /// or extends a partial one.
    pub(super) fn record_reading(&mut self, observed: DomainObservation<'_>) -> Vec<MissingPeriod> {
        let DomainObservation { domain, taken: until, meters, changed, lacking, uncounted } =
            observed;
        let uuid = domain.uuid;
        let from = self.covered_until.insert(uuid, until).unwrap_or(until);
        let mut missing = Vec::new();
        for reason in WHOLE_DOMAIN {
            if let Some(begin) = self.open_since.remove(&(uuid, reason)) {
                let domain = Some(Arc::clone(domain));
                missing.push(MissingPeriod { domain, reason, begin, from, until, meters: None });
            }
        }
        let key = (uuid, GapReason::Metadata);
        if lacking {
            let begin = *self.open_since.entry(key).or_insert(from);
            let (domain, reason) = (Some(Arc::clone(domain)), GapReason::Metadata);
            missing.push(MissingPeriod { domain, reason, begin, from, until, meters: None });
        } else {
            self.open_since.remove(&key);
        }
        let known = self.known_meters.entry(uuid).or_default();
        if changed {
            *known = meters;
            self.open_since.remove(&(uuid, GapReason::Partial));
            missing.extend(self.record_devices(domain, uncounted, (from, until)));
            return missing;
        }
        let lost: Vec<usize> = known.difference(&meters).copied().collect();
        known.extend(meters);
        // Meters that were there before and are not any more have one reason, not two: QEMU may just be slow.
        let is_open = |reason: GapReason| self.open_since.contains_key(&(uuid, reason));
        let uncounted = uncounted.into_iter().filter(|(reason, meters)| {
            is_open(*reason) || !meters.iter().any(|meter| lost.contains(meter))
        });
        let uncounted = uncounted.collect();
        missing.extend(self.record_devices(domain, uncounted, (from, until)));
        if lost.is_empty() {
            self.open_since.remove(&(uuid, GapReason::Partial));
        } else {
            let reason = GapReason::Partial;
            let begin = *self.open_since.entry((uuid, reason)).or_insert(from);
            let domain = Some(Arc::clone(domain));
            let meters = Some(lost);
            missing.push(MissingPeriod { domain, reason, begin, from, until, meters });
        }
        missing
    }

    /// Opens or extends the gaps of devices without numbers, and closes the others.
    fn record_devices(
        &mut self,
        domain: &Arc<Domain>,
        uncounted: Vec<(GapReason, Vec<usize>)>,
        (from, until): (Timestamp, Timestamp),
    ) -> Vec<MissingPeriod> {
        for reason in DEVICES {
            if !uncounted.iter().any(|(open, _)| *open == reason) {
                self.open_since.remove(&(domain.uuid, reason));
            }
        }
        let period = |(reason, meters)| {
            let begin = *self.open_since.entry((domain.uuid, reason)).or_insert(from);
            let (domain, meters) = (Some(Arc::clone(domain)), Some(meters));
            MissingPeriod { domain, reason, begin, from, until, meters }
        };
        uncounted.into_iter().map(period).collect()
    }

    /// Time of the last successful reading of a domain. `None` if it was never read.
    pub(super) fn last_reading(&self, uuid: Uuid) -> Option<Timestamp> {
        if !self.known_meters.contains_key(&uuid) {
            return None;
        }
        // An open gap extends `covered_until` without a reading; it began at the last one.
        let open = WHOLE_DOMAIN.iter().filter_map(|why| self.open_since.get(&(uuid, *why))).min();
        open.or_else(|| self.covered_until.get(&uuid)).copied()
    }

    /// Records that a domain has stopped: closes its open gaps and forgets it.
    pub(super) fn record_stop(
        &mut self,
        domain: &Arc<Domain>,
        until: Timestamp,
    ) -> Vec<MissingPeriod> {
        let uuid = domain.uuid;
        let from = self.covered_until.get(&uuid).copied().unwrap_or(until);
        let missing = WHOLE_DOMAIN.iter().filter_map(|reason| {
            let begin = self.open_since.remove(&(uuid, *reason))?;
            let domain = Some(Arc::clone(domain));
            Some(MissingPeriod { domain, reason: *reason, begin, from, until, meters: None })
        });
        let missing = missing.collect();
        self.retain(|other| other != uuid);
        missing
    }

    /// Forgets domains that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(Uuid) -> bool) {
        self.covered_until.retain(|uuid, _| exists(*uuid));
        self.known_meters.retain(|uuid, _| exists(*uuid));
        self.open_since.retain(|(uuid, _), _| exists(*uuid));
    }
}

fn elapsed(from: Option<u64>, to: Option<u64>) -> u64 {
    from.zip(to).map_or(0, |(from, to)| to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, asleep: u64) -> Moment {
        let nanos = |seconds: u64| seconds * 1_000_000_000;
        Moment {
            wall: Timestamp::from_nanos(nanos(seconds)),
            continuous: Some(nanos(seconds)),
            monotonic: Some(nanos(seconds - asleep)),
        }
    }

    fn seconds(missed: &MissingPeriod) -> (GapReason, u64, u64, u64) {
        let whole = |time: Timestamp| time.as_nanos() / 1_000_000_000;
        (missed.reason, whole(missed.begin), whole(missed.from), whole(missed.until))
    }

    #[test]
    fn a_gap_of_all_domains_has_its_reason() {
        let interval = Duration::from_secs(10);
        let first = |last_polled: Option<u64>| {
            let last_polled = last_polled.map(|at| Timestamp::from_nanos(at * 1_000_000_000));
            GapTracker::new(Some(interval))
                .begin_cycle(at(100, 0), last_polled)
                .as_ref()
                .map(seconds)
        };
        assert_eq!(first(None), None);
        assert_eq!(first(Some(90)), None);
        assert_eq!(first(Some(70)), Some((GapReason::AgentDown, 70, 70, 100)));
        let mut gaps = GapTracker::new(Some(interval));
        gaps.begin_cycle(at(100, 0), None);
        assert_eq!(gaps.begin_cycle(at(110, 0), None), None);
        let skipped = gaps.begin_cycle(at(140, 0), None);
        assert_eq!(skipped.as_ref().map(seconds), Some((GapReason::Skipped, 110, 110, 140)));
        let suspended = gaps.begin_cycle(at(900, 750), None);
        assert_eq!(suspended.as_ref().map(seconds), Some((GapReason::Suspended, 140, 140, 900)));
    }

    #[test]
    fn reading_closes_the_gap_of_a_domain_and_a_lost_meter_opens_one() {
        let domain = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::default() });
        let mut gaps = GapTracker::new(Some(Duration::from_secs(10)));
        let read = |gaps: &mut GapTracker, time: u64, meters: &[usize], changed: bool| {
            let taken = at(time, 0).wall;
            let meters = meters.iter().copied().collect();
            let (domain, lacking, uncounted) = (&domain, false, Vec::new());
            let observed = DomainObservation { domain, taken, meters, changed, lacking, uncounted };
            let missed = gaps.record_reading(observed);
            missed.iter().map(|one| (seconds(one), one.meters.clone())).collect::<Vec<_>>()
        };
        assert!(read(&mut gaps, 10, &[1, 2], false).is_empty());
        let missed = gaps.record_missing(at(20, 0), &domain, GapReason::Stuck);
        assert_eq!(seconds(&missed), (GapReason::Stuck, 10, 10, 20));
        let missed = gaps.record_missing(at(30, 0), &domain, GapReason::Stuck);
        assert_eq!(seconds(&missed), (GapReason::Stuck, 10, 20, 30));
        let closed = read(&mut gaps, 40, &[1], false);
        let lost = ((GapReason::Partial, 30, 30, 40), Some(vec![2]));
        assert_eq!(closed, [((GapReason::Stuck, 10, 30, 40), None), lost]);
        let still = read(&mut gaps, 50, &[1], false);
        assert_eq!(still, [((GapReason::Partial, 30, 40, 50), Some(vec![2]))]);
        assert!(read(&mut gaps, 60, &[1, 2], false).is_empty());
        assert!(read(&mut gaps, 70, &[1], true).is_empty(), "its devices changed");
        assert!(read(&mut gaps, 80, &[1], false).is_empty());
    }

    #[test]
    fn device_without_numbers_is_one_gap_for_as_long_as_it_lasts() {
        let domain = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::default() });
        let mut gaps = GapTracker::new(Some(Duration::from_secs(10)));
        let mut read_with = |time: u64, meters: &[usize], uncounted: &[(GapReason, Vec<usize>)]| {
            let missed = gaps.record_reading(DomainObservation {
                domain: &domain,
                taken: at(time, 0).wall,
                meters: meters.iter().copied().collect(),
                changed: false,
                lacking: false,
                uncounted: uncounted.to_vec(),
            });
            missed.iter().map(|one| (seconds(one), one.meters.clone())).collect::<Vec<_>>()
        };
        let mut read =
            |time, uncounted: &[(GapReason, Vec<usize>)]| read_with(time, &[1], uncounted);
        let reason = GapReason::NoInterfaceStatistics;
        let without = [(reason, vec![7])];
        assert_eq!(read(10, &without), [((reason, 10, 10, 10), Some(vec![7]))]);
        assert_eq!(read(20, &without), [((reason, 10, 10, 20), Some(vec![7]))]);
        assert!(read(30, &[]).is_empty());
        assert_eq!(read(40, &without), [((reason, 30, 30, 40), Some(vec![7]))]);
        assert!(read(50, &[]).is_empty());
        // Once, a QEMU that was slow was reported as a device without numbers as well.
        assert!(read_with(60, &[1, 7], &[]).is_empty());
        let lost = ((GapReason::Partial, 60, 60, 70), Some(vec![7]));
        assert_eq!(read_with(70, &[1], &without), [lost]);
    }

    /// Counters end at the last reading, not at the last cycle that missed the domain.
    #[test]
    fn last_reading_is_before_the_open_gap() {
        let domain = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::default() });
        let mut gaps = GapTracker::new(Some(Duration::from_secs(10)));
        gaps.record_missing(at(5, 0), &domain, GapReason::Stuck);
        assert_eq!(gaps.last_reading(domain.uuid), None);
        let taken = at(10, 0).wall;
        gaps.record_reading(DomainObservation {
            domain: &domain,
            taken,
            meters: BTreeSet::new(),
            changed: false,
            lacking: false,
            uncounted: Vec::new(),
        });
        gaps.record_missing(at(20, 0), &domain, GapReason::Stuck);
        assert_eq!(gaps.last_reading(domain.uuid), Some(taken));
        let ended = gaps.record_stop(&domain, at(27, 0).wall);
        let ended: Vec<_> = ended.iter().map(seconds).collect();
        assert_eq!(ended, [(GapReason::Stuck, 10, 20, 27)]);
        assert_eq!(gaps.last_reading(domain.uuid), None);
    }
}
