//! The database file: what is written in it, and when it cannot be used.
//!
//! All calls block. A file that is damaged is moved aside and begun anew: an agent that does not
//! start loses more.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    CompactionError, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::footprint::{self, Footprint, Weights, length};
use super::gap_tables;
use super::offsets::SinkOffset;
use super::receivers;
use super::spool_tables::{self, SpoolChange};
use super::values::{bytes, unexpected};
use nephometer_model::{Gap, Offset};
use nephometer_telemetry::{Account, events::store as events};

pub(super) const FILE: &str = "agent.redb";
/// Bytes of pages that redb keeps in memory; what is read again is mostly what was just written.
const CACHE: usize = 4 << 20;
/// Of what is in the tables; a newer one is not read. 1 had no spools and no counts: what its journal
/// holds is made into envelopes once more, with the same ids.
const FORMAT: u64 = 2;
const OLDEST_FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// What is known of a batch without reading it.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const BATCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batches");
/// By sink: up to where everything has been settled.
const EMITTED: TableDefinition<'_, &str, u64> = TableDefinition::new("emitted");
/// By sink: the state of its transformers.
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
/// By sink and batch: what was decided.
const NOTES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("notes");

/// By what is counted.
const COUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counts");

/// What is known of a batch without reading it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EntryHead {
    pub(super) sinks: Vec<String>,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    /// Nanoseconds since the epoch: when its tick began.
    pub(super) cycle_start: u64,
}

/// The journal as it was left.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Oldest first.
    pub(super) heads: Vec<(Offset, EntryHead)>,
    /// The last position that is taken, also by an entry that cannot be decoded; 0 if there is none.
    pub(super) last: Offset,
}

/// The transformers of a sink at one place of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedChain {
    /// All up to this batch has been worked on.
    pub offset: Offset,
    /// In the order of the sink.
    pub transformers: Vec<SavedTransformer>,
}

/// One transformer of a sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedTransformer {
    /// The component's name.
    pub component: String,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
    /// Its options, as JSON text.
    pub options: String,
    /// `state-version` of what it saved.
    pub version: u32,
    /// What it saved; `None` if it keeps nothing.
    pub state: Option<Arc<Vec<u8>>>,
}

/// Where a sink was when the store was written last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resume {
    /// Its transformers.
    pub saved: Option<SavedChain>,
    /// Up to where everything had been settled by all publishers.
    pub emitted: Offset,
    /// What had been noted about single batches.
    pub notes: BTreeMap<Offset, Vec<u8>>,
}

/// What one transaction writes; all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) entry: Option<(Offset, EntryHead, Vec<u8>)>,
    pub(super) offset_trackers: Vec<SinkOffset>,
    pub(super) removed: Vec<Offset>,
    pub(super) saved: Option<(Arc<str>, SavedChain)>,
    pub(super) note: Option<(Arc<str>, Offset, Vec<u8>)>,
    pub(super) forgotten: Vec<Arc<str>>,
    /// Counters, by what is counted.
    pub(super) accounts: Vec<(String, Account)>,
    pub(super) spools: Vec<SpoolChange>,
    /// Spools with their receivers.
    pub(super) receivers: Vec<(String, Uuid)>,
    pub(super) gaps: Vec<Gap>,
    /// When sources were polled last, nanoseconds since the epoch.
    pub(super) cycles: Vec<(Arc<str>, u64)>,
    /// It may be lost in a crash without harm: reaches the disk with the next transaction that may
    /// not.
    pub(super) lazy: bool,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Disk {
    /// Locked to begin a transaction, and exclusively while the file is compacted.
    database: RwLock<Database>,
    path: PathBuf,
    weights: Mutex<Weights>,
    footprint: Footprint,
}

