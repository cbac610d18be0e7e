//! Numbers of what samples have in common: looked up once, created if they are missing.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::SPANS;
use crate::sample::{Measurement, MeterKey, OwnerKey};

/// Entries of each table that are kept in memory. Beyond it they are looked up again.
const MOST: usize = 1_000_000;

/// The numbers that are known.
#[derive(Default)]
pub(super) struct Catalogue {
    meters: HashMap<MeterKey, i64>,
    owners: HashMap<OwnerKey, i64>,
    revisions: HashMap<(i64, [u8; 32]), i64>,
    series: HashMap<(i64, i64), SeriesNumbers>,
    /// Sums that are stale already: span, series, start.
    marks: HashSet<Mark>,
    /// The same of a meter of a project in place of a series.
    project_marks: HashSet<Mark>,
}

type Mark = (u8, i64, i64);

/// A series, and the meter of a project that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesNumbers {
    pub(super) series: i64,
    project_meter: i64,
}

impl Catalogue {
    /// The series and the revision of a sample, within a transaction.
    pub(super) fn numbers(
        &mut self,
        connection: &Connection,
        sample: &Measurement,
    ) -> rusqlite::Result<(SeriesNumbers, i64)> {
        let meter = match self.meters.get(&sample.meter) {
            Some(number) => *number,
            None => {
                let number = meter(connection, &sample.meter)?;
                self.meters.insert(sample.meter.clone(), number);
                number
            }
        };
        let owner = match self.owners.get(&sample.owner) {
            Some(number) => *number,
            None => {
                let number = owner(connection, &sample.owner)?;
                bounded(&mut self.owners).insert(sample.owner.clone(), number);
                number
            }
        };
        let key = (owner, sample.metadata.digest);
        let revision = match self.revisions.get(&key) {
            Some(number) => *number,
            None => {
                let number = revision(connection, owner, sample)?;
                bounded(&mut self.revisions).insert(key, number);
                number
            }
        };
        let series = match self.series.get(&(meter, owner)) {
            Some(numbers) => *numbers,
            None => {
                let project = sample.owner.project_id.as_deref();
                let numbers = series(connection, [meter, owner], project)?;
                bounded(&mut self.series).insert((meter, owner), numbers);
                numbers
            }
        };
        Ok((series, revision))
    }

    /// Marks the sums of the hour and the day of a time as stale. While one of a series is stale, the
    /// one of its project is, so that most samples have nothing to mark.
    pub(super) fn mark(
        &mut self,
        connection: &Connection,
        numbers: SeriesNumbers,
        time: i64,
    ) -> rusqlite::Result<()> {
        let SeriesNumbers { series, project_meter } = numbers;
        for (span, length) in (0_u8..).zip(SPANS) {
            let start = time - time.rem_euclid(length);
            if !is_new(&mut self.marks, (span, series, start)) {
                continue;
            }
            let sql = "INSERT INTO rollup (series, span, start, stale) VALUES (?1, ?2, ?3, 1) \
                       ON CONFLICT DO UPDATE SET stale = 1";
            connection.prepare_cached(sql)?.execute(params![series, span, start])?;
            if is_new(&mut self.project_marks, (span, project_meter, start)) {
                let sql = "INSERT INTO project_rollup (project_meter, span, start, stale) \
                           VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET stale = 1";
                connection.prepare_cached(sql)?.execute(params![project_meter, span, start])?;
            }
        }
        Ok(())
    }

    /// Forgets which sums are stale: they have been counted again.
    pub(super) fn forget_marks(&mut self) {
        self.marks.clear();
        self.project_marks.clear();
    }

    /// Forgets everything, because a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn bounded<K, V>(map: &mut HashMap<K, V>) -> &mut HashMap<K, V> {
    if map.len() >= MOST {
        map.clear();
    }
    map
}

/// Adds a mark. False if it is there.
fn is_new(marks: &mut HashSet<Mark>, mark: Mark) -> bool {
    if marks.contains(&mark) {
        return false;
    }
    if marks.len() >= MOST {
        marks.clear();
    }
    marks.insert(mark)
}

fn meter(connection: &Connection, meter: &MeterKey) -> rusqlite::Result<i64> {
    let values = params![&*meter.name, &*meter.unit, meter.kind];
    let sql = "SELECT id FROM meter WHERE name = ?1 AND unit = ?2 AND kind = ?3";
    let found = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let sql = "INSERT INTO meter (name, unit, kind) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.insert(values)
}

fn owner(connection: &Connection, owner: &OwnerKey) -> rusqlite::Result<i64> {
    let (project, user) = (owner.project_id.as_deref(), owner.user_id.as_deref());
    let values = params![&*owner.resource_id, project, user, &*owner.source];
    let sql = "SELECT id FROM resource \
               WHERE resource_id = ?1 AND project_id IS ?2 AND user_id IS ?3 AND source = ?4";
    let found = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let sql =
        "INSERT INTO resource (resource_id, project_id, user_id, source) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.insert(values)
}

fn revision(connection: &Connection, owner: i64, sample: &Measurement) -> rusqlite::Result<i64> {
    let metadata = &sample.metadata;
    let sql = "SELECT id FROM revision WHERE resource = ?1 AND digest = ?2";
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![owner, metadata.digest], |row| row.get(0))
        .optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let sql = "INSERT INTO revision (resource, digest, metadata) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.insert(params![owner, metadata.digest, &*metadata.text])
}

fn series(
    connection: &Connection,
    [meter, owner]: [i64; 2],
    project: Option<&str>,
) -> rusqlite::Result<SeriesNumbers> {
    let sql = "SELECT id, project_meter FROM series WHERE meter = ?1 AND resource = ?2";
    let numbers =
        |row: &Row<'_>| Ok(SeriesNumbers { series: row.get(0)?, project_meter: row.get(1)? });
    let mut statement = connection.prepare_cached(sql)?;
    if let Some(numbers) = statement.query_row([meter, owner], numbers).optional()? {
        return Ok(numbers);
    }
    let project_meter = project_meter(connection, meter, project)?;
    let sql = "INSERT INTO series (meter, resource, project_meter) VALUES (?1, ?2, ?3)";
    let series = connection.prepare_cached(sql)?.insert([meter, owner, project_meter])?;
    Ok(SeriesNumbers { series, project_meter })
}

fn project_meter(
    connection: &Connection,
    meter: i64,
    project: Option<&str>,
) -> rusqlite::Result<i64> {
    let sql = "SELECT id FROM project_meter WHERE meter = ?1 AND project_id IS ?2";
    let values = params![meter, project];
    let found = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let sql = "INSERT INTO project_meter (meter, project_id) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.insert(values)
}
