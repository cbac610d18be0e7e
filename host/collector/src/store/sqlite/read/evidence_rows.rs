//! Rows of a month file that become evidence.

use std::collections::{BTreeMap, HashMap};

use nephometer_audit::ClosedSum;
use nephometer_model::{Timestamp, Volume};
use nephometer_proof::Digest;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::sample::SampleId;
use crate::store::StoreError;
use crate::store::evidence::{ChainMessage, CycleBrief, DayRow, OwnSample, OwnValue};
use crate::store::evidence_reader::EvidenceFile;
use crate::store::selection::TimeRange;
use crate::store::sqlite::rows::{DAY, SPANS, sums_at};
use crate::store::sqlite::series::ReadFile;

/// The id of a project as it is stored: samples without one have none.
fn stored(project: &str) -> Option<&str> {
    (!project.is_empty()).then_some(project)
}

impl EvidenceFile for ReadFile {
    fn clip(&self, range: TimeRange) -> Option<TimeRange> {
        self.clipped(range)
    }

    fn is_expired(&self) -> Result<bool, StoreError> {
        self.has_dropped()
    }

    fn sample(&self, id: &SampleId) -> Result<Option<(i64, i64, Option<Volume>)>, StoreError> {
        let found = self.by_id(id)?;
        Ok(found.map(|(series, row)| (series.number, self.range.start + row.time, row.volume)))
    }

    fn all_streams(&self) -> Result<Vec<Uuid>, StoreError> {
        let (mut found, mut after) = (Vec::new(), Vec::new());
        while let Some(stream) = self.stream_after(&after)? {
            after = stream.as_bytes().to_vec();
            found.push(stream);
        }
        Ok(found)
    }

    fn declarations(
        &self,
        stream: Uuid,
        visit: &mut dyn FnMut(Timestamp, &str) -> bool,
    ) -> Result<(), StoreError> {
        self.declared(stream, visit)
    }

