//! Statistics: from sums of days and hours where they can be used, from samples elsewhere. Servers add
//! up what they have; what they return is added up here.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{ClickHouseReader, conditions};
use crate::store::budget::Budget;
use crate::store::clickhouse::client::ClickHouseServer;
use crate::store::clickhouse::rollup::{SPANS, VALUE};
use crate::store::clickhouse::schema::partition;
use crate::store::clickhouse::wire::RowReader;
use crate::store::clickhouse::write::{DAY, HOUR};
use crate::store::month::MonthName;
use crate::store::selection::TimeRange;
use crate::store::statistics::Grouped;
use crate::store::{
    Accumulator, GroupField, GroupKey, Periods, StatisticsQuery, StoreError, StoredSample, Totals,
};
use nephometer_model::Volume;

/// What one month and class contributes.
#[derive(Default)]
struct Pieces {
    /// By span: where sums begin that are used.
    sums: [Vec<TimeRange>; 2],
    /// Times whose samples are read.
    samples: Vec<TimeRange>,
}

/// The months and classes of a server.
type AllPieces = BTreeMap<(u32, String), Pieces>;

struct ServerCounting<'a> {
    reader: &'a ClickHouseReader,
    query: &'a StatisticsQuery,
    periods: Periods,
    budget: Budget,
    grouped: Grouped,
}

impl ClickHouseReader {
    pub(super) fn totals(&self, query: &StatisticsQuery) -> Result<Vec<Totals>, StoreError> {
        let mut budget = self.budget(&query.selection);
        let Some(periods) = self.periods(query, &mut budget)? else { return Ok(Vec::new()) };
        let grouped = Grouped::default();
        let mut counting = ServerCounting { reader: self, query, periods, budget, grouped };
        counting.all()?;
        Ok(counting.grouped.finish(&periods))
    }

    /// The periods of a query. `None` if there is no sample that could begin them.
    fn periods(
        &self,
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
        let grouped = Grouped::default();
        let mut counting =
            ServerCounting { reader: self, query: &whole, periods, budget: *budget, grouped };
        counting.all()?;
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

impl ServerCounting<'_> {
    fn all(&mut self) -> Result<(), StoreError> {
        let from_samples = self.query.deviation
            || !self.query.selection.metadata.is_empty()
            || self.query.groups.iter().any(GroupField::is_metadata);
        let reader = self.reader;
        let dropped = reader.cluster.ledger_state()?.dropped;
        for server in &reader.cluster.servers {
            let pieces = self.pieces(server, from_samples)?;
            for (key, part) in &pieces {
                if dropped.contains(key) && self.has_sums(server, key, &part.samples)? {
                    return Err(StoreError::Expired(MonthName::numbered(key.0).to_string()));
                }
            }
            if !from_samples {
                self.add_sums(server, &pieces)?;
                self.add_samples(server, &pieces)?;
            }
        }
        if from_samples { self.one_by_one() } else { Ok(()) }
    }

    /// Divides the times of the query on a server.
    fn pieces(
        &self,
        server: &ClickHouseServer,
        from_samples: bool,
    ) -> Result<AllPieces, StoreError> {
        let times = self.query.selection.times;
        let usable = [HOUR, DAY].map(|length| !from_samples && self.divides(length));
        let cluster = &self.reader.cluster;
        let stale = [
            cluster.unusable(server, 0, times)?,
            if usable[1] { cluster.unusable(server, 1, times)? } else { HashSet::new() },
        ];
        let mut found = AllPieces::new();
        for (key, hours) in cluster.touched_hours(server, times)? {
            let mut pieces = Pieces::default();
            let mut at = 0;
            while at < hours.len() {
                let hour = hours[at];
                let day = hour.div_euclid(24);
                let is_stale =
                    |span: usize, start: i64| stale[span].contains(&(key.0, key.1.clone(), start));
                let whole = span(day, DAY);
                if usable[1] && holds(times, whole) && !is_stale(1, day) {
                    add(&mut pieces.sums[1], whole);
                    at += hours[at..].iter().take_while(|one| one.div_euclid(24) == day).count();
                    continue;
                }
                let whole = span(hour, HOUR);
                if usable[0] && holds(times, whole) && !is_stale(0, hour) {
                    add(&mut pieces.sums[0], whole);
                } else {
                    let start = whole.start.max(times.start);
                    add(&mut pieces.samples, TimeRange { start, end: whole.end.min(times.end) });
                }
                at += 1;
            }
            found.insert(key, pieces);
        }
        Ok(found)
    }

    /// Whether every hour or day is within one period.
    fn divides(&self, length: i64) -> bool {
        let Periods { range, length: period } = self.periods;
        period.is_none_or(|period| period % length == 0 && range.start % length == 0)
    }

    /// Whether the selection has sums in these times.
    fn has_sums(
        &self,
        server: &ClickHouseServer,
        (month, class): &(u32, String),
        times: &[TimeRange],
    ) -> Result<bool, StoreError> {
        if times.is_empty() {
            return Ok(false);
        }
        let ranges: Vec<TimeRange> = times
            .iter()
            .map(|range| TimeRange { start: range.start - HOUR + 1, end: range.end })
            .collect();
        let mut rows = server.query(&format!(
            "SELECT count() FROM {}.rollup WHERE {} AND span = 0 AND {}{}",
            self.reader.cluster.database,
            partition(*month, class),
            within("start", &ranges),
            conditions::fields(&self.query.selection)
        ))?;
        Ok(rows.u64()? > 0)
    }

    fn add_sums(
        &mut self,
        server: &ClickHouseServer,
        pieces: &AllPieces,
    ) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        for ((month, class), pieces) in pieces {
            for (span, ranges) in pieces.sums.iter().enumerate().filter(|one| !one.1.is_empty()) {
                parts.push(format!(
                    "({} AND span = {span} AND {})",
                    partition(*month, class),
                    within("start", ranges)
                ));
            }
        }
        let low = "least(if(wholes > 0, toFloat64(whole_low), inf), \
                   if(volumes > wholes, number_low, inf))";
        let high = "greatest(if(wholes > 0, toFloat64(whole_high), -inf), \
                    if(volumes > wholes, number_high, -inf))";
        let sums = format!(
            "sum(samples), sum(volumes), sumKahan(total), min({low}), max({high}), \
             min(first_time), max(last_time), count()"
        );
        self.add_up(server, "rollup", (&sums, "start"), &parts)
    }

