//! Series of a month file, and reading their samples and sums.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::file::{engine, month_for_reading};
use super::rows::{SPANS, volume};
use crate::sample::{KINDS, MeterKey, OwnerKey, SampleId};
use crate::store::selection::{Selection, TimeRange, WantedOwner, from_micros};
use crate::store::{Accumulator, StoreError, StoredSample};
use nephometer_model::Volume;

/// A series of samples: one meter of one resource.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) number: i64,
    /// The meter of a project that it belongs to.
    pub(super) project_meter: i64,
    pub(super) meter: MeterKey,
    pub(super) owner: OwnerKey,
}

/// A sample of a series, with numbers of what it shares.
#[derive(Debug, Clone)]
pub(super) struct SampleRow {
    /// Microseconds since the beginning of the month.
    pub(super) time: i64,
    pub(super) id: SampleId,
    pub(super) volume: Option<Volume>,
    pub(super) revision: i64,
    pub(super) message: i64,
}

/// A meter of a project: all its series.
pub(super) struct ProjectMeter {
    pub(super) number: i64,
    pub(super) unit: String,
    pub(super) project: Option<String>,
}

/// Whose sums are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum SumsOf {
    Series(i64),
    ProjectMeter(i64),
}

/// The sum of an hour or a day.
pub(super) struct RollupRow {
    /// In microseconds since the beginning of the month.
    pub(super) span: TimeRange,
    pub(super) stale: bool,
    /// With times since the epoch.
    pub(super) sums: Accumulator,
}

/// A month file that is open for reading.
pub(super) struct ReadFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) range: TimeRange,
}

impl ReadFile {
    /// Opens a file; `None` if it is just being made.
    pub(super) fn open(path: PathBuf, range: TimeRange) -> Result<Option<Self>, StoreError> {
        let connection = month_for_reading(&path)?;
        Ok(connection.map(|connection| Self { path, connection, range }))
    }

    pub(super) fn error(&self, source: rusqlite::Error) -> StoreError {
        engine(&self.path, source)
    }

    /// The part of a range in this file, in microseconds since its beginning; `None` if it is empty.
    pub(super) fn clipped(&self, range: TimeRange) -> Option<TimeRange> {
        let start = range.start.max(self.range.start) - self.range.start;
        let end = range.end.min(self.range.end) - self.range.start;
        (start < end).then_some(TimeRange { start, end })
    }

    /// The series of a selection, whatever its times and metadata.
    pub(super) fn series(&self, selection: &Selection) -> Result<Vec<Series>, StoreError> {
        let conditions = [
            text("m.name = ?", &selection.meter),
            text("r.resource_id = ?", &selection.resource),
            owner("r.project_id IS ?", &selection.project),
            owner("r.user_id IS ?", &selection.user),
            text("r.source = ?", &selection.source),
        ];
        self.selected(SERIES, &conditions, series_of)
    }

    /// The meters of projects of a selection, whatever its resource, user and source.
    pub(super) fn project_meters(
        &self,
        selection: &Selection,
    ) -> Result<Vec<ProjectMeter>, StoreError> {
        let sql = "SELECT p.id, m.unit, p.project_id \
                   FROM project_meter p JOIN meter m ON m.id = p.meter";
        let conditions =
            [text("m.name = ?", &selection.meter), owner("p.project_id IS ?", &selection.project)];
        self.selected(sql, &conditions, |row| {
            Ok(ProjectMeter { number: row.get(0)?, unit: row.get(1)?, project: row.get(2)? })
        })
    }

