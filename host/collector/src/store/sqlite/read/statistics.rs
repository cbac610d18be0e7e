//! Statistics: from sums by day and hour where they can be used, from samples elsewhere.
//!
//! Sums over the resources of a project come first, where nothing of the query distinguishes
//! resources, users and sources. They replace those of single series only where they are there and
//! not stale, so that a missing one costs time and changes no answer.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::rows::{DAY, HOUR, SPANS};
use super::super::series::{ProjectMeter, ReadFile, RollupRow, Series, SharedParts, SumsOf};
use super::SqliteReader;
use crate::store::budget::Budget;
use crate::store::selection::{Selection, TimeRange};
use crate::store::statistics::Grouped;
use crate::store::{
    GroupField, GroupKey, Periods, StatisticsQuery, StoreError, Totals, metadata_value,
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
        let most = *budget;
        let mut counting =
            Counting { query: &whole, periods, budget: most, grouped: Grouped::default() };
        for file in self.files(query.selection.times)? {
            counting.file(file)?;
        }
        *budget = counting.budget;
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
    /// The series of the selection by meters of projects, when they were needed.
    series: Option<HashMap<i64, Arc<[Series]>>>,
}

impl MonthScan<'_> {
    /// The series of a meter of a project.
    fn series_of(
        &mut self,
        meter: &ProjectMeter,
        selection: &Selection,
    ) -> Result<Arc<[Series]>, StoreError> {
        let all = match &mut self.series {
            Some(all) => all,
            none => {
                let mut all: HashMap<i64, Vec<Series>> = HashMap::new();
                for series in self.file.series(selection)? {
                    all.entry(series.project_meter).or_default().push(series);
                }
                let shared = all.into_iter().map(|(number, series)| (number, series.into()));
                none.insert(shared.collect())
            }
        };
        Ok(all.get(&meter.number).cloned().unwrap_or_default())
    }
}

impl Counting<'_> {
    fn file(&mut self, file: &ReadFile) -> Result<(), StoreError> {
        let selection = &self.query.selection;
        let Some(range) = file.clipped(selection.times) else { return Ok(()) };
        let from_samples = self.query.deviation
            || !selection.metadata.is_empty()
            || self.query.groups.iter().any(|group| group.is_metadata());
        let expired = file.has_dropped()?;
        let mut month = MonthScan { file, expired, parts: SharedParts::default(), series: None };
        if !from_samples && self.is_of_projects() {
            let span = if self.has_days() { DAY } else { HOUR };
            for meter in file.project_meters(selection)? {
                self.project(&mut month, &meter, range, span)?;
            }
            return Ok(());
        }
        for series in file.series(selection)? {
            if from_samples {
                self.samples(&mut month, &series, range)?;
            } else {
                self.days(&mut month, &series, range)?;
            }
        }
        Ok(())
    }

    /// Whether the query treats all resources of a project alike.
    fn is_of_projects(&self) -> bool {
        let StatisticsQuery { selection, groups, cardinality, .. } = self.query;
        !*cardinality
            && selection.resource.is_none()
            && selection.user.is_none()
            && selection.source.is_none()
            && groups.iter().all(|group| *group == GroupField::Project)
    }

    /// Whether sums of days can be within a period.
    fn has_days(&self) -> bool {
        self.periods.length.is_none_or(|length| length >= SPANS[usize::from(DAY)])
    }

    /// Whole days or hours by the sums of a project, the rest by shorter ones or by its series.
    fn project(
        &mut self,
        month: &mut MonthScan<'_>,
        meter: &ProjectMeter,
        range: TimeRange,
        span: u8,
    ) -> Result<(), StoreError> {
        let values = self.query.groups.iter().map(|_| meter.project.clone()).collect();
        let group = GroupKey { period: 0, unit: Arc::from(&*meter.unit), values };
        let mut left = range;
        let of = SumsOf::ProjectMeter(meter.number);
        for row in month.file.rollups(of, span, around(range, span))? {
            if self.joins(month.file, (None, &group), &row, range)? {
                let before = TimeRange { start: left.start, end: row.span.start };
                self.rest(month, meter, before, span)?;
                left.start = row.span.end;
            }
        }
        self.rest(month, meter, left, span)
    }

    /// What no sum of a project of this span has.
    fn rest(
        &mut self,
        month: &mut MonthScan<'_>,
        meter: &ProjectMeter,
        range: TimeRange,
        span: u8,
    ) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        if span == DAY {
            return self.project(month, meter, range, HOUR);
        }
        for series in month.series_of(meter, &self.query.selection)?.iter() {
            self.days(month, series, range)?;
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
        if !self.has_days() {
            return self.hours(month, (series, &group), range);
        }
        let of = SumsOf::Series(series.number);
        for day in month.file.rollups(of, DAY, around(range, DAY))? {
            if !self.joins(month.file, (Some(series), &group), &day, range)? {
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
        let of = SumsOf::Series(series.number);
        for hour in month.file.rollups(of, HOUR, around(within, HOUR))? {
            if !self.joins(month.file, (Some(series), group), &hour, within)? {
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

    /// Adds a sum, if it is not stale, within the range, and of one period. Without a series nobody
    /// asks for different owners.
    fn joins(
        &mut self,
        file: &ReadFile,
        (series, group): (Option<&Series>, &GroupKey),
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
            if let Some(series) = series
                && self.query.cardinality
            {
                sums.add_owner(&series.owner);
            }
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
        let MonthScan { file, expired, parts, .. } = month;
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
            if query.cardinality {
                sums.add_owner(&series.owner);
            }
            Ok(true)
        })
    }
}

/// Where spans begin that overlap a range.
fn around(range: TimeRange, span: u8) -> TimeRange {
    TimeRange { start: range.start - SPANS[usize::from(span)] + 1, end: range.end }
}

fn overlap(one: TimeRange, two: TimeRange) -> TimeRange {
    TimeRange { start: one.start.max(two.start), end: one.end.min(two.end) }
}
