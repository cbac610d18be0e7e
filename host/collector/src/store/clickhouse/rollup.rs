//! Counts sums of hours and days again, and drops months that are kept no longer.

use std::collections::BTreeMap;
use std::time::Duration;

use nephometer_config::RetentionClass;
use nephometer_model::Timestamp;

use super::client::ClickHouseServer;
use super::schema::{KEY, partition};
use super::wire::RowWriter;
use super::write::{DAY, HOUR, listed};
use super::{ClickHouseStore, Cluster};
use crate::store::StoreError;
use crate::store::month::MonthName;
use crate::store::selection::{TimeRange, micros, micros_of};

/// An hour or a day is counted this long after its end, when most of its samples have arrived.
const DELAY: Duration = Duration::from_secs(120);
/// Hours or days of one statement.
const BATCH: usize = 200;
/// Stands for the class of a month whose sums were dropped. Classes have names.
pub(super) const SUMS: &str = "";
/// The lengths of spans: hours and days.
pub(super) const SPANS: [i64; 2] = [HOUR, DAY];

/// The number of a sample's value.
pub(super) const VALUE: &str = "if(form = 1, toFloat64(whole), number)";

/// Hours or days of one month and class: their numbers since the epoch, with the marks of each.
type Stale = BTreeMap<(u32, String), Vec<(u32, u64)>>;

impl ClickHouseStore {
    /// See [`crate::store::Storage::maintain`].
    pub(super) fn maintain_all(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let until = micros(now) - micros_of(DELAY);
        let mut more = false;
        for (server, state) in self.cluster.servers.iter().zip(&mut self.states) {
            let (counted, behind) = self.cluster.count_some(server, until, None)?;
            state.behind = behind;
            more |= counted == BATCH;
        }
        if more {
            return Ok(true);
        }
        self.expire(now)?;
        Ok(false)
    }

