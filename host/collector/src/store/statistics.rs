//! Sums of samples by period and group, independent of an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreError;
use super::selection::{Selection, TimeRange};
use nephometer_model::Bound;

/// A question for statistics.
#[derive(Debug, Clone)]
pub(crate) struct StatisticsQuery {
    pub(crate) selection: Selection,
    pub(crate) groups: Vec<GroupField>,
    /// Microseconds; `None` for one period over everything.
    pub(crate) period: Option<i64>,
    /// Whether the standard deviation is asked for, which sums by hour do not have.
    pub(crate) deviation: bool,
    /// Whether different owners are asked for.
    pub(crate) cardinality: bool,
    /// Where periods begin and end, in microseconds since the epoch: the times that the query names,
    /// `None` for those of the first and the last sample.
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
}

/// What samples are grouped by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupField {
    Resource,
    Project,
    User,
    Source,
    /// A path in the metadata.
    Metadata(String),
}

/// Period, unit, and the values of the groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    /// The number of the period.
    pub(crate) period: i64,
    pub(crate) unit: Arc<str>,
    pub(crate) values: Arc<[Option<String>]>,
}

/// The sums of one period and group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Totals {
    pub(crate) key: GroupKey,
    pub(crate) sums: Accumulator,
    /// Microseconds since the epoch; `None` if there was no period.
    pub(crate) period: Option<TimeRange>,
}

/// Sums of samples. Samples without a volume count for times only.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Accumulator {
    pub(crate) rows: u64,
    pub(crate) count: u64,
    sum: f64,
    /// What rounding has lost of the sum.
    lost: f64,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
    /// Mean and sum of squared distances, by Welford's method; only of samples that were read.
    mean: f64,
    squares: f64,
    /// Different values of the owner's fields, for `cardinality`.
    pub(crate) owners: [std::collections::BTreeSet<String>; 3],
}

impl Accumulator {
    /// Adds one sample.
    pub(crate) fn add(&mut self, time: i64, volume: Option<f64>) {
        self.time(1, time, time);
        let Some(volume) = volume else { return };
        self.count += 1;
        self.plus(volume);
        self.extremes(volume, volume);
        let distance = volume - self.mean;
        self.mean += distance / as_f64(self.count);
        self.squares += distance * (volume - self.mean);
    }

    /// Adds sums that were made before.
    pub(crate) fn join(&mut self, other: &Self) {
        if other.rows == 0 {
            return;
        }
        self.time(other.rows, other.first_time, other.last_time);
        if let (Some(min), Some(max)) = (other.min, other.max) {
            self.extremes(min, max);
        }
        self.count += other.count;
        self.plus(other.sum());
    }

    /// Sums as an engine has stored them.
    pub(crate) fn stored(
        counts: [u64; 2],
        sum: f64,
        extremes: [Option<f64>; 2],
        times: [i64; 2],
    ) -> Self {
        Self {
            rows: counts[0],
            count: counts[1],
            sum,
            min: extremes[0],
            max: extremes[1],
            first_time: times[0],
            last_time: times[1],
            ..Self::default()
        }
    }

    pub(crate) fn sum(&self) -> f64 {
        let sum = self.sum + self.lost;
        if sum.is_finite() { sum } else { self.sum }
    }

    pub(crate) fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / as_f64(self.count))
    }

    /// The standard deviation of the population.
    pub(crate) fn deviation(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.squares / as_f64(self.count)).max(0.0).sqrt())
    }

    /// Counts an owner.
    pub(crate) fn add_owner(&mut self, owner: &crate::sample::OwnerKey) {
        let fields = [Some(&owner.resource_id), owner.user_id.as_ref(), owner.project_id.as_ref()];
        for (set, value) in self.owners.iter_mut().zip(fields) {
            if let Some(value) = value.filter(|value| !set.contains(&***value)) {
                set.insert(value.to_string());
            }
        }
    }

    fn time(&mut self, rows: u64, first: i64, last: i64) {
        if self.rows == 0 {
            (self.first_time, self.last_time) = (first, last);
        } else {
            self.first_time = self.first_time.min(first);
            self.last_time = self.last_time.max(last);
        }
        self.rows += rows;
    }

    fn extremes(&mut self, min: f64, max: f64) {
        self.min = Some(self.min.map_or(min, |known| known.min(min)));
        self.max = Some(self.max.map_or(max, |known| known.max(max)));
    }

    /// Neumaier's sum: as exact as the one of SQLite.
    fn plus(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mean of more than 2^53 samples has no more digits"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The periods of a query: each begins where the one before ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Periods {
    pub(crate) range: TimeRange,
    /// `None`: one period over everything.
    pub(crate) length: Option<i64>,
}