    /// The rows that fulfil all conditions.
    fn selected<T>(
        &self,
        sql: &str,
        conditions: &[Option<SqlCondition>],
        row: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut sql = sql.to_owned();
        let mut values = Vec::new();
        for (condition, value) in conditions.iter().flatten() {
            sql.push_str(if values.is_empty() { " WHERE " } else { " AND " });
            sql.push_str(condition);
            values.push(value);
        }
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(&values), row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.error(source))
    }

    /// The samples of a series in a range since the beginning of the month, newest first if asked
    /// for, until `visit` returns false.
    pub(super) fn rows(
        &self,
        series: i64,
        range: TimeRange,
        newest: bool,
        mut visit: impl FnMut(SampleRow) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let order = if newest { "time DESC, id DESC" } else { "time, id" };
        let sql = format!(
            "SELECT time, id, volume, revision, message FROM sample \
             WHERE series = ?1 AND time >= ?2 AND time < ?3 ORDER BY {order}"
        );
        let failed = |source| self.error(source);
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query([series, range.start, range.end]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if !visit(sample_of(row).map_err(failed)?)? {
                break;
            }
        }
        Ok(())
    }

    /// The series and the row of a sample by its id.
    pub(super) fn by_id(&self, id: &SampleId) -> Result<Option<(Series, SampleRow)>, StoreError> {
        let read = || {
            let sql =
                "SELECT time, id, volume, revision, message, series FROM sample WHERE id = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let found =
                statement.query_row([id], |row| Ok((sample_of(row)?, row.get::<_, i64>(5)?)));
            let Some((row, number)) = found.optional()? else { return Ok(None) };
            let sql = format!("{SERIES} WHERE s.id = ?1");
            let series = self.connection.prepare_cached(&sql)?.query_row([number], series_of)?;
            Ok(Some((series, row)))
        };
        read().map_err(|source| self.error(source))
    }

    /// The sums that begin in a range, in the order of time.
    pub(super) fn rollups(
        &self,
        of: SumsOf,
        span: u8,
        range: TimeRange,
    ) -> Result<Vec<RollupRow>, StoreError> {
        let (table, number) = match of {
            SumsOf::Series(number) => ("rollup WHERE series", number),
            SumsOf::ProjectMeter(number) => ("project_rollup WHERE project_meter", number),
        };
        let sql = format!(
            "SELECT start, stale, row_count, volume_count, sum, min, max, first_time, last_time \
             FROM {table} = ?1 AND span = ?2 AND start >= ?3 AND start < ?4 ORDER BY start"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let values = params![number, span, range.start, range.end];
            let length = SPANS[usize::from(span)];
            let rows = statement.query_map(values, |row| self.rollup_of(row, length))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.error(source))
    }

    fn rollup_of(&self, row: &Row<'_>, length: i64) -> rusqlite::Result<RollupRow> {
        let count = |at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
        let double = |at| volume_at(row, at).map(|volume| volume.map(Volume::as_f64));
        let time = |at| {
            let time = row.get::<_, Option<i64>>(at);
            time.map(|time| time.unwrap_or(0) + self.range.start)
        };
        let sums = Accumulator::stored(
            [count(2)?, count(3)?],
            row.get::<_, Option<f64>>(4)?.unwrap_or(0.0),
            [double(5)?, double(6)?],
            [time(7)?, time(8)?],
        );
        let start: i64 = row.get(0)?;
        let span = TimeRange { start, end: start + length };
        Ok(RollupRow { span, stale: row.get(1)?, sums })
    }

    /// Whether the samples of this month were dropped.
    pub(super) fn has_dropped(&self) -> Result<bool, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = 'expired'";
        let found = self.connection.query_row(sql, [], |row| row.get::<_, Value>(0)).optional();
        found.map(|value| value.is_some()).map_err(|source| self.error(source))
    }

    /// The samples that a search for an id has to read: all of them where ids have no index any more.
    pub(super) fn unindexed(&self) -> Result<u64, StoreError> {
        self.number("SELECT coalesce((SELECT value FROM meta WHERE key = 'packed'), 0)")
    }

    /// A number of a count in the file.
    pub(super) fn number(&self, sql: &str) -> Result<u64, StoreError> {
        let found = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        found.map(|count| u64::try_from(count).unwrap_or(0)).map_err(|source| self.error(source))
    }
}

/// Texts of revisions and times of messages, read once for each query and file.
#[derive(Default)]
pub(super) struct SharedParts {
    metadata: HashMap<i64, Arc<str>>,
    recorded: HashMap<i64, i64>,
    accepted: HashMap<i64, bool>,
}

