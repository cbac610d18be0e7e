//! Closes months, and lists what was stored in them later.

use std::collections::BTreeMap;

use nephometer_audit::{Leaf, Sums, project_digest};
use nephometer_model::Timestamp;
use nephometer_proof::Digest;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::file::{MonthFile, engine};
use super::rollup::count_all;
use super::rows::{sums_at, volume};
use super::{SqliteStore, months};
use crate::store::StoreError;
use crate::store::closing::{
    Closing, Correction, Corrections, MonthSum, MonthSums, SumKey, difference,
};
use crate::store::month::MonthName;
use crate::store::selection::{from_micros, micros};

/// The columns of a key, from `series` joined with its meter and its resource.
const KEY: &str = "r.project_id, m.name, m.unit, m.kind";
const JOINED: &str = "JOIN series s ON s.id = u.series JOIN meter m ON m.id = s.meter \
                      JOIN resource r ON r.id = s.resource";

impl SqliteStore {
    /// See [`crate::store::Storage::close_month`].
    pub(super) fn close_locked(
        &mut self,
        month: &str,
        now: Timestamp,
    ) -> Result<(Closing, bool), StoreError> {
        let name = MonthName::named(month)?;
        if let Some(closing) = self.ledger.closing(month)? {
            return Ok((closing, false));
        }
        name.check_over(now)?;
        let sums = self.sums(&name)?;
        let projects = self.project_digests(&name)?;
        // As it is stored, so that the digest can be checked.
        let closing = Closing::new(month, from_micros(micros(now)), sums, projects);
        self.ledger.close(&closing)?;
        Ok((closing, true))
    }

    /// See [`crate::store::Storage::corrections`].
    pub(super) fn corrections_locked(&mut self, month: &str) -> Result<Corrections, StoreError> {
        let name = MonthName::named(month)?;
        let Some(closing) = self.ledger.closing(month)? else {
            let what = format!("it is not closed; `close-month {month}` closes it");
            return Err(StoreError::Month { month: month.to_owned(), what });
        };
        let found = self.sums(&name)?;
        let mut late: Vec<Correction> = Vec::new();
        for (key, path) in months(&self.folder)?.into_iter().filter(|(key, _)| key.month == name) {
            let file = self.opened(&key)?;
            let here = late_of(&file.connection).map_err(|source| engine(&path, source))?;
            here.into_iter().for_each(|one| merge(&mut late, one));
        }
        late.sort_by(|one, two| one.key.cmp(&two.key));
        let difference = if !closing.is_intact() {
            Some("the record does not have its digest: it was altered".to_owned())
        } else if self.ledger.is_kept(month)? {
            difference(&closing, &late, &found)
        } else {
            None
        };
        Ok(Corrections { closing, late, difference })
    }

    /// The sums of a month, counted again where that is needed.
    fn sums(&mut self, month: &MonthName) -> Result<MonthSums, StoreError> {
        let mut sums = MonthSums::new();
        for (key, path) in months(&self.folder)?.into_iter().filter(|(key, _)| key.month == *month)
        {
            let file = self.opened(&key)?;
            for (key, one) in sums_of(file).map_err(|source| engine(&path, source))? {
                sums.entry(key).or_default().add(&one);
            }
        }
        Ok(sums)
    }
}

impl SqliteStore {
    /// The digests of the projects over days, resources and meters, by their pseudonyms. All sums have
    /// been counted.
    fn project_digests(&mut self, month: &MonthName) -> Result<Vec<(Digest, Digest)>, StoreError> {
        let mut projects: BTreeMap<Option<String>, BTreeMap<LeafKey, Sums>> = BTreeMap::new();
        for (key, path) in months(&self.folder)?.into_iter().filter(|(key, _)| key.month == *month)
        {
            let file = self.opened(&key)?;
            let mut add = |project, key: LeafKey, sums: &Sums| {
                let leaves: &mut BTreeMap<LeafKey, Sums> = projects.entry(project).or_default();
                leaves.entry(key).or_default().merge(sums);
            };
            day_sums(file, &mut add).map_err(|source| engine(&path, source))?;
        }
        let digests = projects.into_iter().map(|(project, leaves)| {
            let leaf = |((day, [resource, meter, unit, kind]), sums): (LeafKey, Sums)| Leaf {
                day,
                resource,
                meter,
                unit,
                kind,
                sums: sums.written(),
            };
            let mut leaves: Vec<Leaf> = leaves.into_iter().map(leaf).collect();
            let pseudonym = Digest::of_project(&project.unwrap_or_default());
            (pseudonym, project_digest(&mut leaves))
        });
        Ok(digests.collect())
    }
}

