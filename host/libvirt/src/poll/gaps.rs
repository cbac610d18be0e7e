//! What could not be taken, as data: from when to when, of whom, and why.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use nephometer_model::{Domain, GapReason, Moment, Timestamp};

/// A source gets this meter by naming it.
pub(super) const METER: &str = "nephometer.gap";
/// What names of the agent's own meters begin with.
pub(super) const PREFIX: &str = "nephometer.";

/// Intervals after which a tick is so late that one is missing.
const LATE: f64 = 1.5;
/// Less than this between the clocks that count a suspended host and those that do not is no
/// suspension.
const SUSPENDED: u64 = 1_000_000_000;

/// Why all of a domain is missing.
const WHOLE: [GapReason; 3] = [GapReason::Stuck, GapReason::Timeout, GapReason::Failed];

/// What is covered, and what is not.
#[derive(Debug)]
pub(super) struct Gaps {
    /// `None`: ticks come when they come.
    interval: Option<Duration>,
    last: Option<Moment>,
    /// Up to when each domain is accounted for, by a reading or as a gap.
    upto: HashMap<Uuid, Timestamp>,
    /// Since when a domain is missing, and why.
    open: HashMap<(Uuid, GapReason), Timestamp>,
    /// The meters that a domain has had, by position.
    had: HashMap<Uuid, BTreeSet<usize>>,
}

/// Something that is missing, as far as it was not told before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Missed {
    /// `None`: all of them.
    pub domain: Option<Arc<Domain>>,
    pub reason: GapReason,
    /// When the whole of it began.
    pub begin: Timestamp,
    /// What is new of it.
    pub from: Timestamp,
    pub until: Timestamp,
    /// Positions of its meters; `None`: all that are wanted.
    pub meters: Option<Vec<usize>>,
}

/// What one tick got of one domain.
pub(super) struct Got<'a> {
    pub domain: &'a Arc<Domain>,
    pub taken: Timestamp,
    pub meters: BTreeSet<usize>,
    /// Whether other meters than before are no wonder: it was shut off, or has other devices.
    pub changed: bool,
}