    /// Drops what is kept no longer, and the ids of samples that are older than the window.
    fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let over = |month: u32, kept: Option<Duration>| {
            let end = MonthName::numbered(month).range().end;
            kept.is_some_and(|kept| end.saturating_add(micros_of(kept)) < micros(now))
        };
        let database = &self.cluster.database;
        for server in &self.cluster.servers {
            let mut kept = std::collections::BTreeSet::new();
            for (month, class) in partitions(server, database, "rollup")? {
                // A class that was removed from the configuration is kept.
                let spec = self.keep.classes.iter().find(|spec| spec.name == class);
                let spec = spec.filter(|spec| over(month, spec.keep));
                let Some(spec) = spec else {
                    kept.insert(month);
                    continue;
                };
                self.cluster.drop_samples(server, month, &class)?;
                if over(month, spec.rollups) {
                    self.cluster.note_dropped(month, SUMS)?;
                    server.execute(&format!(
                        "ALTER TABLE {database}.rollup DROP PARTITION ({month}, '{class}')"
                    ))?;
                } else {
                    kept.insert(month);
                }
            }
            self.cluster.drop_months(server, |month| {
                let gone =
                    |class: &RetentionClass| over(month, class.keep) && over(month, class.rollups);
                !kept.contains(&month) && self.keep.classes.iter().all(gone)
            })?;
            for month in months(server, database, "seen")? {
                if over(month, Some(self.keep.window)) {
                    let sql = format!("ALTER TABLE {database}.seen DROP PARTITION {month}");
                    server.execute(&sql)?;
                }
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Counts all stale sums of a month, also those of days that are not over.
    pub(super) fn count_all(&self, month: u32) -> Result<(), StoreError> {
        for server in &self.servers {
            while self.count_some(server, i64::MAX, Some(month))?.0 == BATCH {}
        }
        Ok(())
    }

    /// Counts some of the stale sums of hours and days that end before a time. Returns how many, and how
    /// many are left.
    fn count_some(
        &self,
        server: &ClickHouseServer,
        until: i64,
        month: Option<u32>,
    ) -> Result<(usize, u64), StoreError> {
        let (mut counted, mut left) = (0, 0);
        for (span, length) in (0_u8..).zip(SPANS) {
            let (stale, all) = self.stale(server, (span, length), (until, month))?;
            for ((month, class), starts) in &stale {
                self.count(server, span, (*month, class), starts)?;
                counted += starts.len();
            }
            left += all - u64::try_from(stale.values().map(Vec::len).sum::<usize>()).unwrap_or(0);
        }
        Ok((if left > 0 { BATCH } else { counted.min(BATCH - 1) }, left))
    }

    /// The oldest stale sums, and how many there are. The marks are read before the samples.
    fn stale(
        &self,
        server: &ClickHouseServer,
        (span, length): (u8, i64),
        (until, month): (i64, Option<u32>),
    ) -> Result<(Stale, u64), StoreError> {
        let only = month.map_or("1".to_owned(), |month| format!("month = {month}"));
        let ended = format!("(toInt64(start) + 1) * {length} <= {until}");
        let mut rows = server.query(&self.stale_sql((span, length), &only, &ended))?;
        let (mut stale, mut all) = (Stale::new(), 0);
        while rows.has_row() {
            let key = (rows.u32()?, rows.text()?);
            let entry = (rows.u32()?, rows.u64()?);
            if all < BATCH as u64 {
                stale.entry(key).or_default().push(entry);
            }
            all += 1;
        }
        Ok((stale, all))
    }

    /// The hours or days that have more marks than were counted.
    fn stale_sql(&self, (span, length): (u8, i64), only: &str, condition: &str) -> String {
        let (database, part) = (&self.database, length / HOUR);
        format!(
            "SELECT month, class, start, sum(m) AS marks FROM (\
             SELECT month, class, toUInt32(intDiv(hour, {part})) AS start, sum(marks) AS m, \
             toUInt64(0) AS c FROM {database}.touched WHERE {only} GROUP BY month, class, start \
             UNION ALL SELECT month, class, start, toUInt64(0) AS m, max(marks) AS c \
             FROM {database}.counted WHERE span = {span} AND {only} GROUP BY month, class, start) \
             WHERE {condition} \
             GROUP BY month, class, start HAVING sum(m) > sum(c) ORDER BY start, class"
        )
    }

    /// The stale sums that begin in a range, with the numbers of their hours or days.
    pub(super) fn all_stale(
        &self,
        server: &ClickHouseServer,
        (span, length): (u8, i64),
        range: TimeRange,
    ) -> Result<Vec<(u32, String, u32)>, StoreError> {
        let first = range.start.div_euclid(length);
        let last = range.end.saturating_sub(1).div_euclid(length);
        let inside = format!("toInt64(start) >= {first} AND toInt64(start) <= {last}");
        let mut rows = server.query(&self.stale_sql((span, length), "1", &inside))?;
        let mut found = Vec::new();
        while rows.has_row() {
            found.push((rows.u32()?, rows.text()?, rows.u32()?));
            rows.u64()?;
        }
        Ok(found)
    }

    /// Counts hours or days of a month and a class from their samples.
    fn count(
        &self,
        server: &ClickHouseServer,
        span: u8,
        (month, class): (u32, &str),
        starts: &[(u32, u64)],
    ) -> Result<(), StoreError> {
        let (database, length) = (&self.database, SPANS[usize::from(span)]);
        let numbers = listed(starts.iter().map(|(start, _)| start));
        let marks = listed(starts.iter().map(|(_, marks)| marks));
        let days: std::collections::BTreeSet<i64> =
            starts.iter().map(|(start, _)| i64::from(*start) * length / DAY).collect();
        let number = format!("toUInt32(intDiv(time, {length}))");
        server.execute(&format!(
            "INSERT INTO {database}.rollup (month, class, span, start, {KEY}, late, samples, volumes, \
             total, wholes, whole_low, whole_high, number_low, number_high, first_time, last_time, \
             first_arrived, last_arrived, version) \
             SELECT month, class, toUInt8({span}), toInt64(n) * {length}, {KEY}, late, count(), \
             countIf(form > 0), sumKahan({VALUE}), countIf(form = 1), minIf(whole, form = 1), \
             maxIf(whole, form = 1), minIf(number, form = 2), maxIf(number, form = 2), min(time), \
             max(time), min(arrived), max(arrived), \
             toUInt64(transform(n, [{numbers}], [{marks}], 0)) FROM \
             (SELECT *, {number} AS n FROM {database}.sample FINAL \
             WHERE {} AND day IN ({}) AND {number} IN ({numbers})) \
             GROUP BY month, class, n, {KEY}, late",
            partition(month, class),
            listed(days),
        ))?;
        let mut rows = RowWriter::default();
        for (start, marks) in starts {
            rows.u32(month).text(class).u8(span).u32(*start).u64(*marks);
        }
        server.insert("counted", "month, class, span, start, marks", &rows)
    }

    /// Drops the samples of a month and a class; their sums are counted for the last time before.
    fn drop_samples(
        &self,
        server: &ClickHouseServer,
        month: u32,
        class: &str,
    ) -> Result<(), StoreError> {
        let database = &self.database;
        let here = (month, class.to_owned());
        if !partitions(server, database, "sample")?.contains(&here) {
            return Ok(());
        }
        while self.count_some(server, i64::MAX, Some(month))?.0 == BATCH {}
        self.note_dropped(month, class)?;
        let sql = format!("ALTER TABLE {database}.sample DROP PARTITION ({month}, '{class}')");
        server.execute(&sql)
    }

    /// Drops what is shared by the classes of months of which nothing is kept.
    fn drop_months(
        &self,
        server: &ClickHouseServer,
        is_over: impl Fn(u32) -> bool,
    ) -> Result<(), StoreError> {
        for table in ["revision", "message", "repeated", "touched", "counted"] {
            for month in months(server, &self.database, table)? {
                if is_over(month) {
                    let database = &self.database;
                    server.execute(&format!(
                        "ALTER TABLE {database}.{table} DROP PARTITION {month}"
                    ))?;
                }
            }
        }
        Ok(())
    }
}

/// The months and classes of a table.
pub(super) fn partitions(
    server: &ClickHouseServer,
    database: &str,
    table: &str,
) -> Result<Vec<(u32, String)>, StoreError> {
    Ok(parts(server, database, table)?.iter().filter_map(|name| named(name)).collect())
}

/// The month and the class of a partition, whose name is such as `(202611,'default')`.
pub(super) fn named(name: &str) -> Option<(u32, String)> {
    let (month, class) = name.trim_matches(['(', ')']).split_once(',')?;
    Some((month.trim().parse().ok()?, class.trim().trim_matches('\'').to_owned()))
}

/// The months of a table.
fn months(server: &ClickHouseServer, database: &str, table: &str) -> Result<Vec<u32>, StoreError> {
    let named = parts(server, database, table)?;
    Ok(named.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The partitions of a table, from its parts: no row is read.
fn parts(
    server: &ClickHouseServer,
    database: &str,
    table: &str,
) -> Result<Vec<String>, StoreError> {
    let mut rows = server.query(&format!(
        "SELECT DISTINCT partition FROM system.parts WHERE active AND database = '{database}' \
         AND table = '{table}'"
    ))?;
    let mut found = Vec::new();
    while rows.has_row() {
        found.push(rows.text()?);
    }
    Ok(found)
}
