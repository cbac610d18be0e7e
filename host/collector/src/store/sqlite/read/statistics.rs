//! Statistics: from sums by day and hour where they can be used, from samples elsewhere.

use std::sync::Arc;

use super::super::rows::{DAY, HOUR, SPANS};
use super::super::series::{ReadFile, RollupRow, Series, SharedParts};
use super::{Budget, SqliteReader};
use crate::store::selection::{Selection, TimeRange};
use crate::store::statistics::Grouped;
use crate::store::{
    Accumulator, GroupField, GroupKey, Periods, StatisticsQuery, StoreError, Totals, flat_pairs,
};
use nephometer_model::Volume;

impl SqliteReader {
    pub(super) fn totals(&mut self, query: &StatisticsQuery) -> Result<Vec<Totals>, StoreError> {
        let mut budget = self.budget(&query.selection);
        let Some(periods) = self.periods(query, &mut budget)? else { return Ok(Vec::new()) };
        let mut counting = Counting { query, periods, budget, grouped: Grouped::default() };
        for file in self.files(query.selection.times)? {
            counting.file(file)?;
        }
        Ok(counting.grouped.finish(&periods))
    }

    /// The periods of a query. `None` if there is no sample that could begin them.
    fn periods(
        &mut self,
        query: &StatisticsQuery,
        budget: &mut Budget,
    ) -> Result<Option<Periods>, StoreError> {
        let length = query.period;
        if length.is_none() {
            return Ok(Some(Periods { range: query.selection.times, length }));
        }
        if let (Some(start), Some(end)) = (query.start, query.end) {
            return Ok(Some(Periods { range: TimeRange { start, end }, length }));
        }
        let whole = StatisticsQuery {
            groups: Vec::new(),
            period: None,
            deviation: false,
            cardinality: false,
            ..query.clone()
        };
        let periods = Periods { range: query.selection.times, length: None };
        let most = Budget { most: budget.most, left: budget.left };
        let mut counting =
            Counting { query: &whole, periods, budget: most, grouped: Grouped::default() };
        for file in self.files(query.selection.times)? {
            counting.file(file)?;
        }
        budget.left = counting.budget.left;
        // The real API takes the first unit only, if a meter has several.
        let first = counting.grouped.finish(&periods).into_iter().next();
        Ok(first.map(|totals| {
            let start = query.start.unwrap_or(totals.sums.first_time);
            let end = query.end.unwrap_or(totals.sums.last_time);
            Periods { range: TimeRange { start, end }, length }
        }))
    }
}

struct Counting<'a> {
    query: &'a StatisticsQuery,
    periods: Periods,
    budget: Budget,
    grouped: Grouped,
}

/// A month file while its samples are counted.
struct MonthScan<'a> {
    file: &'a ReadFile,
    /// Whether its samples were dropped.
    expired: bool,
    parts: SharedParts,
}

