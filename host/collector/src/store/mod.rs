//! What an engine of the store does, and the types that cross its border.
//!
//! Two traits are the border: [`Storage`] takes groups of messages and commits them, [`Reader`]
//! answers queries. Everything else of the collector sees only these, so that a second engine is a
//! second implementation. An engine stores a sample once by its id, keeps what streams state about
//! themselves, and keeps sums by hour and day, of resources and of projects, that equal a recount of
//! what it stores.

#[cfg(test)]
mod adversary_tests;
#[cfg(test)]
mod audit_tests;
mod budget;
mod clickhouse;
mod closing;
#[cfg(test)]
mod closing_tests;
mod error;
mod evidence;
mod evidence_reader;
mod fleet;
mod group;
mod migration;
mod month;
mod moved;
#[cfg(test)]
mod project_tests;
mod retention;
mod selection;
#[cfg(test)]
mod sender_tests;
mod sqlite;
mod statistics;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use nephometer_config::KeepSpec;
use nephometer_model::Timestamp;
use nephometer_proof::DeclaredDrop;

pub(crate) use closing::{
    Closing, Correction, Corrections, Erased, MonthSum, SumKey, shown_volume,
};
pub(crate) use error::StoreError;
pub(crate) use evidence::{EvidenceQuery, TakeEvidence};
#[cfg(test)]
pub(crate) use fleet::ArrivedCheckpoint;
pub(crate) use fleet::SenderStream;
pub(crate) use group::{Committed, DeadLetter, Group, StoredLetter, WriteRule};
pub(crate) use migration::migrate;
pub(crate) use month::MonthName;
pub(crate) use selection::{
    MetaCondition, MetaScalar, Selection, TimeRange, WantedOwner, flat_pairs, from_micros,
    metadata_value, micros,
};
pub(crate) use sqlite::SqliteStore;
pub(crate) use statistics::{Accumulator, GroupField, GroupKey, Periods, StatisticsQuery, Totals};

use super::sample::{MeterKey, OwnerKey, SampleId};
use clickhouse::ClickHouseStore;
use nephometer_model::Volume;

/// Opens the store that is configured. Its queries read up to `budget` samples. Requests to servers
/// block: not for threads of async tasks.
pub(crate) fn open_store(keep: &KeepSpec, budget: u64) -> Result<Box<dyn Storage>, StoreError> {
    Ok(match &keep.clickhouse {
        None => Box::new(SqliteStore::open(keep, budget)?),
        Some(spec) => Box::new(ClickHouseStore::open(keep, spec, budget)?),
    })
}

/// Opens only the reading side.
pub(crate) fn open_reader(keep: &KeepSpec, budget: u64) -> Result<Box<dyn Reader>, StoreError> {
    match &keep.clickhouse {
        None => SqliteStore::read_only(&keep.path, budget),
        Some(spec) => ClickHouseStore::reader_of(spec, budget),
    }
}

/// Copies a backup into the empty or missing folder of the store.
pub(crate) fn restore(backup: &Path, keep: &KeepSpec) -> Result<u64, StoreError> {
    match &keep.clickhouse {
        None => sqlite::restore(backup, &keep.path),
        Some(_) => Err(StoreError::Unsupported(
            "the store is in ClickHouse: restore its servers by their own means, or restore the backup \
             into files and move them with `migrate` (docs/clickhouse.md)"
                .to_owned(),
        )),
    }
}

/// The writing side of an engine. One at a time writes; others wait.
pub(crate) trait Storage: Send {
    /// Commits a group: all of it is on disk when this returns. After an error nothing may be
    /// acknowledged, and the same group is written again; what was committed of it is found then.
    fn write(&mut self, group: &Group, now: Timestamp) -> Result<Committed, StoreError>;

    /// Recomputes sums of hours and days that are over, and drops what is kept no longer. Does a
    /// bounded part of it; true if there is more.
    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError>;

    /// Opens the reading side.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;

    /// The messages that could not be read, oldest first, at most this many after the one with this
    /// number.
    fn letters(&mut self, after: i64, most: usize) -> Result<Vec<StoredLetter>, StoreError>;

    /// Removes such messages.
    fn remove_letters(&mut self, numbers: &[i64]) -> Result<(), StoreError>;

    /// Closes a month that is over: writes down its sums. What is stored in it from then on is a
    /// correction. The second value is false if it was closed before; then the record is that of
    /// before.
    fn close_month(&mut self, month: &str, now: Timestamp) -> Result<(Closing, bool), StoreError>;

    /// What was stored in a closed month since.
    fn corrections(&mut self, month: &str) -> Result<Corrections, StoreError>;

