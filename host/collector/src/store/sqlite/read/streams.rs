//! Streams, their statements and declarations.

use std::collections::{BTreeMap, BTreeSet};

use nephometer_model::{Bound, Timestamp};
use nephometer_proof::{DeclaredDrop, Record};
use rusqlite::params;
use uuid::Uuid;

use super::SqliteReader;
use crate::store::StoreError;
use crate::store::fleet::{SenderStream, fits, record_of};
use crate::store::selection::{Selection, TimeRange, from_micros, micros};
use crate::store::sqlite::series::ReadFile;

/// The newest messages of a stream, among which its newest checkpoint is looked for.
const NEWEST: i64 = 4;
/// The newest samples of a series and file, by which its senders are found.
const SAMPLES: i64 = 5_000;
/// How far around a range samples are looked at for their senders, in microseconds.
const AROUND: i64 = 86_400_000_000;
/// Senders of one meter of a resource.
const SENDERS: usize = 16;
/// Declared drops in one answer.
const DROPS: usize = 1_000;

/// The condition of the index `message_declared`.
const DECLARED: &str = "stream = ?1 AND record IS NOT NULL AND \
                        instr(record, '\\\"kind\\\":\\\"checkpoint\\\"') = 0";

impl SqliteReader {
    /// See [`crate::store::Reader::streams`].
    pub(super) fn stream_states(
        &mut self,
        since: Timestamp,
        drops_since: Timestamp,
    ) -> Result<Vec<SenderStream>, StoreError> {
        let mut found: BTreeMap<Uuid, SenderStream> = BTreeMap::new();
        for file in self.files(from(micros(since)))? {
            let mut after = Vec::new();
            while let Some(stream) = file.stream_after(&after)? {
                after = stream.as_bytes().to_vec();
                let within = Bound::QueryEntries.check(found.len());
                within.map_err(|error| StoreError::Bound(error.to_string()))?;
                let state = found.entry(stream).or_insert_with(|| SenderStream::new(stream));
                file.newest_messages(state)?;
                if state.statement.is_none() || file.range.end > micros(drops_since) {
                    file.declared(stream, &mut |arrived, record| {
                        state.declared(arrived, record, drops_since)
                    })?;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// See [`crate::store::Reader::drops`].
    pub(super) fn declared_drops(
        &mut self,
        selection: &Selection,
    ) -> Result<Vec<DeclaredDrop>, StoreError> {
        let TimeRange { start, end } = selection.times;
        let around =
            TimeRange { start: start.saturating_sub(AROUND), end: end.saturating_add(AROUND) };
        let mut senders = BTreeSet::new();
        for file in self.files(around)? {
            let Some(range) = file.clipped(around) else { continue };
            for series in file.series(selection)? {
                if senders.len() < SENDERS {
                    file.senders(series.number, range, &mut senders)?;
                }
            }
        }
        let mut found: Vec<DeclaredDrop> = Vec::new();
        // What was dropped is declared later.
        for file in self.files(from(start))? {
            for stream in &senders {
                file.declared(*stream, &mut |_, record| {
                    if let Some(Record::Drops(drops)) = record_of(record) {
                        let fitting = drops.drops.into_iter().filter(|drop| fits(drop, selection));
                        let new: Vec<_> = fitting.filter(|drop| !found.contains(drop)).collect();
                        found.extend(new);
                    }
                    found.len() < DROPS
                })?;
            }
        }
        Ok(found)
    }
}

fn from(start: i64) -> TimeRange {
    TimeRange { start, end: i64::MAX }
}

impl ReadFile {
    /// The first stream after one, in the order of their ids.
    pub(super) fn stream_after(&self, after: &[u8]) -> Result<Option<Uuid>, StoreError> {
        let sql = "SELECT stream FROM message WHERE stream > ?1 ORDER BY stream LIMIT 1";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([after])?;
            rows.next()?.map(|row| row.get::<_, [u8; 16]>(0)).transpose()
        };
        let found = read().map_err(|source| self.error(source))?;
        Ok(found.map(Uuid::from_bytes))
    }

    fn newest_messages(&self, state: &mut SenderStream) -> Result<(), StoreError> {
        let sql = "SELECT arrived, record FROM message WHERE stream = ?1 \
                   ORDER BY sequence DESC LIMIT ?2";
        let mut read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![state.stream.as_bytes().as_slice(), NEWEST])?;
            while let Some(row) = rows.next()? {
                let record = row.get::<_, Option<String>>(1)?;
                state.newest(from_micros(row.get(0)?), record.as_deref());
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// Statements and declarations of a stream, newest first, until `visit` returns false.
    pub(super) fn declared(
        &self,
        stream: Uuid,
        visit: &mut dyn FnMut(Timestamp, &str) -> bool,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT arrived, record FROM message INDEXED BY message_declared WHERE {DECLARED} \
             ORDER BY sequence DESC"
        );
        let mut read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([stream.as_bytes().as_slice()])?;
            while let Some(row) = rows.next()? {
                if !visit(from_micros(row.get(0)?), &row.get::<_, String>(1)?) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// Adds the streams that the newest samples of a series in a range came in.
    fn senders(
        &self,
        series: i64,
        range: TimeRange,
        found: &mut BTreeSet<Uuid>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT DISTINCT m.stream FROM (SELECT message FROM sample WHERE series = ?1 \
                   AND time >= ?2 AND time < ?3 ORDER BY time DESC LIMIT ?4) s \
                   JOIN message m ON m.id = s.message WHERE m.stream IS NOT NULL";
        let mut read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![series, range.start, range.end, SAMPLES])?;
            while let Some(row) = rows.next()? {
                found.insert(Uuid::from_bytes(row.get(0)?));
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }
}
