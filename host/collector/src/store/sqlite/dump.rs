//! Everything that a store in files has, for a move to another engine.

use std::collections::HashMap;

use nephometer_proof::Digest;
use rusqlite::Row;
use uuid::Uuid;

use super::file::FileKey;
use super::read::SqliteReader;
use super::series::{ReadFile, SampleRow, Series};
use crate::message::StreamPlace;
use crate::sample::{MeterKey, OwnerKey, SampleId};
use crate::store::StoreError;
use crate::store::selection::TimeRange;
use nephometer_model::Volume;

/// A file while it is moved.
pub(crate) struct MonthDump<'f> {
    pub(crate) key: FileKey,
    file: &'f ReadFile,
    series: HashMap<i64, Series>,
}

/// A message as it is stored.
pub(crate) struct MovedMessage {
    pub(crate) number: i64,
    /// Microseconds since the epoch.
    pub(crate) arrived: i64,
    pub(crate) origin: String,
    pub(crate) event_type: String,
    pub(crate) body: Digest,
    pub(crate) samples: u32,
    pub(crate) place: Option<StreamPlace>,
    pub(crate) record: String,
    pub(crate) refused: String,
}

/// A sample as it is stored.
pub(crate) struct MovedSample<'s> {
    pub(crate) meter: &'s MeterKey,
    pub(crate) owner: &'s OwnerKey,
    /// Microseconds since the epoch.
    pub(crate) time: i64,
    pub(crate) id: SampleId,
    pub(crate) volume: Option<Volume>,
    pub(crate) revision: i64,
    pub(crate) message: i64,
}

/// Metadata of a resource.
pub(crate) struct MovedRevision {
    pub(crate) number: i64,
    pub(crate) owner: OwnerKey,
    pub(crate) metadata: String,
}

impl SqliteReader {
    /// The files, oldest first.
    pub(super) fn dumps(&mut self) -> Result<Vec<MonthDump<'_>>, StoreError> {
        let mut found = Vec::new();
        for (key, file) in self.keyed(TimeRange::default())? {
            let all = file.series(&crate::store::Selection::default())?;
            let series = all.into_iter().map(|series| (series.number, series)).collect();
            found.push(MonthDump { key, file, series });
        }
        found.reverse();
        Ok(found)
    }
}

impl MonthDump<'_> {
    /// Whether its samples were dropped.
    pub(crate) fn has_dropped(&self) -> Result<bool, StoreError> {
        self.file.has_dropped()
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        visit: &mut dyn FnMut(T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |source| self.file.error(source);
        let mut statement = self.file.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(read(row).map_err(failed)?)?;
        }
        Ok(())
    }

    /// All messages.
    pub(crate) fn messages(
        &self,
        visit: &mut dyn FnMut(MovedMessage) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT id, arrived, origin, event_type, body, samples, record, refused, stream, \
                   sequence, previous, digest FROM message";
        self.rows(sql, moved_message, visit)
    }

    /// All metadata.
    pub(crate) fn revisions(
        &self,
        visit: &mut dyn FnMut(MovedRevision) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT v.id, v.metadata, r.resource_id, r.project_id, r.user_id, r.source \
                   FROM revision v JOIN resource r ON r.id = v.resource";
        let text = |row: &Row<'_>, at| row.get::<_, String>(at).map(String::into_boxed_str);
        let optional = |row: &Row<'_>, at| {
            row.get::<_, Option<String>>(at).map(|text| text.map(String::into_boxed_str))
        };
        let read = |row: &Row<'_>| {
            let owner = OwnerKey {
                resource_id: text(row, 2)?,
                project_id: optional(row, 3)?,
                user_id: optional(row, 4)?,
                source: text(row, 5)?,
            };
            Ok(MovedRevision { number: row.get(0)?, metadata: row.get(1)?, owner })
        };
        self.rows(sql, read, visit)
    }

    /// All samples, series by series.
    pub(crate) fn samples(
        &self,
        visit: &mut dyn FnMut(MovedSample<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for series in self.series.values() {
            self.file.rows(series.number, TimeRange { start: 0, end: i64::MAX }, false, |row| {
                let (meter, owner) = (&series.meter, &series.owner);
                let SampleRow { time, id, volume, revision, message } = row;
                let time = self.file.range.start + time;
                visit(MovedSample { meter, owner, time, id, volume, revision, message })?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// The number of messages with the samples that came in them again.
    pub(crate) fn repeated(
        &self,
        visit: &mut dyn FnMut((i64, SampleId)) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT message, id FROM repeated";
        self.rows(sql, |row| Ok((row.get(0)?, row.get(1)?)), visit)
    }

    /// The resource and the time of a sample of this file.
    pub(crate) fn find(&self, id: &SampleId) -> Result<Option<(Box<str>, i64)>, StoreError> {
        let found = self.file.by_id(id)?;
        Ok(found.map(|(series, row)| (series.owner.resource_id, self.file.range.start + row.time)))
    }

    /// How many samples were stored after the month was closed.
    pub(crate) fn late(&self) -> Result<u64, StoreError> {
        self.file.number("SELECT coalesce(sum(samples), 0) FROM correction")
    }
}

fn moved_message(row: &Row<'_>) -> rusqlite::Result<MovedMessage> {
    let digest = |at| row.get::<_, [u8; 32]>(at).map(Digest::from_bytes);
    let place = match row.get::<_, Option<[u8; 16]>>(8)? {
        None => None,
        Some(stream) => Some(StreamPlace {
            stream: Uuid::from_bytes(stream),
            sequence: u64::try_from(row.get::<_, i64>(9)?).unwrap_or(0),
            previous: digest(10)?,
            digest: digest(11)?,
        }),
    };
    Ok(MovedMessage {
        number: row.get(0)?,
        arrived: row.get(1)?,
        origin: row.get(2)?,
        event_type: row.get(3)?,
        body: digest(4)?,
        samples: row.get(5)?,
        record: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
        refused: row.get::<_, Option<String>>(7)?.unwrap_or_default(),
        place,
    })
}