    /// Empties the metadata of the resources of a project, so that nothing of them is left in the
    /// files; with `keep` also of those that are stored from now on.
    fn erase_project(
        &mut self,
        project: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Erased, StoreError>;

    /// Ends `keep` of a project. False if it was not set.
    fn stop_erasing(&mut self, project: &str) -> Result<bool, StoreError>;

    /// Copies the whole store into a folder, while others read and write.
    fn backup(&mut self, folder: &std::path::Path) -> Result<u64, StoreError>;

    /// The servers that have the store, as they were found at the last commit; none for files.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }
}

/// The reading side of an engine.
pub(crate) trait Reader: Send {
    /// Meters with their resources. The newest sample of each decides to whom it belongs.
    fn meters(&mut self, selection: &Selection) -> Result<Vec<MeterEntry>, StoreError>;

    /// Resources with their times and the metadata of their newest sample.
    fn resources(&mut self, selection: &Selection) -> Result<Vec<ResourceEntry>, StoreError>;

    /// The newest samples, at most `limit`, that `accept` takes.
    fn newest(
        &mut self,
        selection: &Selection,
        limit: usize,
        accept: &mut dyn FnMut(&StoredSample) -> bool,
    ) -> Result<Vec<StoredSample>, StoreError>;

    /// All samples in no particular order, until `visit` breaks.
    fn scan(
        &mut self,
        selection: &Selection,
        visit: &mut dyn FnMut(StoredSample) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Statistics by period and group.
    fn statistics(&mut self, query: &StatisticsQuery) -> Result<Vec<Totals>, StoreError>;

    /// The streams in the files of the months since a time, with what they have declared as dropped
    /// since another time.
    fn streams(
        &mut self,
        since: Timestamp,
        drops_since: Timestamp,
    ) -> Result<Vec<SenderStream>, StoreError>;

    /// What the senders of a selection have declared as dropped in its times, of its meter. Drops name
    /// no resources: they may have been samples of others.
    fn drops(&mut self, selection: &Selection) -> Result<Vec<DeclaredDrop>, StoreError>;

    /// Everything that an audit of a project needs, as lines of evidence, until `take` breaks.
    fn evidence(
        &mut self,
        query: &EvidenceQuery<'_>,
        take: &mut TakeEvidence<'_>,
    ) -> Result<(), StoreError>;

    /// Sums and sizes for `status`.
    fn state(&mut self) -> Result<StoreState, StoreError>;
}

/// A server of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerState {
    /// Its URL.
    pub(crate) server: String,
    /// Whether it has answered.
    pub(crate) up: bool,
    /// Hours that are over and whose sums have to be counted.
    pub(crate) behind: u64,
}

impl ServerState {
    /// A server that has answered and has nothing to count.
    pub(crate) fn new(server: &str) -> Self {
        Self { server: server.to_owned(), up: true, behind: 0 }
    }
}

/// A meter of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterEntry {
    pub(crate) meter: MeterKey,
    pub(crate) owner: OwnerKey,
}

/// A resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceEntry {
    pub(crate) owner: OwnerKey,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// JSON text.
    pub(crate) metadata: String,
}

/// A stored sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSample {
    pub(crate) id: SampleId,
    pub(crate) meter: MeterKey,
    pub(crate) owner: OwnerKey,
    pub(crate) volume: Option<Volume>,
    pub(crate) time: Timestamp,
    pub(crate) recorded: Timestamp,
    /// JSON text.
    pub(crate) metadata: std::sync::Arc<str>,
}

/// Sums for `status`.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct StoreState {
    /// One entry per database file.
    pub(crate) files: Vec<FileState>,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// Messages that could not be read and are kept.
    pub(crate) dead_letters: u64,
    /// Samples by what became of them since the store was made: `stored`, `duplicate`, and the
    /// reasons of refusals.
    pub(crate) counts: std::collections::BTreeMap<String, u64>,
    pub(crate) closed_months: Vec<String>,
    /// Projects whose samples are stored without metadata.
    pub(crate) erasing: Vec<String>,
}

/// A database file.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct FileState {
    pub(crate) name: String,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    pub(crate) resources: u64,
    /// Messages of streams that can be verified.
    pub(crate) messages: u64,
}

/// How many samples a query may read.
pub(crate) const DEFAULT_BUDGET: u64 = 10_000_000;

/// The age of a time.
pub(crate) fn age(now: Timestamp, time: Timestamp) -> Duration {
    Duration::from_nanos(now.as_nanos().saturating_sub(time.as_nanos()))
}