impl Periods {
    /// The number of the period of a time. `None` if it is in no period, as a sample exactly at the
    /// end of the last one, which the real API drops too.
    pub(crate) fn of(&self, time: i64) -> Option<i64> {
        let Some(length) = self.length else { return Some(0) };
        let at = time.checked_sub(self.range.start).filter(|at| *at >= 0)?.div_euclid(length);
        (at < self.count()).then_some(at)
    }

    /// The number of the period that holds all of a range.
    pub(crate) fn holding(&self, range: TimeRange) -> Option<i64> {
        let one = self.of(range.start)?;
        (self.of(range.end - 1)? == one).then_some(one)
    }

    /// The bounds of a period.
    pub(crate) fn bounds(&self, number: i64) -> Option<TimeRange> {
        let start = self.range.start.saturating_add(number.saturating_mul(self.length?));
        Some(TimeRange { start, end: start.saturating_add(self.length?) })
    }

    fn count(&self) -> i64 {
        let Some(length) = self.length else { return 1 };
        let whole = self.range.end.saturating_sub(self.range.start);
        whole.div_euclid(length) + i64::from(whole.rem_euclid(length) > 0)
    }
}

/// Sums by group, bounded in number.
#[derive(Debug, Default)]
pub(crate) struct Grouped(BTreeMap<GroupKey, Accumulator>);

impl Grouped {
    pub(crate) fn entry(&mut self, key: GroupKey) -> Result<&mut Accumulator, StoreError> {
        if !self.0.contains_key(&key) {
            let within = Bound::QueryPeriods.check(self.0.len() + 1);
            within.map_err(|error| StoreError::Bound(error.to_string()))?;
        }
        Ok(self.0.entry(key).or_default())
    }

    /// Everything, by period, unit and group.
    pub(crate) fn finish(self, periods: &Periods) -> Vec<Totals> {
        let totals = self.0.into_iter().map(|(key, sums)| {
            let period = periods.bounds(key.period);
            Totals { key, sums, period }
        });
        totals.collect()
    }
}

impl GroupField {
    /// Whether it is in the metadata, which samples of one series may have different ones of.
    pub(crate) fn is_metadata(&self) -> bool {
        matches!(self, Self::Metadata(_))
    }

    /// The value of an owner; `None` for a null one, and for metadata.
    pub(crate) fn of_owner(&self, owner: &crate::sample::OwnerKey) -> Option<String> {
        let text = match self {
            Self::Resource => Some(&owner.resource_id),
            Self::Project => owner.project_id.as_ref(),
            Self::User => owner.user_id.as_ref(),
            Self::Source => Some(&owner.source),
            Self::Metadata(_) => None,
        };
        text.map(|text| text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_all_samples() {
        let mut all = Accumulator::default();
        let (mut one, mut two) = (Accumulator::default(), Accumulator::default());
        for (at, volume) in [1e300, -1e300, 1.0, 0.1, 0.2, 1e18].into_iter().enumerate() {
            let time = i64::try_from(at).unwrap();
            all.add(time, Some(volume));
            (if at < 3 { &mut one } else { &mut two }).add(time, Some(volume));
        }
        all.add(9, None);
        two.add(9, None);
        let mut joined = one.clone();
        joined.join(&two);
        assert_eq!((joined.rows, joined.count, joined.sum()), (7, 6, all.sum()));
        assert_eq!((joined.min, joined.max), (Some(-1e300), Some(1e300)));
        assert_eq!((joined.first_time, joined.last_time), (0, 9));
        joined.join(&Accumulator::default());
        assert_eq!(joined.first_time, 0);
    }

    #[test]
    fn the_deviation_is_that_of_the_population() {
        let mut sums = Accumulator::default();
        for volume in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            sums.add(0, Some(volume));
        }
        assert_eq!((sums.deviation(), sums.average()), (Some(2.0), Some(5.0)));
        assert_eq!(Accumulator::default().deviation(), None);
    }

    #[test]
    fn the_end_of_the_last_period_belongs_to_none() {
        let range = TimeRange { start: 100, end: 200 };
        let periods = Periods { range, length: Some(50) };
        let found = [99, 100, 149, 150, 199, 200].map(|time| periods.of(time));
        assert_eq!(found, [None, Some(0), Some(0), Some(1), Some(1), None]);
        assert_eq!(periods.bounds(1), Some(TimeRange { start: 150, end: 200 }));
        // The last period ends after the range: a sample at the end is in it.
        let periods = Periods { range, length: Some(60) };
        assert_eq!((periods.of(200), periods.of(219)), (Some(1), Some(1)));
        assert_eq!(periods.holding(TimeRange { start: 100, end: 160 }), Some(0));
        assert_eq!(periods.holding(TimeRange { start: 100, end: 161 }), None);
    }
}
