//! What the ledger has of closed months and of projects that are erased.

use std::collections::BTreeSet;
use std::path::Path;

use nephometer_audit::{ClosedMonth, ClosedSum};
use nephometer_model::Timestamp;
use nephometer_proof::Digest;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::closing::{key_of, sum_of};
use super::erase::rewrite;
use super::file::engine;
use super::ledger::{LedgerFile, MONTHS, PROJECTS, add, read_only, texts};
use super::rows::{sums_at, volume_value};
use crate::store::month::MonthName;
use crate::store::selection::{TimeRange, from_micros, micros};
use crate::store::{Closing, StoreError};

impl LedgerFile {
    /// The months that are closed.
    pub(super) fn closed_months(&self) -> Result<BTreeSet<String>, StoreError> {
        texts(&self.connection, MONTHS).map_err(|source| engine(&self.path, source))
    }

    /// The projects whose samples are stored without metadata.
    pub(super) fn erasing(&self) -> Result<BTreeSet<String>, StoreError> {
        texts(&self.connection, PROJECTS).map_err(|source| engine(&self.path, source))
    }

    /// The record of a month.
    pub(super) fn closing(&self, month: &str) -> Result<Option<Closing>, StoreError> {
        let read = || {
            let Some(head) = closing_head(&self.connection, month)? else { return Ok(None) };
            let sql = "SELECT project, meter, unit, kind, samples, volumes, sum, lowest, highest \
                       FROM closed_sum WHERE month = ?1";
            let mut statement = self.connection.prepare(sql)?;
            let rows =
                statement.query_map([month], |row| Ok((key_of(row, 0)?, sum_of(row, 4)?)))?;
            let sums = rows.collect::<rusqlite::Result<_>>()?;
            let ClosingHead { closed, digest, tree, projects } = head;
            let (month, closed) = (month.to_owned(), from_micros(closed));
            Ok(Some(Closing { month, closed, digest, sums, tree, projects }))
        };
        read().map_err(|source| engine(&self.path, source))
    }

    /// Writes the record of a month.
    pub(super) fn close(&mut self, closing: &Closing) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut write = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            let sql = "INSERT INTO closing (month, closed, digest, tree) VALUES (?1, ?2, ?3, ?4)";
            let (digest, tree) = (closing.digest.as_bytes(), closing.tree.as_ref());
            let tree = tree.map(Digest::as_bytes);
            let closed = micros(closing.closed);
            transaction.execute(sql, params![closing.month, closed, digest, tree])?;
            let sql = "INSERT INTO closed_project VALUES (?1, ?2, ?3)";
            for (project, digest) in &closing.projects {
                let values = params![closing.month, project.as_bytes(), digest.as_bytes()];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            let sql = "INSERT INTO closed_sum VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            for (key, sums) in &closing.sums {
                transaction.prepare_cached(sql)?.execute(params![
                    closing.month,
                    key.project,
                    key.meter,
                    key.unit,
                    key.kind,
                    count(sums.samples),
                    count(sums.volumes),
                    sums.sum,
                    volume_value(sums.min),
                    volume_value(sums.max),
                ])?;
            }
            transaction.commit()
        };
        write().map_err(|source| engine(&path, source))
    }

    /// Notes that a file of a month is dropped, if the month is closed: the record cannot be compared
    /// with it any more.
    pub(super) fn drop_month(&self, month: &str) -> Result<(), StoreError> {
        let sql = "UPDATE closing SET dropped = 1 WHERE month = ?1";
        let written = self.connection.execute(sql, [month]);
        written.map(drop).map_err(|source| engine(&self.path, source))
    }

    /// Whether all files of a closed month are there.
    pub(super) fn is_kept(&self, month: &str) -> Result<bool, StoreError> {
        let sql = "SELECT dropped = 0 FROM closing WHERE month = ?1";
        let found = self.connection.query_row(sql, [month], |row| row.get(0)).optional();
        found.map(|kept| kept.unwrap_or(true)).map_err(|source| engine(&self.path, source))
    }

    /// From now on samples of a project are stored without metadata.
    pub(super) fn keep_erasing(&self, project: &str, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO erasing VALUES (?1, ?2)";
        let written = self.connection.execute(sql, params![project, micros(now)]);
        written.map(drop).map_err(|source| engine(&self.path, source))
    }

    /// From now on they are stored with metadata again. False if they were.
    pub(super) fn stop_erasing(&self, project: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM erasing WHERE project = ?1";
        let removed = self.connection.execute(sql, [project]);
        removed.map(|rows| rows > 0).map_err(|source| engine(&self.path, source))
    }

    /// Removes dead letters with the id of a project. Returns how many.
    pub(super) fn erase_letters(&self, project: &str) -> Result<u64, StoreError> {
        let failed = |source| engine(&self.path, source);
        self.connection.execute_batch("PRAGMA secure_delete = ON").map_err(failed)?;
        let sql = "DELETE FROM letter WHERE instr(body, CAST(?1 AS BLOB)) > 0";
        let removed = self.connection.execute(sql, [project]).map_err(failed)?;
        rewrite(&self.connection, &self.path)?;
        Ok(removed as u64)
    }

    /// Adds to a count of `status`.
    pub(super) fn count(&self, name: &str, count: u64) -> Result<(), StoreError> {
        add(&self.connection, name, count).map_err(|source| engine(&self.path, source))
    }
}

