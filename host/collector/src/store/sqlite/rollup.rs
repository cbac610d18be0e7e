//! Counts sums of hours and days again, and drops months that are kept no longer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nephometer_model::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::erase::rewrite;
use super::file::{FileKey, MonthFile, engine};
use super::rows::SPANS;
use super::{SqliteStore, file_error, months};
use crate::store::StoreError;
use crate::store::selection::{micros, micros_of};

/// Sums that are counted in one transaction.
const BATCH: usize = 2_000;
/// Sums of series that are added up in about the time in which one is counted from samples.
const ADDED: usize = 10;
/// Fewer series than this are read one by one as fast as they need space to be added up.
const FEW: usize = 8;
/// An hour or a day is counted this long after its end, when most of its samples have arrived.
const DELAY: Duration = Duration::from_secs(120);

impl SqliteStore {
    /// See [`crate::store::Storage::maintain`].
    pub(super) fn maintain_locked(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        for (key, path) in months(&self.folder)? {
            let file = self.opened(&key)?;
            let counted = count_again(file, now).map_err(|source| engine(&path, source))?;
            if counted == BATCH {
                return Ok(true);
            }
            if self.expire(&key, &path, now)? {
                continue;
            }
            let over = key.month.range().end.saturating_add(micros_of(self.keep.window));
            if over < micros(now) {
                pack(self.opened(&key)?, &path)?;
            }
        }
        Ok(false)
    }

    /// Drops the samples of a month, or all of it, when its time is over. True if nothing is left.
    fn expire(&mut self, key: &FileKey, path: &Path, now: Timestamp) -> Result<bool, StoreError> {
        let class = self.keep.classes.iter().find(|class| class.name == key.class);
        // A class that was removed from the configuration is kept.
        let Some(class) = class else { return Ok(false) };
        let ended = key.month.range().end;
        let over = |kept: Option<Duration>| {
            kept.is_some_and(|kept| ended.saturating_add(micros_of(kept)) < micros(now))
        };
        if over(class.keep) && over(class.rollups) {
            self.ledger.drop_month(&key.month.to_string())?;
            self.files.remove(key);
            remove_database(path)?;
            return Ok(true);
        }
        if over(class.keep) {
            let file = self.opened(key)?;
            file.drop_samples().map_err(|source| engine(path, source))?;
        }
        Ok(false)
    }
}