impl Disk {
    /// Opens it, or begins it. One that cannot be read is moved aside and said.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        match Self::at(&path) {
            Ok(disk) => Ok(disk),
            Err(Unusable::Refused(source)) => Err(StoreError::Database { path, source }),
            Err(Unusable::Damaged(reason)) => {
                let aside = aside(&path);
                std::fs::rename(&path, &aside).map_err(|source| StoreError::Io {
                    action: "rename",
                    path: path.clone(),
                    source,
                })?;
                events::damaged_store_moved(&path, &aside, &reason);
                match Self::at(&path) {
                    Ok(disk) => Ok(disk),
                    Err(Unusable::Refused(source)) => Err(StoreError::Database { path, source }),
                    Err(Unusable::Damaged(reason)) => {
                        let source = Box::new(redb::Error::Corrupted(reason));
                        Err(StoreError::Database { path, source })
                    }
                }
            }
        }
    }

    fn at(path: &Path) -> Result<Self, Unusable> {
        let file = private(path).map_err(|error| refused(redb::Error::Io(error)))?;
        // A page that something else wrote to is found now, not when a batch is read.
        let open = || {
            let mut builder = Database::builder();
            builder
                .set_cache_size(CACHE)
                .set_check_integrity_on_open(true)
                .create_with_backend(FileBackend::new(file)?)
        };
        // What is not sound may also end in a panic there.
        let opened = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Unusable::Damaged("redb cannot make sense of it".to_owned()))?;
        let database = opened.map_err(|error| match error {
            DatabaseError::Storage(StorageError::Io(error)) if is_systems(&error) => {
                refused(redb::Error::Io(error))
            }
            DatabaseError::DatabaseAlreadyOpen => refused(error.into()),
            other => Unusable::Damaged(other.to_string()),
        })?;
        let unusable = |error| match error {
            redb::Error::Io(error) => refused(redb::Error::Io(error)),
            other => Unusable::Damaged(other.to_string()),
        };
        let (weights, footprint) = (Mutex::default(), Footprint::default());
        let database = RwLock::new(database);
        let disk = Self { database, path: path.to_owned(), weights, footprint };
        disk.begin().map_err(unusable)?;
        let found = disk.weigh().map_err(unusable)?;
        *disk.weights() = found;
        disk.tidy().map_err(unusable)?;
        Ok(disk)
    }

    pub(super) fn reading(&self) -> Result<ReadTransaction, redb::Error> {
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner).begin_read()?)
    }

    fn writing(&self) -> Result<WriteTransaction, redb::Error> {
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner).begin_write()?)
    }

    fn weights(&self) -> MutexGuard<'_, Weights> {
        // Nothing between lock and unlock can panic half-way, so that they are whole.
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is, from heads where those say it.
    fn weigh(&self) -> Result<Weights, redb::Error> {
        let mut weights = Weights::default();
        for (_, head) in self.entries()?.heads {
            weights.add(footprint::weight(head.bytes));
        }
        let reading = self.reading()?;
        for state in reading.open_table(STATES)?.iter()? {
            weights.add(length(state?.1.value()));
        }
        gap_tables::weigh(&reading, &mut weights)?;
        spool_tables::weigh(&reading, &mut weights)?;
        Ok(weights)
    }

    /// Compacts the file if most of it is free and nobody is at work on it.
    pub(super) fn tidy(&self) -> Result<(), redb::Error> {
        let (before, held) = (footprint::taken(&self.path), self.weights().all);
        if !self.footprint.is_due(before, held) {
            return Ok(());
        }
        // Never waited for: whoever works on it may need another look to come to an end.
        let Ok(mut database) = self.database.try_write() else { return Ok(()) };
        match database.compact() {
            Ok(_) => {}
            Err(CompactionError::Storage(error)) => return Err(error.into()),
            // Next time.
            Err(_) => return Ok(()),
        }
        let after = footprint::taken(&self.path);
        self.footprint.compacted(before, after);
        events::compacted(before, after, held);
        Ok(())
    }

    /// Makes the tables, so that reading finds them.
    fn begin(&self) -> Result<(), redb::Error> {
        let writing = self.writing()?;
        {
            let mut meta = writing.open_table(META)?;
            let known = meta.get("format")?.map(|format| format.value());
            match known {
                Some(FORMAT) => {}
                None | Some(OLDEST_FORMAT..FORMAT) => drop(meta.insert("format", FORMAT)?),
                Some(other) => {
                    let reason = format!("it has format {other}, this agent reads up to {FORMAT}");
                    return Err(redb::Error::Corrupted(reason));
                }
            }
            writing.open_table(ENTRIES)?;
            writing.open_table(BATCHES)?;
            writing.open_table(EMITTED)?;
            writing.open_table(STATES)?;
            writing.open_table(NOTES)?;
            writing.open_table(COUNTS)?;
            gap_tables::begin(&writing)?;
            spool_tables::begin(&writing)?;
            receivers::begin(&writing)?;
        }
        Ok(writing.commit()?)
    }

    /// All that was counted, by name; what cannot be read is left out.
    pub(super) fn accounts(&self) -> Result<Vec<(String, Account)>, redb::Error> {
        let reading = self.reading()?;
        let mut accounts = Vec::new();
        for entry in reading.open_table(COUNTS)?.iter()? {
            let (name, bytes) = entry?;
            if let Ok(account) = postcard::from_bytes(bytes.value()) {
                accounts.push((name.value().to_owned(), account));
            }
        }
        Ok(accounts)
    }

    /// What was counted under this name.
    pub(super) fn account(&self, name: &str) -> Result<Option<Account>, redb::Error> {
        let reading = self.reading()?;
        let table = reading.open_table(COUNTS)?;
        Ok(table.get(name)?.and_then(|bytes| postcard::from_bytes(bytes.value()).ok()))
    }

    /// All entries; heads that cannot be decoded are left out, and logged.
    pub(super) fn entries(&self) -> Result<Entries, redb::Error> {
        let reading = self.reading()?;
        let table = reading.open_table(ENTRIES)?;
        let mut entries = Entries::default();
        for entry in table.iter()? {
            let (offset, head) = entry?;
            entries.last = offset.value();
            match postcard::from_bytes(head.value()) {
                Ok(head) => entries.heads.push((offset.value(), head)),
                Err(error) => events::batch_unreadable(offset.value(), &error.to_string()),
            }
        }
        Ok(entries)
    }

    /// The bytes of a batch.
    pub(super) fn batch(&self, offset: Offset) -> Result<Option<Vec<u8>>, redb::Error> {
        let reading = self.reading()?;
        let table = reading.open_table(BATCHES)?;
        Ok(table.get(offset)?.map(|bytes| bytes.value().to_vec()))
    }

    /// Sinks of which something is kept.
    pub(super) fn sinks(&self) -> Result<BTreeSet<String>, redb::Error> {
        let reading = self.reading()?;
        let mut sinks = BTreeSet::new();
        for sink in reading.open_table(STATES)?.iter()? {
            sinks.insert(sink?.0.value().to_owned());
        }
        for sink in reading.open_table(EMITTED)?.iter()? {
            sinks.insert(sink?.0.value().to_owned());
        }
        Ok(sinks)
    }

    /// What is known of a sink.
    pub(super) fn resume(&self, sink: &str) -> Result<Resume, redb::Error> {
        let reading = self.reading()?;
        let emitted =
            reading.open_table(EMITTED)?.get(sink)?.map_or(0, |sink_offset| sink_offset.value());
        let states = reading.open_table(STATES)?;
        let saved = match states.get(sink)?.map(|bytes| postcard::from_bytes(bytes.value())) {
            None => None,
            Some(Ok(saved)) => Some(saved),
            Some(Err(error)) => {
                events::state_unreadable(sink, &error.to_string());
                None
            }
        };
        let mut notes = BTreeMap::new();
        for note in reading.open_table(NOTES)?.range((sink, 0)..=(sink, u64::MAX))? {
            let (key, bytes) = note?;
            notes.insert(key.value().1, bytes.value().to_vec());
        }
        Ok(Resume { saved, emitted, notes })
    }

    /// Writes all of it durably, or nothing.
    pub(super) fn write(&self, changes: &Changes) -> Result<(), redb::Error> {
        let mut writing = self.writing()?;
        if changes.lazy {
            writing.set_durability(Durability::None).map_err(unexpected)?;
        }
        let mut weights = self.weights().clone();
        add(&writing, changes, &mut weights)?;
        self.commit(writing, weights)
    }

    /// The same in pieces, as long as there are some, if it is to be committed then.
    pub(super) fn write_all(
        &self,
        mut pieces: impl FnMut() -> Option<Changes>,
        commits: impl FnOnce() -> bool,
    ) -> Result<(), redb::Error> {
        let writing = self.writing()?;
        // Nobody else writes meanwhile.
        let mut weights = self.weights().clone();
        while let Some(changes) = pieces() {
            add(&writing, &changes, &mut weights)?;
        }
        if commits() { self.commit(writing, weights) } else { Ok(writing.abort()?) }
    }

    fn commit(&self, writing: WriteTransaction, weights: Weights) -> Result<(), redb::Error> {
        // Before the next one can begin.
        let mut known = self.weights();
        writing.commit()?;
        *known = weights;
        Ok(())
    }
}

