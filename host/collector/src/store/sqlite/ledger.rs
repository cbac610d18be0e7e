//! `ledger.db`: dead letters, and what became of all samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nephometer_model::{Bound, Timestamp};
use nephometer_proof::Digest;
use rusqlite::{Connection, TransactionBehavior, params};

use super::file::{engine, open_for_reading, open_for_writing};
use crate::message::StreamPlace;
use crate::store::selection::{from_micros, micros};
use crate::store::{Committed, DeadLetter, Group, StoreError, StoredLetter};

const NAME: &str = "ledger.db";
const SCHEMAS: [&str; 3] =
    [include_str!("ledger.sql"), include_str!("ledger2.sql"), include_str!("ledger3.sql")];

pub(super) struct LedgerFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

impl LedgerFile {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let connection = open_for_writing(&path, &SCHEMAS)?;
        Ok(Self { path, connection })
    }

    /// Adds the dead letters of a group, and what became of its samples. Returns how many letters are
    /// new: the same message is kept once.
    pub(super) fn write(
        &mut self,
        group: &Group,
        committed: &Committed,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let erasing = if group.letters.is_empty() { BTreeSet::new() } else { self.erasing()? };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| engine(&path, source)
        };
        let failed = failed(&self.path);
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(&failed)?;
        let mut new = 0;
        for letter in &group.letters {
            if letter.names(&erasing) {
                add(&transaction, "dead_letters_erased", 1).map_err(&failed)?;
                continue;
            }
            new += insert(&transaction, letter, now).map_err(&failed)?;
        }
        if new > 0 {
            let dropped = make_room(&transaction).map_err(&failed)?;
            add(&transaction, "dead_letters_dropped", dropped).map_err(&failed)?;
        }
        let counts = [
            ("stored", committed.stored),
            ("duplicate", committed.duplicates),
            ("corrections", committed.corrections),
        ];
        let refused = committed.refused.iter().map(|(name, count)| (*name, *count));
        for (name, count) in counts.into_iter().chain(refused) {
            add(&transaction, name, count).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)?;
        Ok(new)
    }

    pub(super) fn letters(&self, after: i64, most: usize) -> Result<Vec<StoredLetter>, StoreError> {
        let read = || {
            let sql = "SELECT id, arrived, origin, reason, body, place FROM letter WHERE id > ?1 \
                       ORDER BY id LIMIT ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = statement.query_map([after, most], |row| {
                let place: Option<String> = row.get(5)?;
                let letter = DeadLetter {
                    origin: row.get::<_, String>(2)?.into(),
                    reason: row.get(3)?,
                    body: row.get(4)?,
                    place: place.and_then(|text| StreamPlace::read(&text)),
                };
                Ok(StoredLetter { number: row.get(0)?, arrived: from_micros(row.get(1)?), letter })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| engine(&self.path, source))
    }

    pub(super) fn remove(&mut self, numbers: &[i64]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut remove = || {
            let transaction = self.connection.transaction()?;
            for number in numbers {
                transaction.execute("DELETE FROM letter WHERE id = ?1", [number])?;
            }
            transaction.commit()
        };
        remove().map_err(|source| engine(&path, source))
    }
}

fn insert(connection: &Connection, letter: &DeadLetter, now: Timestamp) -> rusqlite::Result<u64> {
    let sql = "INSERT OR IGNORE INTO letter (arrived, origin, reason, digest, body, place) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let digest = Digest::of(&letter.body);
    let place = letter.place.as_ref().map(StreamPlace::written);
    let values =
        params![micros(now), &*letter.origin, letter.reason, digest.as_bytes(), letter.body, place];
    connection.prepare_cached(sql)?.execute(values).map(|rows| rows as u64)
}

/// Removes the oldest letters beyond the bounds.
fn make_room(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM letter WHERE id IN (SELECT id FROM (\
               SELECT id, row_number() OVER newest AS number, \
               sum(length(body)) OVER newest AS bytes FROM letter WINDOW newest AS (ORDER BY id DESC)\
               ) WHERE number > ?1 OR bytes > ?2)";
    let most = |bound: Bound| i64::try_from(bound.most()).unwrap_or(i64::MAX);
    let bounds = [most(Bound::CollectorLetters), most(Bound::CollectorLetterBytes)];
    connection.prepare_cached(sql)?.execute(bounds).map(|rows| rows as u64)
}

pub(super) fn add(connection: &Connection, name: &str, count: u64) -> rusqlite::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO tally (name, number) VALUES (?1, ?2) \
               ON CONFLICT DO UPDATE SET number = number + excluded.number";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.execute(params![name, count]).map(drop)
}

/// Opens the ledger of a folder for reading; `None` if there is none yet.
pub(super) fn read_only(folder: &Path) -> Result<Option<(PathBuf, Connection)>, StoreError> {
    let path = folder.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    let connection = open_for_reading(&path, SCHEMAS.len())?;
    Ok(connection.map(|connection| (path, connection)))
}

/// Lists in the ledger: closed months, and projects that are erased.
pub(super) fn lists(folder: &Path) -> Result<[Vec<String>; 2], StoreError> {
    let Some((path, connection)) = read_only(folder)? else { return Ok(Default::default()) };
    let read = || Ok([texts(&connection, MONTHS)?, texts(&connection, PROJECTS)?]);
    read().map_err(|source| engine(&path, source))
}

pub(super) const MONTHS: &str = "SELECT month FROM closing ORDER BY month";
pub(super) const PROJECTS: &str = "SELECT project FROM erasing ORDER BY project";

pub(super) fn texts<C: FromIterator<String>>(
    connection: &Connection,
    sql: &str,
) -> rusqlite::Result<C> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// The number of dead letters, and what became of all samples.
pub(super) fn counts(folder: &Path) -> Result<(u64, BTreeMap<String, u64>), StoreError> {
    let Some((path, connection)) = read_only(folder)? else { return Ok(Default::default()) };
    let read = || {
        let letters: i64 =
            connection.query_row("SELECT count(*) FROM letter", [], |row| row.get(0))?;
        let mut statement = connection.prepare("SELECT name, number FROM tally")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
        })?;
        let counts = rows.collect::<rusqlite::Result<BTreeMap<_, _>>>()?;
        Ok((u64::try_from(letters).unwrap_or(0), counts))
    };
    read().map_err(|source| engine(&path, source))
}