impl SharedParts {
    /// The metadata of a revision.
    pub(super) fn metadata(
        &mut self,
        file: &ReadFile,
        revision: i64,
    ) -> Result<Arc<str>, StoreError> {
        if let Some(text) = self.metadata.get(&revision) {
            return Ok(Arc::clone(text));
        }
        let sql = "SELECT metadata FROM revision WHERE id = ?1";
        let read = || {
            let mut statement = file.connection.prepare_cached(sql)?;
            statement.query_row([revision], |row| row.get::<_, String>(0))
        };
        let text: Arc<str> = read().map_err(|source| file.error(source))?.into();
        self.metadata.insert(revision, Arc::clone(&text));
        Ok(text)
    }

    /// Whether the metadata of a revision fulfils the conditions of a selection.
    pub(super) fn accepts(
        &mut self,
        file: &ReadFile,
        selection: &Selection,
        revision: i64,
    ) -> Result<bool, StoreError> {
        if selection.metadata.is_empty() {
            return Ok(true);
        }
        if let Some(accepted) = self.accepted.get(&revision) {
            return Ok(*accepted);
        }
        let accepted = selection.accepts_metadata(&self.metadata(file, revision)?);
        self.accepted.insert(revision, accepted);
        Ok(accepted)
    }

    /// The whole sample of a row.
    pub(super) fn sample(
        &mut self,
        file: &ReadFile,
        series: &Series,
        row: SampleRow,
    ) -> Result<StoredSample, StoreError> {
        let recorded = match self.recorded.get(&row.message) {
            Some(time) => *time,
            None => {
                let sql = "SELECT arrived FROM message WHERE id = ?1";
                let read = || {
                    let mut statement = file.connection.prepare_cached(sql)?;
                    statement.query_row([row.message], |found| found.get(0))
                };
                let time = read().map_err(|source| file.error(source))?;
                self.recorded.insert(row.message, time);
                time
            }
        };
        Ok(StoredSample {
            id: row.id,
            meter: series.meter.clone(),
            owner: series.owner.clone(),
            volume: row.volume,
            time: from_micros(file.range.start + row.time),
            recorded: from_micros(recorded),
            metadata: self.metadata(file, row.revision)?,
        })
    }
}

/// All series.
const SERIES: &str = "SELECT s.id, m.name, m.unit, m.kind, r.resource_id, r.project_id, \
                      r.user_id, r.source, s.project_meter \
                      FROM series s JOIN meter m ON m.id = s.meter \
                      JOIN resource r ON r.id = s.resource";

/// A condition with its value, which may be null.
type SqlCondition = (&'static str, Option<String>);

fn text(condition: &'static str, wanted: &Option<String>) -> Option<SqlCondition> {
    wanted.clone().map(|wanted| (condition, Some(wanted)))
}

fn owner(condition: &'static str, wanted: &Option<WantedOwner>) -> Option<SqlCondition> {
    wanted.as_ref().map(|wanted| (condition, wanted.id().map(str::to_owned)))
}

fn volume_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Volume>> {
    let value = row.get_ref(at)?;
    let kind = value.data_type();
    let invalid = || rusqlite::Error::InvalidColumnType(at, "volume".into(), kind);
    volume(value).map_err(|_| invalid())
}

fn sample_of(row: &Row<'_>) -> rusqlite::Result<SampleRow> {
    Ok(SampleRow {
        time: row.get(0)?,
        id: row.get(1)?,
        volume: volume_at(row, 2)?,
        revision: row.get(3)?,
        message: row.get(4)?,
    })
}

fn series_of(row: &Row<'_>) -> rusqlite::Result<Series> {
    let text = |at| row.get::<_, String>(at).map(String::into_boxed_str);
    let optional =
        |at| row.get::<_, Option<String>>(at).map(|text| text.map(String::into_boxed_str));
    let kind = text(3)?;
    let kind = KINDS.into_iter().find(|known| **known == *kind).unwrap_or("gauge");
    Ok(Series {
        number: row.get(0)?,
        project_meter: row.get(8)?,
        meter: MeterKey { name: text(1)?, unit: text(2)?, kind },
        owner: OwnerKey {
            resource_id: text(4)?,
            project_id: optional(5)?,
            user_id: optional(6)?,
            source: text(7)?,
        },
    })
}