/// The beginning of a day, in microseconds since the epoch; resource, meter, unit and type.
type LeafKey = (i64, [String; 4]);

/// The sums of the days of a file, in an order that audits repeat.
fn day_sums(
    file: &MonthFile,
    add: &mut dyn FnMut(Option<String>, LeafKey, &Sums),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {KEY}, r.resource_id, u.start, u.row_count, u.volume_count, \
         coalesce(u.sum, 0.0), u.min, u.max FROM rollup u {JOINED} \
         WHERE u.span = 1 AND u.row_count > 0 ORDER BY u.series, u.start"
    );
    let mut statement = file.connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let SumKey { project, meter, unit, kind } = key_of(row, 0)?;
        let day = file.range.start + row.get::<_, i64>(5)?;
        add(project, (day, [row.get(4)?, meter, unit, kind]), &sums_at(row, 6)?);
    }
    Ok(())
}

fn merge(late: &mut Vec<Correction>, one: Correction) {
    match late.iter_mut().find(|known| known.key == one.key) {
        Some(known) => {
            known.sums.add(&one.sums);
            known.arrived[0] = known.arrived[0].min(one.arrived[0]);
            known.arrived[1] = known.arrived[1].max(one.arrived[1]);
        }
        None => late.push(one),
    }
}

/// The sums of days of a file, by project and meter.
fn sums_of(file: &mut MonthFile) -> rusqlite::Result<MonthSums> {
    let transaction = file.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    count_all(&transaction)?;
    let sums = read_sums(&transaction)?;
    transaction.commit()?;
    file.catalogue.forget_marks();
    Ok(sums)
}

fn read_sums(connection: &Connection) -> rusqlite::Result<MonthSums> {
    let sql = format!(
        "SELECT {KEY}, sum(u.row_count), sum(u.volume_count), total(u.sum), min(u.min), max(u.max) \
         FROM rollup u {JOINED} WHERE u.span = 1 GROUP BY {KEY}"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| Ok((key_of(row, 0)?, sum_of(row, 4)?)))?;
    rows.collect()
}

fn late_of(connection: &Connection) -> rusqlite::Result<Vec<Correction>> {
    let sql = format!(
        "SELECT {KEY}, sum(u.samples), sum(u.volumes), total(u.sum), min(u.lowest), \
         max(u.highest), min(u.first_arrived), max(u.last_arrived) \
         FROM correction u {JOINED} GROUP BY {KEY}"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        let arrived = [from_micros(row.get(9)?), from_micros(row.get(10)?)];
        Ok(Correction { key: key_of(row, 0)?, sums: sum_of(row, 4)?, arrived })
    })?;
    rows.collect()
}

/// A key in four columns from `at` on.
pub(super) fn key_of(row: &Row<'_>, at: usize) -> rusqlite::Result<SumKey> {
    Ok(SumKey {
        project: row.get(at)?,
        meter: row.get(at + 1)?,
        unit: row.get(at + 2)?,
        kind: row.get(at + 3)?,
    })
}

/// Sums in five columns from `at` on.
pub(super) fn sum_of(row: &Row<'_>, at: usize) -> rusqlite::Result<MonthSum> {
    let count = |at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    let edge = |at| {
        let value = row.get_ref(at)?;
        let kind = value.data_type();
        let wrong = |_| rusqlite::Error::InvalidColumnType(at, "volume".into(), kind);
        volume(value).map_err(wrong)
    };
    Ok(MonthSum {
        samples: count(at)?,
        volumes: count(at + 1)?,
        sum: row.get(at + 2)?,
        min: edge(at + 3)?,
        max: edge(at + 4)?,
    })
}
