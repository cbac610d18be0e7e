//! What the ledger has of closed months and of projects that are erased.

use std::collections::BTreeSet;

use nephometer_model::Timestamp;
use nephometer_proof::Digest;
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use super::closing::{key_of, sum_of};
use super::erase::rewrite;
use super::file::engine;
use super::ledger::{LedgerFile, MONTHS, PROJECTS, add, texts};
use super::rows::volume_value;
use crate::store::selection::{from_micros, micros};
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
            let sql = "SELECT closed, digest FROM closing WHERE month = ?1";
            let found = self.connection.query_row(sql, [month], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
            });
            let Some((closed, digest)) = found.optional()? else { return Ok(None) };
            let sql = "SELECT project, meter, unit, kind, samples, volumes, sum, lowest, highest \
                       FROM closed_sum WHERE month = ?1";
            let mut statement = self.connection.prepare(sql)?;
            let rows =
                statement.query_map([month], |row| Ok((key_of(row, 0)?, sum_of(row, 4)?)))?;
            let sums = rows.collect::<rusqlite::Result<_>>()?;
            let (month, closed) = (month.to_owned(), from_micros(closed));
            Ok(Some(Closing { month, closed, digest: Digest::from_bytes(digest), sums }))
        };
        read().map_err(|source| engine(&self.path, source))
    }

    /// Writes the record of a month.
    pub(super) fn close(&mut self, closing: &Closing) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut write = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            let sql = "INSERT INTO closing (month, closed, digest) VALUES (?1, ?2, ?3)";
            let digest = closing.digest.as_bytes();
            transaction.execute(sql, params![closing.month, micros(closing.closed), digest])?;
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