impl Counting<'_> {
    fn file(&mut self, file: &ReadFile) -> Result<(), StoreError> {
        let selection = &self.query.selection;
        let Some(range) = file.clip(selection.times) else { return Ok(()) };
        let from_samples = self.query.deviation
            || !selection.metadata.is_empty()
            || self.query.groups.iter().any(|group| group.is_metadata());
        let expired = file.is_expired()?;
        let mut month = MonthScan { file, expired, parts: SharedParts::default() };
        for series in file.series(selection)? {
            if from_samples {
                self.samples(&mut month, &series, range)?;
            } else {
                self.days(&mut month, &series, range)?;
            }
        }
        Ok(())
    }

    /// Whole days by their sums, the rest by hours.
    fn days(
        &mut self,
        month: &mut MonthScan<'_>,
        series: &Series,
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let group = self.group(series);
        // No sum of a day is of one period, if periods are shorter.
        if self.periods.length.is_some_and(|length| length < SPANS[usize::from(DAY)]) {
            return self.hours(month, (series, &group), range);
        }
        for day in month.file.rollups(series.number, DAY, around(range, DAY))? {
            if !self.joins(month.file, (series, &group), &day, range)? {
                self.hours(month, (series, &group), overlap(day.span, range))?;
            }
        }
        Ok(())
    }

    /// Whole hours by their sums, the rest by samples.
    fn hours(
        &mut self,
        month: &mut MonthScan<'_>,
        (series, group): (&Series, &GroupKey),
        within: TimeRange,
    ) -> Result<(), StoreError> {
        for hour in month.file.rollups(series.number, HOUR, around(within, HOUR))? {
            if !self.joins(month.file, (series, group), &hour, within)? {
                self.samples(month, series, overlap(hour.span, within))?;
            }
        }
        Ok(())
    }

    /// The group of a series, in the first period. Metadata are those of single samples.
    fn group(&self, series: &Series) -> GroupKey {
        let values = self.query.groups.iter().map(|group| group.of_owner(&series.owner));
        let unit = Arc::from(&*series.meter.unit);
        GroupKey { period: 0, unit, values: values.collect() }
    }

    /// Adds a sum, if it is not stale, within the range, and of one period.
    fn joins(
        &mut self,
        file: &ReadFile,
        (series, group): (&Series, &GroupKey),
        row: &RollupRow,
        range: TimeRange,
    ) -> Result<bool, StoreError> {
        let span = row.span;
        if row.stale || span.start < range.start || range.end < span.end {
            return Ok(false);
        }
        let start = file.range.start;
        let absolute = TimeRange { start: span.start + start, end: span.end + start };
        let Some(period) = self.periods.holding(absolute) else { return Ok(false) };
        if row.sums.rows > 0 {
            self.budget.spend(1)?;
            let sums = self.grouped.entry(GroupKey { period, ..group.clone() })?;
            sums.join(&row.sums);
            owners(self.query.cardinality, sums, series);
        }
        Ok(true)
    }

    /// Adds samples one by one.
    fn samples(
        &mut self,
        month: &mut MonthScan<'_>,
        series: &Series,
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let MonthScan { file, expired, parts } = month;
        if *expired {
            let month = crate::store::selection::from_micros(file.range.start).iso();
            return Err(StoreError::Expired(month[..7].to_owned()));
        }
        let group = self.group(series);
        let by_metadata = self.query.groups.iter().any(|group| group.is_metadata());
        let Self { query, periods, budget, grouped } = self;
        let selection: &Selection = &query.selection;
        file.rows(series.number, range, false, |row| {
            budget.spend(1)?;
            let time = row.time + file.range.start;
            let Some(period) = periods.of(time) else { return Ok(true) };
            if !parts.accepts(file, selection, row.revision)? {
                return Ok(true);
            }
            let mut key = GroupKey { period, ..group.clone() };
            if by_metadata {
                let mut values = Vec::with_capacity(query.groups.len());
                for group in &query.groups {
                    values.push(match group {
                        GroupField::Metadata(path) => {
                            metadata_value(&parts.metadata(file, row.revision)?, path)
                        }
                        other => other.of_owner(&series.owner),
                    });
                }
                key.values = values.into();
            }
            let sums = grouped.entry(key)?;
            sums.add(time, row.volume.map(Volume::as_f64));
            owners(query.cardinality, sums, series);
            Ok(true)
        })
    }
}

/// Where spans begin that overlap a range.
fn around(range: TimeRange, span: u8) -> TimeRange {
    TimeRange { start: range.start - SPANS[usize::from(span)] + 1, end: range.end }
}

fn owners(wanted: bool, sums: &mut Accumulator, series: &Series) {
    if !wanted {
        return;
    }
    let owner = &series.owner;
    let fields = [Some(&owner.resource_id), owner.user_id.as_ref(), owner.project_id.as_ref()];
    for (set, value) in sums.owners.iter_mut().zip(fields) {
        if let Some(value) = value.filter(|value| !set.contains(&***value)) {
            set.insert(value.to_string());
        }
    }
}

fn overlap(one: TimeRange, two: TimeRange) -> TimeRange {
    TimeRange { start: one.start.max(two.start), end: one.end.min(two.end) }
}

/// A value in the metadata as text.
fn metadata_value(text: &str, path: &str) -> Option<String> {
    use crate::store::MetaScalar;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let (_, found) = flat_pairs(&value).into_iter().find(|(known, _)| known == path)?;
    match found {
        MetaScalar::Null => None,
        MetaScalar::Bool(value) => Some(if value { "True" } else { "False" }.to_owned()),
        MetaScalar::Integer(value) => Some(value.to_string()),
        MetaScalar::Float(value) => Some(format!("{value:?}")),
        MetaScalar::Text(text) => Some(text),
    }
}