impl Gaps {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        let (upto, open, had) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { interval, last: None, upto, open, had }
    }

    /// A tick begins: what is missing since the one before, of all domains. `before` is when an
    /// earlier run has polled last.
    pub(super) fn begin(&mut self, cycle: Moment, before: Option<Timestamp>) -> Option<Missed> {
        let last = self.last.replace(cycle);
        let late = self.interval?.mul_f64(LATE);
        let all = |reason, from| Missed {
            domain: None,
            reason,
            begin: from,
            from,
            until: cycle.wall,
            meters: None,
        };
        let Some(last) = last else {
            let before = before?;
            let since =
                Duration::from_nanos(cycle.wall.as_nanos().saturating_sub(before.as_nanos()));
            return (since > late).then(|| all(GapReason::AgentDown, before));
        };
        let awake = elapsed(last.monotonic, cycle.monotonic);
        let suspended = elapsed(last.continuous, cycle.continuous).saturating_sub(awake);
        if suspended > SUSPENDED {
            return Some(all(GapReason::Suspended, last.wall));
        }
        (Duration::from_nanos(awake) > late).then(|| all(GapReason::Skipped, last.wall))
    }

    /// A domain was not read.
    pub(super) fn missing(
        &mut self,
        cycle: Moment,
        domain: &Arc<Domain>,
        reason: GapReason,
    ) -> Missed {
        let until = cycle.wall;
        let from = self.upto.insert(domain.uuid, until).unwrap_or(until);
        let begin = *self.open.entry((domain.uuid, reason)).or_insert(from);
        let domain = Some(Arc::clone(domain));
        Missed { domain, reason, begin, from, until, meters: None }
    }

    /// A domain was read.
    pub(super) fn got(&mut self, got: Got<'_>) -> Vec<Missed> {
        let Got { domain, taken, meters, changed } = got;
        let uuid = domain.uuid;
        let from = self.upto.insert(uuid, taken).unwrap_or(taken);
        let mut missed = Vec::new();
        for reason in WHOLE {
            if let Some(begin) = self.open.remove(&(uuid, reason)) {
                let domain = Some(Arc::clone(domain));
                missed.push(Missed { domain, reason, begin, from, until: taken, meters: None });
            }
        }
        let had = self.had.entry(uuid).or_default();
        if changed {
            *had = meters;
            self.open.remove(&(uuid, GapReason::Partial));
            return missed;
        }
        let lost: Vec<usize> = had.difference(&meters).copied().collect();
        had.extend(meters);
        if lost.is_empty() {
            self.open.remove(&(uuid, GapReason::Partial));
        } else {
            let reason = GapReason::Partial;
            let begin = *self.open.entry((uuid, reason)).or_insert(from);
            let domain = Some(Arc::clone(domain));
            missed.push(Missed { domain, reason, begin, from, until: taken, meters: Some(lost) });
        }
        missed
    }

    /// When a domain was read last: where it is missing now, before that.
    pub(super) fn last_reading(&self, uuid: Uuid) -> Option<Timestamp> {
        // One that was never read has had no meters.
        let upto = self.had.contains_key(&uuid).then(|| self.upto.get(&uuid).copied())?;
        let missing = WHOLE.iter().filter_map(|reason| self.open.get(&(uuid, *reason))).min();
        missing.copied().or(upto)
    }

    /// A domain does not run any more: what was missing of it ends, and nothing is from now on.
    pub(super) fn stopped(&mut self, domain: &Arc<Domain>, until: Timestamp) -> Vec<Missed> {
        let uuid = domain.uuid;
        let from = self.upto.get(&uuid).copied().unwrap_or(until);
        let missed = WHOLE.iter().filter_map(|reason| {
            let begin = self.open.remove(&(uuid, *reason))?;
            let domain = Some(Arc::clone(domain));
            Some(Missed { domain, reason: *reason, begin, from, until, meters: None })
        });
        let missed = missed.collect();
        self.retain(|other| other != uuid);
        missed
    }

    /// Forgets domains that are not there any more.
    pub(super) fn retain(&mut self, there: impl Fn(Uuid) -> bool) {
        self.upto.retain(|uuid, _| there(*uuid));
        self.had.retain(|uuid, _| there(*uuid));
        self.open.retain(|(uuid, _), _| there(*uuid));
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

    fn seconds(missed: &Missed) -> (GapReason, u64, u64, u64) {
        let whole = |time: Timestamp| time.as_nanos() / 1_000_000_000;
        (missed.reason, whole(missed.begin), whole(missed.from), whole(missed.until))
    }

    #[test]
    fn what_all_have_missed_has_its_reason() {
        let interval = Duration::from_secs(10);
        let begin = |before: Option<u64>| {
            let before = before.map(|at| Timestamp::from_nanos(at * 1_000_000_000));
            Gaps::new(Some(interval)).begin(at(100, 0), before).as_ref().map(seconds)
        };
        assert_eq!(begin(None), None);
        assert_eq!(begin(Some(90)), None);
        assert_eq!(begin(Some(70)), Some((GapReason::AgentDown, 70, 70, 100)));
        let mut gaps = Gaps::new(Some(interval));
        gaps.begin(at(100, 0), None);
        assert_eq!(gaps.begin(at(110, 0), None), None);
        let skipped = gaps.begin(at(140, 0), None);
        assert_eq!(skipped.as_ref().map(seconds), Some((GapReason::Skipped, 110, 110, 140)));
        let suspended = gaps.begin(at(900, 750), None);
        assert_eq!(suspended.as_ref().map(seconds), Some((GapReason::Suspended, 140, 140, 900)));
    }

    #[test]
    fn a_domain_that_comes_back_closes_its_gap_and_a_lost_meter_opens_one() {
        let domain = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::default() });
        let mut gaps = Gaps::new(Some(Duration::from_secs(10)));
        let got = |gaps: &mut Gaps, time: u64, meters: &[usize], changed: bool| {
            let taken = at(time, 0).wall;
            let meters = meters.iter().copied().collect();
            let missed = gaps.got(Got { domain: &domain, taken, meters, changed });
            missed.iter().map(|one| (seconds(one), one.meters.clone())).collect::<Vec<_>>()
        };
        assert!(got(&mut gaps, 10, &[1, 2], false).is_empty());
        let missed = gaps.missing(at(20, 0), &domain, GapReason::Stuck);
        assert_eq!(seconds(&missed), (GapReason::Stuck, 10, 10, 20));
        let missed = gaps.missing(at(30, 0), &domain, GapReason::Stuck);
        assert_eq!(seconds(&missed), (GapReason::Stuck, 10, 20, 30));
        let closed = got(&mut gaps, 40, &[1], false);
        let lost = ((GapReason::Partial, 30, 30, 40), Some(vec![2]));
        assert_eq!(closed, [((GapReason::Stuck, 10, 30, 40), None), lost]);
        let still = got(&mut gaps, 50, &[1], false);
        assert_eq!(still, [((GapReason::Partial, 30, 40, 50), Some(vec![2]))]);
        assert!(got(&mut gaps, 60, &[1, 2], false).is_empty());
        assert!(got(&mut gaps, 70, &[1], true).is_empty(), "it has other devices");
        assert!(got(&mut gaps, 80, &[1], false).is_empty());
    }

    /// Its counters end where they were read, not where they were found missing last.
    #[test]
    fn one_that_ends_while_it_is_missing_was_last_read_before_that() {
        let domain = Arc::new(Domain { uuid: Uuid::from_u128(1), ..Domain::default() });
        let mut gaps = Gaps::new(Some(Duration::from_secs(10)));
        gaps.missing(at(5, 0), &domain, GapReason::Stuck);
        assert_eq!(gaps.last_reading(domain.uuid), None);
        let taken = at(10, 0).wall;
        gaps.got(Got { domain: &domain, taken, meters: BTreeSet::new(), changed: false });
        gaps.missing(at(20, 0), &domain, GapReason::Stuck);
        assert_eq!(gaps.last_reading(domain.uuid), Some(taken));
        let ended = gaps.stopped(&domain, at(27, 0).wall);
        let ended: Vec<_> = ended.iter().map(seconds).collect();
        assert_eq!(ended, [(GapReason::Stuck, 10, 20, 27)]);
        assert_eq!(gaps.last_reading(domain.uuid), None);
    }
}