    fn add_samples(
        &mut self,
        server: &ClickHouseServer,
        pieces: &AllPieces,
    ) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        for ((month, class), pieces) in pieces.iter().filter(|one| !one.1.samples.is_empty()) {
            let days: Vec<TimeRange> = pieces
                .samples
                .iter()
                .map(|range| TimeRange {
                    start: conditions::day(range.start),
                    end: conditions::day(range.end - 1) + 1,
                })
                .collect();
            parts.push(format!(
                "({} AND {} AND {})",
                partition(*month, class),
                within("day", &days),
                within("time", &pieces.samples)
            ));
        }
        let sums = format!(
            "count(), countIf(form > 0), sumKahan({VALUE}), minIf({VALUE}, form > 0), \
             maxIf({VALUE}, form > 0), min(time), max(time), count()"
        );
        self.add_up(server, "sample", (&sums, "time"), &parts)
    }

    /// Lets a server add up rows by group and period.
    fn add_up(
        &mut self,
        server: &ClickHouseServer,
        table: &str,
        (sums, time): (&str, &str),
        parts: &[String],
    ) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        let period = match self.periods.length {
            None => "toInt64(0)".to_owned(),
            Some(length) => {
                let start = self.periods.range.start;
                format!("toInt64(if({time} < {start}, -1, intDiv({time} - {start}, {length})))")
            }
        };
        let mut columns: Vec<&str> = self.query.groups.iter().map(column).collect();
        if self.query.cardinality {
            columns.extend(["resource_id", "user_id", "project_id"]);
        }
        let named: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!(", toNullable(toString({column})) AS g{at}"))
            .collect();
        let groups: Vec<String> = (0..columns.len()).map(|at| format!(", g{at}")).collect();
        let mut rows = server.query(&format!(
            "SELECT toString(unit) AS u, {period} AS p{}, {sums} FROM {}.{table} FINAL \
             WHERE ({}){} GROUP BY u, p{}",
            named.concat(),
            self.reader.cluster.database,
            parts.join(" OR "),
            conditions::fields(&self.query.selection),
            groups.concat(),
        ))?;
        while rows.has_row() {
            self.joined(&mut rows)?;
        }
        Ok(())
    }

    fn joined(&mut self, rows: &mut RowReader<'_>) -> Result<(), StoreError> {
        let (unit, period) = (rows.text()?, rows.i64()?);
        let mut values = Vec::with_capacity(self.query.groups.len());
        for _ in &self.query.groups {
            values.push(rows.optional()?.map(String::from));
        }
        let owners = match self.query.cardinality {
            true => [rows.optional()?, rows.optional()?, rows.optional()?],
            false => [None, None, None],
        };
        let counts = [rows.u64()?, rows.u64()?];
        let (sum, edges) = (rows.f64()?, [rows.f64()?, rows.f64()?]);
        let times = [rows.i64()?, rows.i64()?];
        self.budget.spend(rows.u64()?)?;
        let edges = edges.map(|edge| (counts[1] > 0).then_some(edge));
        let sums = Accumulator::stored(counts, sum, edges, times);
        let is_inside = self.periods.length.is_none_or(|length| {
            let start = self.periods.range.start.saturating_add(period.saturating_mul(length));
            period >= 0 && self.periods.of(start).is_some()
        });
        if !is_inside {
            return Ok(());
        }
        let key = GroupKey { period, unit: unit.into(), values: values.into() };
        let entry = self.grouped.entry(key)?;
        entry.join(&sums);
        for (set, value) in entry.owners.iter_mut().zip(owners) {
            set.extend(value.map(String::from));
        }
        Ok(())
    }

    /// Adds samples one by one: for what servers cannot add up.
    fn one_by_one(&mut self) -> Result<(), StoreError> {
        let selection = crate::store::Selection {
            budget: self.budget.left().max(1),
            ..self.query.selection.clone()
        };
        let mut failed = None;
        let reader = self.reader;
        reader.all_samples(&selection, &mut |sample| match self.add_sample(&sample) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn add_sample(&mut self, sample: &StoredSample) -> Result<(), StoreError> {
        let time = crate::store::micros(sample.time);
        let Some(period) = self.periods.of(time) else { return Ok(()) };
        let values = self.query.groups.iter().map(|group| match group {
            GroupField::Metadata(path) => crate::store::metadata_value(&sample.metadata, path),
            other => other.of_owner(&sample.owner),
        });
        let unit = Arc::from(&*sample.meter.unit);
        let entry = self.grouped.entry(GroupKey { period, unit, values: values.collect() })?;
        entry.add(time, sample.volume.map(Volume::as_f64));
        if self.query.cardinality {
            entry.add_owner(&sample.owner);
        }
        Ok(())
    }
}

fn column(group: &GroupField) -> &'static str {
    match group {
        GroupField::Resource => "resource_id",
        GroupField::Project => "project_id",
        GroupField::User => "user_id",
        // Metadata are read sample by sample.
        GroupField::Source | GroupField::Metadata(_) => "source",
    }
}