/// The record of a month without its sums.
struct ClosingHead {
    closed: i64,
    digest: Digest,
    tree: Option<Digest>,
    projects: Vec<(Digest, Digest)>,
}

fn closing_head(connection: &Connection, month: &str) -> rusqlite::Result<Option<ClosingHead>> {
    let sql = "SELECT closed, digest, tree FROM closing WHERE month = ?1";
    let found = connection.query_row(sql, [month], |row| {
        let tree = row.get::<_, Option<[u8; 32]>>(2)?;
        Ok((row.get(0)?, Digest::from_bytes(row.get(1)?), tree.map(Digest::from_bytes)))
    });
    let Some((closed, digest, tree)) = found.optional()? else { return Ok(None) };
    let sql = "SELECT project, digest FROM closed_project WHERE month = ?1";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([month], |row| {
        Ok((Digest::from_bytes(row.get(0)?), Digest::from_bytes(row.get(1)?)))
    })?;
    let projects = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Some(ClosingHead { closed, digest, tree, projects }))
}

/// The record of a month for one project, if a range is that month and it is closed.
pub(super) fn closed_month(
    folder: &Path,
    times: TimeRange,
    project: &str,
) -> Result<Option<ClosedMonth>, StoreError> {
    let month = MonthName::of(times.start);
    if month.range() != times {
        return Ok(None);
    }
    let Some((path, connection)) = read_only(folder)? else { return Ok(None) };
    let month = month.to_string();
    let read = || {
        let Some(head) = closing_head(&connection, &month)? else { return Ok(None) };
        let sql = "SELECT meter, unit, kind, samples, volumes, sum, lowest, highest \
                   FROM closed_sum WHERE month = ?1 AND project IS ?2";
        let mut statement = connection.prepare(sql)?;
        let project = (!project.is_empty()).then_some(project);
        let rows = statement.query_map(params![month, project], |row| {
            let (meter, unit, kind) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(ClosedSum { meter, unit, kind, sums: sums_at(row, 3)? })
        })?;
        let sums = rows.collect::<rusqlite::Result<_>>()?;
        let ClosingHead { closed, tree, projects, .. } = head;
        Ok(Some(ClosedMonth {
            month: month.clone(),
            closed: from_micros(closed).iso(),
            tree,
            projects,
            days: Vec::new(),
            sums,
            corrections: Vec::new(),
        }))
    };
    read().map_err(|source| engine(&path, source))
}