fn remove_database(path: &Path) -> Result<(), StoreError> {
    for ending in ["-wal", "-shm", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error("remove", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl MonthFile {
    /// Drops all samples and keeps their sums, and makes the file small.
    fn drop_samples(&mut self) -> rusqlite::Result<()> {
        let any = self.connection.prepare("SELECT 1 FROM sample LIMIT 1")?.exists([])?;
        if !any {
            return Ok(());
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Whatever is still stale can be counted for the last time now.
        count_all(&transaction)?;
        transaction.execute("DELETE FROM sample", [])?;
        transaction.execute("DELETE FROM repeated", [])?;
        transaction.execute("INSERT OR REPLACE INTO meta VALUES ('expired', 1)", [])?;
        transaction.commit()?;
        self.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
    }
}

/// Makes a month smaller whose samples are older than the window: no sample is compared with them any
/// more, so that the index of their ids goes, and the file is written anew.
fn pack(file: &mut MonthFile, path: &Path) -> Result<(), StoreError> {
    if file.is_packed().map_err(|source| engine(path, source))? {
        return Ok(());
    }
    let dropped = file.drop_ids();
    dropped.map_err(|source| engine(path, source))?;
    rewrite(&file.connection, path)
}

/// Counts some of the stale sums of hours and days that are over. Returns how many.
fn count_again(file: &mut MonthFile, now: Timestamp) -> rusqlite::Result<usize> {
    let until = (micros(now) - micros_of(DELAY)).saturating_sub(file.range.start);
    let transaction = file.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let counted = count_some(&transaction, until)?;
    transaction.commit()?;
    if counted > 0 {
        file.catalogue.forget_marks();
    }
    Ok(counted)
}

/// Counts all stale sums, also those of days that are not over.
pub(super) fn count_all(connection: &Connection) -> rusqlite::Result<()> {
    while count_some(connection, i64::MAX)? == BATCH {}
    Ok(())
}

fn count_some(connection: &Connection, until: i64) -> rusqlite::Result<usize> {
    let mut counted = 0;
    for (span, length) in (0_u8..).zip(SPANS) {
        let stale = stale(
            connection,
            "series, start FROM rollup",
            (span, until - length),
            BATCH - counted,
        )?;
        for (series, start) in &stale {
            count(connection, span, *series, *start)?;
        }
        counted += stale.len();
    }
    if counted < BATCH {
        // No sum of a series is stale any more that ends before this time.
        counted += count_projects(connection, until, BATCH - counted)?;
    }
    Ok(counted)
}

/// The oldest stale sums of a span that begin up to a time: whose they are, and their beginning.
fn stale(
    connection: &Connection,
    sums: &str,
    (span, until): (u8, i64),
    most: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let sql = format!(
        "SELECT {sums} WHERE stale = 1 AND span = ?1 AND start <= ?2 ORDER BY start LIMIT ?3"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows =
        statement.query_map(params![span, until, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Adds up some of the stale sums of projects. Returns how many sums of series could have been
/// counted in this time, which is `most` if there may be more.
fn count_projects(connection: &Connection, until: i64, most: usize) -> rusqlite::Result<usize> {
    let mut work = 0;
    for (span, length) in (0_u8..).zip(SPANS) {
        let sums = "project_meter, start FROM project_rollup";
        let stale = stale(connection, sums, (span, until - length), most - work)?;
        for (project_meter, start) in stale {
            work += 1 + add_up(connection, span, project_meter, start)? / ADDED;
            if work >= most {
                return Ok(most);
            }
        }
    }
    Ok(work)
}

/// Adds up the sums of all series of a meter and a project. Returns how many series there are.
fn add_up(
    connection: &Connection,
    span: u8,
    project_meter: i64,
    start: i64,
) -> rusqlite::Result<usize> {
    let key = params![project_meter, span, start];
    let sql = format!(
        "REPLACE INTO project_rollup SELECT ?1, ?2, ?3, 0, sum(u.row_count), \
         sum(u.volume_count), total(u.sum), min(u.min), max(u.max), min(u.first_time), \
         max(u.last_time) FROM series s CROSS JOIN rollup u \
         ON u.series = s.id AND u.span = ?2 AND u.start = ?3 \
         WHERE s.project_meter = ?1 HAVING count(*) >= {FEW}"
    );
    if connection.prepare_cached(&sql)?.execute(key)? == 0 {
        let sql = "DELETE FROM project_rollup \
                   WHERE project_meter = ?1 AND span = ?2 AND start = ?3";
        connection.prepare_cached(sql)?.execute(key)?;
    }
    let sql = "SELECT count(*) FROM series WHERE project_meter = ?1";
    let series = connection.prepare_cached(sql)?.query_row([project_meter], |row| row.get(0));
    series.map(|series: i64| usize::try_from(series).unwrap_or(0))
}

/// Counts one sum from its samples.
fn count(connection: &Connection, span: u8, series: i64, start: i64) -> rusqlite::Result<()> {
    let end = start + SPANS[usize::from(span)];
    let range = params![series, start, end];
    let edge = |order: &str| {
        let sql = format!(
            "SELECT volume FROM sample WHERE series = ?1 AND time >= ?2 AND time < ?3 \
             AND volume IS NOT NULL ORDER BY time {order}, id {order} LIMIT 1"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row(range, |row| row.get::<_, rusqlite::types::Value>(0)).optional()
    };
    let (first, last) = (edge("ASC")?, edge("DESC")?);
    let sql = "REPLACE INTO rollup SELECT ?1, ?4, ?2, 0, count(*), count(volume), total(volume), \
               min(volume), max(volume), ?5, ?6, min(time), max(time) \
               FROM sample WHERE series = ?1 AND time >= ?2 AND time < ?3";
    connection.prepare_cached(sql)?.execute(params![series, start, end, span, first, last])?;
    Ok(())
}
