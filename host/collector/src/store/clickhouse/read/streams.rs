//! Streams, their statements and declarations.

use std::collections::{BTreeMap, BTreeSet};

use nephometer_model::{Bound, Timestamp};
use nephometer_proof::{DeclaredDrop, Record};
use uuid::Uuid;

use super::{ClickHouseReader, conditions};
use crate::store::StoreError;
use crate::store::clickhouse::wire::{hexed, quoted};
use crate::store::clickhouse::write::{DAY, listed};
use crate::store::fleet::{SenderStream, fits, record_of};
use crate::store::month::MonthName;
use crate::store::selection::{Selection, TimeRange, from_micros, micros};

/// The newest messages of a stream, among which its newest checkpoint is looked for.
const NEWEST: usize = 4;
/// How far around a range samples are looked at for their senders.
const AROUND: i64 = DAY;
/// Senders of one meter of a resource.
const SENDERS: usize = 16;
/// Declared drops in one answer.
const DROPS: usize = 1_000;

/// Records but checkpoints. A record is JSON text within JSON, so that its quotes are escaped.
pub(super) fn declared() -> String {
    let kind = quoted(r#"\"kind\":\"checkpoint\""#);
    format!("record != '' AND position(record, {kind}) = 0")
}

impl ClickHouseReader {
    /// See [`crate::store::Reader::streams`].
    pub(super) fn stream_states(
        &self,
        since: Timestamp,
        drops_since: Timestamp,
    ) -> Result<Vec<SenderStream>, StoreError> {
        let database = &self.cluster.database;
        let month = MonthName::of(micros(since)).number();
        let mut found: BTreeMap<Uuid, SenderStream> = BTreeMap::new();
        for server in &self.cluster.servers {
            let mut rows = server.query(&format!(
                "SELECT stream, arrived, record FROM {database}.message FINAL \
                 WHERE month >= {month} ORDER BY stream, sequence DESC LIMIT {NEWEST} BY stream"
            ))?;
            while rows.has_row() {
                let (stream, arrived) = (Uuid::from_bytes(rows.fixed()?), rows.i64()?);
                let within = Bound::QueryEntries.check(found.len());
                within.map_err(|error| StoreError::Bound(error.to_string()))?;
                let state = found.entry(stream).or_insert_with(|| SenderStream::new(stream));
                let record = rows.text()?;
                state.newest(from_micros(arrived), Some(&*record).filter(|text| !text.is_empty()));
            }
            let drops = quoted(r#"\"kind\":\"drops\""#);
            let mut rows = server.query(&format!(
                "SELECT stream, arrived, record FROM {database}.message FINAL \
                 WHERE month >= {month} AND {} AND (arrived >= {} OR position(record, {drops}) = 0) \
                 ORDER BY stream, sequence DESC",
                declared(),
                micros(drops_since)
            ))?;
            while rows.has_row() {
                let (stream, arrived) = (Uuid::from_bytes(rows.fixed()?), rows.i64()?);
                let record = rows.text()?;
                if let Some(state) = found.get_mut(&stream) {
                    state.declared(from_micros(arrived), &record, drops_since);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// See [`crate::store::Reader::drops`].
    pub(super) fn declared_drops(
        &self,
        selection: &Selection,
    ) -> Result<Vec<DeclaredDrop>, StoreError> {
        let database = &self.cluster.database;
        let TimeRange { start, end } = selection.times;
        let around =
            TimeRange { start: start.saturating_sub(AROUND), end: end.saturating_add(AROUND) };
        let nobody = hexed(&[0; 16]);
        let mut senders: BTreeSet<Uuid> = BTreeSet::new();
        for server in &self.cluster.servers {
            let mut rows = server.query(&format!(
                "SELECT DISTINCT stream FROM {database}.sample WHERE {}{} AND stream != {nobody} \
                 LIMIT {SENDERS}",
                conditions::times(around),
                conditions::fields(selection)
            ))?;
            while rows.has_row() && senders.len() < SENDERS {
                senders.insert(Uuid::from_bytes(rows.fixed()?));
            }
        }
        let mut found: Vec<DeclaredDrop> = Vec::new();
        if senders.is_empty() {
            return Ok(found);
        }
        for server in &self.cluster.servers {
            // What was dropped is declared later.
            let mut rows = server.query(&format!(
                "SELECT record FROM {database}.message FINAL WHERE month >= {} \
                 AND stream IN ({}) AND {} ORDER BY arrived DESC",
                MonthName::of(start.max(0)).number(),
                listed(senders.iter().map(|stream| hexed(stream.as_bytes()))),
                declared()
            ))?;
            while rows.has_row() && found.len() < DROPS {
                if let Some(Record::Drops(drops)) = record_of(&rows.text()?) {
                    let fitting = drops.drops.into_iter().filter(|drop| fits(drop, selection));
                    let new: Vec<_> = fitting.filter(|drop| !found.contains(drop)).collect();
                    found.extend(new);
                }
            }
        }
        Ok(found)
    }
}