fn add(
    writing: &WriteTransaction,
    changes: &Changes,
    weights: &mut Weights,
) -> Result<(), redb::Error> {
    add_entries(writing, changes, weights)?;
    let mut counts = writing.open_table(COUNTS)?;
    let mut emitted = writing.open_table(EMITTED)?;
    for SinkOffset { sink, offset, accounts } in &changes.offset_trackers {
        // One that was read before another one was written would undo that.
        let known = emitted.get(&**sink)?.map_or(0, |known| known.value());
        if known <= *offset {
            emitted.insert(&**sink, offset)?;
            write_accounts(&mut counts, accounts)?;
        }
    }
    write_accounts(&mut counts, &changes.accounts)?;
    let mut states = writing.open_table(STATES)?;
    let mut notes = writing.open_table(NOTES)?;
    if let Some((sink, offset, note)) = &changes.note {
        notes.insert((&**sink, *offset), note.as_slice())?;
    }
    if let Some((sink, saved)) = &changes.saved {
        let state = bytes(postcard::to_allocvec(saved))?;
        let before = states.insert(&**sink, state.as_slice())?;
        weights.add(length(&state) - before.map_or(0, |before| length(before.value())));
        let old = (&**sink, 0)..=(&**sink, saved.offset);
        notes.retain_in(old, |_, _| false)?;
    }
    for sink in &changes.forgotten {
        emitted.remove(&**sink)?;
        let before = states.remove(&**sink)?;
        weights.add(-before.map_or(0, |before| length(before.value())));
        notes.retain_in((&**sink, 0)..=(&**sink, u64::MAX), |_, _| false)?;
    }
    gap_tables::write(writing, &changes.gaps, &changes.cycles, weights)?;
    receivers::write(writing, &changes.receivers)?;
    for spool in &changes.spools {
        gap_tables::write(writing, &spool.gaps, &[], weights)?;
        spool_tables::write(writing, spool, weights)?;
    }
    Ok(())
}