    /// The series of a project with meter, unit, type and resource.
    fn project_series(&self, project: &str) -> Result<Vec<(i64, [String; 4])>, StoreError> {
        let sql = "SELECT s.id, m.name, m.unit, m.kind, r.resource_id FROM series s \
                   JOIN meter m ON m.id = s.meter JOIN resource r ON r.id = s.resource \
                   WHERE r.project_id IS ?1 ORDER BY s.id";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map([stored(project)], |row| {
                Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.error(source))
    }

    fn own_samples(
        &self,
        series: &HashMap<i64, u32>,
        file: u16,
        range: TimeRange,
        visit: &mut dyn FnMut(OwnSample) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (series, number) in series {
            self.samples_of((*series, *number), file, range, visit)?;
        }
        Ok(())
    }

    /// The stream of a message, and where it came from.
    fn origin(&self, message: i64) -> Result<(Option<Uuid>, String), StoreError> {
        let read = || {
            let sql = "SELECT stream, origin FROM message WHERE id = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let found = statement.query_row([message], |row| {
                let stream: Option<[u8; 16]> = row.get(0)?;
                Ok((stream.map(Uuid::from_bytes), row.get(1)?))
            });
            found.optional()
        };
        let found = read().map_err(|source| self.error(source))?;
        Ok(found.unwrap_or_default())
    }

    /// Samples that came again, by the message that they came in again.
    fn repeated(&self) -> Result<HashMap<i64, Vec<SampleId>>, StoreError> {
        let read = || {
            let mut found: HashMap<i64, Vec<SampleId>> = HashMap::new();
            let mut statement =
                self.connection.prepare_cached("SELECT message, id FROM repeated")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                found.entry(row.get(0)?).or_default().push(row.get(1)?);
            }
            Ok(found)
        };
        read().map_err(|source| self.error(source))
    }

    /// The messages of a stream that a range needs. In the file of an earlier month, these are the last
    /// two batches; in that of a later one, those up to the first batch behind the range.
    fn chain(
        &self,
        stream: Uuid,
        file: usize,
        times: TimeRange,
        found: &mut Vec<ChainMessage>,
    ) -> Result<(), StoreError> {
        let (before, after) = (self.range.end <= times.start, self.range.start >= times.end);
        let order = if before { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT id, sequence, body, previous, digest, record, refused FROM message \
             WHERE stream = ?1 ORDER BY sequence {order}"
        );
        let mut checkpoints = 0;
        let mut read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([stream.as_bytes().as_slice()])?;
            while let Some(row) = rows.next()? {
                let message = chain_message(row, file)?;
                let cycle = message.record.as_ref().and_then(|(_, cycle)| *cycle);
                found.push(message);
                let Some(cycle) = cycle else { continue };
                let behind =
                    (before && cycle.time <= times.start) || (after && cycle.time >= times.end);
                checkpoints += u8::from(behind);
                if checkpoints == 2 {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// The sums of the days of a project that are whole in a range since the beginning of the month.
    fn project_days(&self, project: &str, range: TimeRange) -> Result<Vec<DayRow>, StoreError> {
        let sql = "SELECT u.series, u.start, u.stale, u.row_count, u.volume_count, \
                   coalesce(u.sum, 0.0), u.min, u.max, c.samples, c.volumes, c.sum, c.lowest, \
                   c.highest FROM rollup u JOIN series s ON s.id = u.series \
                   JOIN resource r ON r.id = s.resource \
                   LEFT JOIN closed_day c ON c.series = u.series AND c.start = u.start \
                   WHERE u.span = ?1 AND r.project_id IS ?2 AND u.start >= ?3 AND u.start <= ?4 \
                   ORDER BY u.series, u.start";
        let length = SPANS[usize::from(DAY)];
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let values = params![DAY, stored(project), range.start, range.end - length];
            let rows = statement.query_map(values, |row| {
                let stale: bool = row.get(2)?;
                let closed = row.get::<_, Option<i64>>(8)?.map(|_| sums_at(row, 8)).transpose()?;
                Ok(DayRow {
                    series: row.get(0)?,
                    start: self.range.start + row.get::<_, i64>(1)?,
                    now: if stale { None } else { Some(sums_at(row, 3)?) },
                    closed,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.error(source))
    }

    /// What was stored of a project after the month was closed.
    fn project_corrections(&self, project: &str) -> Result<Vec<ClosedSum>, StoreError> {
        let sql = "SELECT m.name, m.unit, m.kind, u.samples, u.volumes, u.sum, u.lowest, \
                   u.highest FROM correction u JOIN series s ON s.id = u.series \
                   JOIN meter m ON m.id = s.meter JOIN resource r ON r.id = s.resource \
                   WHERE r.project_id IS ?1";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map([stored(project)], |row| {
                let (meter, unit, kind) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(ClosedSum { meter, unit, kind, sums: sums_at(row, 3)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.error(source))
    }
}

impl ReadFile {
    /// The samples of a series, which has a number in the evidence, in a range since the beginning of
    /// the month.
    fn samples_of(
        &self,
        (series, number): (i64, u32),
        file: u16,
        range: TimeRange,
        visit: &mut dyn FnMut(OwnSample) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT time, id, volume, message FROM sample \
                   WHERE series = ?1 AND time >= ?2 AND time < ?3";
        let failed = |source| self.error(source);
        let read = |row: &Row<'_>| -> rusqlite::Result<OwnSample> {
            Ok(OwnSample {
                file,
                used: false,
                series: number,
                message: row.get(3)?,
                time: self.range.start + row.get::<_, i64>(0)?,
                id: row.get(1)?,
                value: match row.get_ref(2)? {
                    ValueRef::Integer(value) => OwnValue::Integer(value),
                    ValueRef::Real(value) => OwnValue::Double(value),
                    _ => OwnValue::Null,
                },
            })
        };
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query([series, range.start, range.end]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(read(row).map_err(failed)?)?;
        }
        Ok(())
    }
}

fn chain_message(row: &Row<'_>, file: usize) -> rusqlite::Result<ChainMessage> {
    let digest = |at| row.get::<_, [u8; 32]>(at).map(Digest::from_bytes);
    let record: Option<String> = row.get(5)?;
    let signed = record.and_then(|text| serde_json::from_str(&text).ok());
    let refused: Option<String> = row.get(6)?;
    let refused = refused.and_then(|text| serde_json::from_str::<BTreeMap<_, _>>(&text).ok());
    Ok(ChainMessage {
        sequence: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
        body: digest(2)?,
        previous: digest(3)?,
        digest: digest(4)?,
        record: signed.map(|signed| {
            let cycle = CycleBrief::of(&signed);
            (signed, cycle)
        }),
        refused: refused.unwrap_or_default(),
        places: vec![(file, row.get(0)?)],
    })
}