fn span(number: i64, length: i64) -> TimeRange {
    TimeRange { start: number * length, end: (number + 1) * length }
}

fn holds(outer: TimeRange, inner: TimeRange) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Adds a range, which may continue the last one.
fn add(ranges: &mut Vec<TimeRange>, range: TimeRange) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// The condition that a column is in one of several ranges.
fn within(column: &str, ranges: &[TimeRange]) -> String {
    let ranges: Vec<String> = ranges
        .iter()
        .map(|range| format!("({column} >= {} AND {column} < {})", range.start, range.end))
        .collect();
    format!("({})", ranges.join(" OR "))
}

impl crate::store::clickhouse::Cluster {
    /// Sums that must not be used, with the numbers of their hours or days.
    pub(super) fn unusable(
        &self,
        server: &ClickHouseServer,
        span: u8,
        times: TimeRange,
    ) -> Result<HashSet<(u32, String, i64)>, StoreError> {
        let stale = self.all_stale(server, (span, SPANS[usize::from(span)]), times)?;
        Ok(stale.into_iter().map(|(month, class, start)| (month, class, start.into())).collect())
    }

    /// The hours that have samples, by month and class, in order.
    fn touched_hours(
        &self,
        server: &ClickHouseServer,
        times: TimeRange,
    ) -> Result<BTreeMap<(u32, String), Vec<i64>>, StoreError> {
        let mut rows = server.query(&format!(
            "SELECT month, class, hour FROM {}.touched WHERE hour >= {} AND hour <= {} \
             GROUP BY month, class, hour ORDER BY hour",
            self.database,
            times.start.div_euclid(HOUR).max(0),
            times.end.saturating_sub(1).div_euclid(HOUR).clamp(0, i64::from(u32::MAX)),
        ))?;
        let mut found: BTreeMap<(u32, String), Vec<i64>> = BTreeMap::new();
        while rows.has_row() {
            let key = (rows.u32()?, rows.text()?);
            found.entry(key).or_default().push(rows.u32()?.into());
        }
        Ok(found)
    }
}
