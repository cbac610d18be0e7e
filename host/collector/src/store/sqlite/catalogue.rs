//! Numbers of what samples have in common: looked up once, created if they are missing.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::sample::{Measurement, MeterKey, OwnerKey};

/// Entries of each table that are kept in memory. Beyond it they are looked up again.
const MOST: usize = 1_000_000;

/// The numbers that are known.
#[derive(Default)]
pub(super) struct Catalogue {
    meters: HashMap<MeterKey, i64>,
    owners: HashMap<OwnerKey, i64>,
    revisions: HashMap<(i64, [u8; 32]), i64>,
    series: HashMap<(i64, i64), i64>,
    /// Sums that are stale already: span, series, start.
    marks: HashSet<(u8, i64, i64)>,
}

/// The series and the revision of a sample.
pub(super) struct Numbers {
    pub(super) series: i64,
    pub(super) revision: i64,
}

impl Catalogue {
    /// The numbers of a sample, within a transaction.
    pub(super) fn numbers(
        &mut self,
        connection: &Connection,
        sample: &Measurement,
    ) -> rusqlite::Result<Numbers> {
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
            Some(number) => *number,
            None => {
                let number = series(connection, meter, owner)?;
                bounded(&mut self.series).insert((meter, owner), number);
                number
            }
        };
        Ok(Numbers { series, revision })
    }

    /// Marks the sums of an hour or a day as stale.
    pub(super) fn mark(
        &mut self,
        connection: &Connection,
        mark: (u8, i64, i64),
    ) -> rusqlite::Result<()> {
        if self.marks.contains(&mark) {
            return Ok(());
        }
        let (span, series, start) = mark;
        let sql = "INSERT INTO rollup (series, span, start, stale) VALUES (?1, ?2, ?3, 1) \
                   ON CONFLICT DO UPDATE SET stale = 1";
        connection.prepare_cached(sql)?.execute(params![series, span, start])?;
        if self.marks.len() >= MOST {
            self.marks.clear();
        }
        self.marks.insert(mark);
        Ok(())
    }

    /// Forgets which sums are stale: they have been counted again.
    pub(super) fn forget_marks(&mut self) {
        self.marks.clear();
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

fn series(connection: &Connection, meter: i64, owner: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT id FROM series WHERE meter = ?1 AND resource = ?2";
    let values = params![meter, owner];
    let found = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    let sql = "INSERT INTO series (meter, resource) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.insert(values)
}