fn add_entries(
    writing: &WriteTransaction,
    changes: &Changes,
    weights: &mut Weights,
) -> Result<(), redb::Error> {
    let (mut entries, mut batches) = (writing.open_table(ENTRIES)?, writing.open_table(BATCHES)?);
    if let Some((offset, head, batch)) = &changes.entry {
        entries.insert(offset, bytes(postcard::to_allocvec(head))?.as_slice())?;
        batches.insert(offset, batch.as_slice())?;
        weights.add(footprint::weight(head.bytes));
    }
    for offset in &changes.removed {
        let head = entries.remove(offset)?;
        let head = head.and_then(|head| postcard::from_bytes::<EntryHead>(head.value()).ok());
        weights.add(-head.map_or(0, |head| footprint::weight(head.bytes)));
        batches.remove(offset)?;
    }
    Ok(())
}

fn write_accounts(
    counts: &mut Table<'_, &'static str, &'static [u8]>,
    accounts: &[(String, Account)],
) -> Result<(), redb::Error> {
    for (name, account) in accounts {
        counts.insert(&**name, bytes(postcard::to_allocvec(account))?.as_slice())?;
    }
    Ok(())
}

/// Why a file is not used.
enum Unusable {
    /// It may be well; the system or another agent says no.
    Refused(Box<redb::Error>),
    /// It is not well.
    Damaged(String),
}

fn refused(error: redb::Error) -> Unusable {
    Unusable::Refused(Box::new(error))
}

/// Errors of the system, as opposed to those that redb makes of what it reads.
fn is_systems(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

/// For this user alone, and no link.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    nephometer_files::own(path, options.read(true).write(true).create(true).truncate(false))
}

/// A name beside the file that is free.
fn aside(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("redb.damaged-{number}"));
    (1..u32::MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}
