//! The database file: its tables, what one transaction writes, and when the file cannot be used.
//!
//! All calls block. A damaged file is renamed and a new one created: an agent that does not start
//! loses more.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    CompactionError, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::damaged::move_aside;
use super::footprint::{self, Footprint, StoredBytes, length};
use super::gap_tables;
use super::offsets::SinkOffset;
use super::receivers;
use super::spool_tables::{self, SpoolChange};
use super::values::{encoded, unexpected};
use nephometer_model::{Gap, Offset};
use nephometer_telemetry::{Account, events::store as events};

pub(super) const FILE: &str = "agent.redb";
/// Bytes of pages that redb caches; most reads are of what was just written.
const CACHE: usize = 4 << 20;
/// The format of the tables; a newer one is not read. Format 1 had no spools and no counters: batches
/// in its journal are encoded into envelopes again, with the same ids.
const FORMAT: u64 = 2;
const OLDEST_FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By offset: the head of a batch.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// By offset: the encoded batch.
const BATCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batches");
/// By sink: its emitted offset.
const EMITTED: TableDefinition<'_, &str, u64> = TableDefinition::new("emitted");
/// By sink: the saved state of its transformers.
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
/// By sink and offset: a note on a batch.
const NOTES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("notes");

/// Counters, by name.
const COUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counts");

/// What is known of a batch without reading it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EntryHead {
    pub(super) sinks: Vec<String>,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    /// Start of its polling cycle, nanoseconds since the epoch.
    pub(super) cycle_start: u64,
}

/// The journal entries on disk.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Oldest first.
    pub(super) heads: Vec<(Offset, EntryHead)>,
    /// The last offset in use, also by an entry that cannot be decoded; 0 if there is none.
    pub(super) last: Offset,
}

/// The saved states of the transformers of a sink at one offset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedChain {
    /// The last batch that the transformers have processed.
    pub offset: Offset,
    /// In the order of the sink.
    pub transformers: Vec<SavedTransformer>,
}

/// The saved state of one transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedTransformer {
    /// Name of the component.
    pub component: String,
    /// SHA-256 of the component's file.
    pub digest: [u8; 32],
    /// The options, as JSON text.
    pub options: String,
    /// The component's `state-version`.
    pub version: u32,
    /// The state; `None` if the component has none.
    pub state: Option<Arc<Vec<u8>>>,
}

/// Where a sink resumes after a restart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResumePoint {
    /// The saved states of its transformers.
    pub saved: Option<SavedChain>,
    /// The emitted offset: envelopes of batches up to it are in the spools or acknowledged.
    pub emitted: Offset,
    /// Notes on batches after the saved offset.
    pub notes: BTreeMap<Offset, Vec<u8>>,
}

/// What one transaction writes: all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) entry: Option<(Offset, EntryHead, Vec<u8>)>,
    pub(super) sink_offsets: Vec<SinkOffset>,
    pub(super) removed: Vec<Offset>,
    pub(super) saved: Option<(Arc<str>, SavedChain)>,
    pub(super) note: Option<(Arc<str>, Offset, Vec<u8>)>,
    pub(super) removed_sinks: Vec<Arc<str>>,
    /// Counters, by name.
    pub(super) accounts: Vec<(String, Account)>,
    pub(super) spools: Vec<SpoolChange>,
    /// Spools with their receivers.
    pub(super) receivers: Vec<(String, Uuid)>,
    pub(super) gaps: Vec<Gap>,
    /// Sources with the start of their last polling cycle, nanoseconds since the epoch.
    pub(super) cycles: Vec<(Arc<str>, u64)>,
    /// Not synced by itself: reaches the disk with the next transaction that is. A crash before that
    /// does no harm.
    pub(super) lazy: bool,
}

/// The open database.
#[derive(Debug)]
pub(super) struct Disk {
    /// Locked to begin a transaction, and exclusively while the file is compacted.
    database: RwLock<Database>,
    path: PathBuf,
    stored: Mutex<StoredBytes>,
    footprint: Footprint,
    /// Whether the last transaction was a lazy one.
    unsynced: AtomicBool,
}

impl Disk {
    /// Opens the database or creates it. A damaged file is renamed, and that is logged.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        match Self::open_file(&path) {
            Ok(disk) => Ok(disk),
            Err(OpenFailure::Refused(source)) => Err(StoreError::Database { path, source }),
            Err(OpenFailure::Damaged(reason)) => {
                let damaged = move_aside(&path)?;
                events::damaged_store_moved(&path, &damaged, &reason);
                match Self::open_file(&path) {
                    Ok(disk) => Ok(disk),
                    Err(OpenFailure::Refused(source)) => Err(StoreError::Database { path, source }),
                    Err(OpenFailure::Damaged(reason)) => {
                        let source = Box::new(redb::Error::Corrupted(reason));
                        Err(StoreError::Database { path, source })
                    }
                }
            }
        }
    }

    fn open_file(path: &Path) -> Result<Self, OpenFailure> {
        let file = open_private(path).map_err(|error| refused(redb::Error::Io(error)))?;
        // Checks all checksums: a page that something else wrote is found now, not at a later read.
        let open = || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
            #[cfg(test)]
            if let Some(disk) = super::power_loss_tests::disk_at(path) {
                return builder.create_with_backend(disk);
            }
            builder.create_with_backend(FileBackend::new(file)?)
        };
        // redb may also panic on a damaged file.
        let opened = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| OpenFailure::Damaged("redb panicked while opening it".to_owned()))?;
        let database = opened.map_err(|error| match error {
            DatabaseError::Storage(StorageError::Io(error)) if is_os_error(&error) => {
                refused(redb::Error::Io(error))
            }
            DatabaseError::DatabaseAlreadyOpen => refused(error.into()),
            other => OpenFailure::Damaged(other.to_string()),
        })?;
        let failure = |error| match error {
            redb::Error::Io(error) => refused(redb::Error::Io(error)),
            other => OpenFailure::Damaged(other.to_string()),
        };
        let (stored, footprint) = (Mutex::default(), Footprint::default());
        let database = RwLock::new(database);
        let (path, unsynced) = (path.to_owned(), AtomicBool::new(false));
        let disk = Self { database, path, stored, footprint, unsynced };
        disk.create_tables().map_err(failure)?;
        let found = disk.measure().map_err(failure)?;
        *disk.stored() = found;
        disk.compact_if_due().map_err(failure)?;
        Ok(disk)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner).begin_read()?)
    }

    fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner).begin_write()?)
    }

    fn stored(&self) -> MutexGuard<'_, StoredBytes> {
        // Nothing between lock and unlock can panic half-way, so the numbers are consistent.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes in all tables, from heads where these have the number.
    fn measure(&self) -> Result<StoredBytes, redb::Error> {
        let mut stored = StoredBytes::default();
        for (_, head) in self.entries()?.heads {
            stored.add(footprint::signed(head.bytes));
        }
        let transaction = self.begin_read()?;
        for state in transaction.open_table(STATES)?.iter()? {
            stored.add(length(state?.1.value()));
        }
        gap_tables::measure(&transaction, &mut stored)?;
        spool_tables::measure(&transaction, &mut stored)?;
        Ok(stored)
    }

    /// Compacts the file if most of it is free and no transaction is open.
    pub(super) fn compact_if_due(&self) -> Result<(), redb::Error> {
        let (before, stored) = (footprint::allocated_bytes(&self.path), self.stored().total);
        if !self.footprint.is_due(before, stored) {
            return Ok(());
        }
        // Never waits: the holder of a transaction may need another one to finish.
        let Ok(mut database) = self.database.try_write() else { return Ok(()) };
        match database.compact() {
            Ok(_) => {}
            Err(CompactionError::Storage(error)) => return Err(error.into()),
            // Tried again after the next write.
            Err(_) => return Ok(()),
        }
        let after = footprint::allocated_bytes(&self.path);
        self.footprint.compacted(before, after);
        events::compacted(before, after, stored);
        Ok(())
    }

    /// Creates the tables, so that readers find them.
    fn create_tables(&self) -> Result<(), redb::Error> {
        let transaction = self.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let known = meta.get("format")?.map(|format| format.value());
            match known {
                Some(FORMAT) => {}
                None | Some(OLDEST_FORMAT..FORMAT) => drop(meta.insert("format", FORMAT)?),
                Some(other) => {
                    let reason = format!(
                        "unsupported store format {other}; this agent reads formats {OLDEST_FORMAT} to {FORMAT}"
                    );
                    return Err(redb::Error::Corrupted(reason));
                }
            }
            transaction.open_table(ENTRIES)?;
            transaction.open_table(BATCHES)?;
            transaction.open_table(EMITTED)?;
            transaction.open_table(STATES)?;
            transaction.open_table(NOTES)?;
            transaction.open_table(COUNTS)?;
            gap_tables::create_tables(&transaction)?;
            spool_tables::create_tables(&transaction)?;
            receivers::create_tables(&transaction)?;
        }
        Ok(transaction.commit()?)
    }

    /// All counters, by name; those that cannot be decoded are left out.
    pub(super) fn accounts(&self) -> Result<Vec<(String, Account)>, redb::Error> {
        let transaction = self.begin_read()?;
        let mut accounts = Vec::new();
        for entry in transaction.open_table(COUNTS)?.iter()? {
            let (name, bytes) = entry?;
            if let Ok(account) = postcard::from_bytes(bytes.value()) {
                accounts.push((name.value().to_owned(), account));
            }
        }
        Ok(accounts)
    }

    /// The counters of one name.
    pub(super) fn account(&self, name: &str) -> Result<Option<Account>, redb::Error> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(COUNTS)?;
        Ok(table.get(name)?.and_then(|bytes| postcard::from_bytes(bytes.value()).ok()))
    }

    /// All journal entries; heads that cannot be decoded are logged and left out.
    pub(super) fn entries(&self) -> Result<Entries, redb::Error> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(ENTRIES)?;
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

    /// The encoded batch at an offset.
    pub(super) fn batch(&self, offset: Offset) -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(BATCHES)?;
        Ok(table.get(offset)?.map(|bytes| bytes.value().to_vec()))
    }

    /// Sinks with a saved state or an emitted offset.
    pub(super) fn sinks(&self) -> Result<BTreeSet<String>, redb::Error> {
        let transaction = self.begin_read()?;
        let mut sinks = BTreeSet::new();
        for sink in transaction.open_table(STATES)?.iter()? {
            sinks.insert(sink?.0.value().to_owned());
        }
        for sink in transaction.open_table(EMITTED)?.iter()? {
            sinks.insert(sink?.0.value().to_owned());
        }
        Ok(sinks)
    }

    /// Where a sink resumes. A state that cannot be decoded is logged and left out.
    pub(super) fn resume(&self, sink: &str) -> Result<ResumePoint, redb::Error> {
        let transaction = self.begin_read()?;
        let emitted =
            transaction.open_table(EMITTED)?.get(sink)?.map_or(0, |offset| offset.value());
        let states = transaction.open_table(STATES)?;
        let saved = match states.get(sink)?.map(|bytes| postcard::from_bytes(bytes.value())) {
            None => None,
            Some(Ok(saved)) => Some(saved),
            Some(Err(error)) => {
                events::state_unreadable(sink, &error.to_string());
                None
            }
        };
        let mut notes = BTreeMap::new();
        for note in transaction.open_table(NOTES)?.range((sink, 0)..=(sink, u64::MAX))? {
            let (key, bytes) = note?;
            notes.insert(key.value().1, bytes.value().to_vec());
        }
        Ok(ResumePoint { saved, emitted, notes })
    }

    /// Writes all changes in one transaction, durably unless they are lazy.
    pub(super) fn write(&self, changes: &Changes) -> Result<(), redb::Error> {
        let mut transaction = self.begin_write()?;
        if changes.lazy {
            transaction.set_durability(Durability::None).map_err(unexpected)?;
        }
        let mut stored = self.stored().clone();
        apply(&transaction, changes, &mut stored)?;
        self.commit(transaction, stored, changes.lazy)
    }

    /// Whether a lazy transaction is not on disk yet.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced.load(Relaxed)
    }

    /// Writes chunks of changes in one transaction until there are no more, then commits it if
    /// `commits` returns true.
    pub(super) fn write_all(
        &self,
        mut chunks: impl FnMut() -> Option<Changes>,
        commits: impl FnOnce() -> bool,
    ) -> Result<(), redb::Error> {
        let transaction = self.begin_write()?;
        // There is only one writer at a time, so nobody changes it meanwhile.
        let mut stored = self.stored().clone();
        while let Some(changes) = chunks() {
            apply(&transaction, &changes, &mut stored)?;
        }
        if commits() { self.commit(transaction, stored, false) } else { Ok(transaction.abort()?) }
    }

    fn commit(
        &self,
        transaction: WriteTransaction,
        stored: StoredBytes,
        lazy: bool,
    ) -> Result<(), redb::Error> {
        // Locked before the commit, after which the next transaction can begin.
        let mut known = self.stored();
        transaction.commit()?;
        *known = stored;
        self.unsynced.store(lazy, Relaxed);
        Ok(())
    }
}

fn apply(
    transaction: &WriteTransaction,
    changes: &Changes,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    apply_entries(transaction, changes, stored)?;
    let mut counts = transaction.open_table(COUNTS)?;
    let mut emitted = transaction.open_table(EMITTED)?;
    for SinkOffset { sink, offset, accounts } in &changes.sink_offsets {
        // A value that is older than the one on disk would move the sink back.
        let known = emitted.get(&**sink)?.map_or(0, |known| known.value());
        if known <= *offset {
            emitted.insert(&**sink, offset)?;
            write_accounts(&mut counts, accounts)?;
        }
    }
    write_accounts(&mut counts, &changes.accounts)?;
    let mut states = transaction.open_table(STATES)?;
    let mut notes = transaction.open_table(NOTES)?;
    if let Some((sink, offset, note)) = &changes.note {
        notes.insert((&**sink, *offset), note.as_slice())?;
    }
    if let Some((sink, saved)) = &changes.saved {
        let state = encoded(postcard::to_allocvec(saved))?;
        let before = states.insert(&**sink, state.as_slice())?;
        stored.add(length(&state) - before.map_or(0, |before| length(before.value())));
        let old = (&**sink, 0)..=(&**sink, saved.offset);
        notes.retain_in(old, |_, _| false)?;
    }
    for sink in &changes.removed_sinks {
        emitted.remove(&**sink)?;
        let before = states.remove(&**sink)?;
        stored.add(-before.map_or(0, |before| length(before.value())));
        notes.retain_in((&**sink, 0)..=(&**sink, u64::MAX), |_, _| false)?;
    }
    gap_tables::write(transaction, &changes.gaps, &changes.cycles, stored)?;
    receivers::write(transaction, &changes.receivers)?;
    for spool in &changes.spools {
        gap_tables::write(transaction, &spool.gaps, &[], stored)?;
        spool_tables::write(transaction, spool, stored)?;
    }
    Ok(())
}

fn apply_entries(
    transaction: &WriteTransaction,
    changes: &Changes,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut batches = transaction.open_table(BATCHES)?;
    if let Some((offset, head, batch)) = &changes.entry {
        entries.insert(offset, encoded(postcard::to_allocvec(head))?.as_slice())?;
        batches.insert(offset, batch.as_slice())?;
        stored.add(footprint::signed(head.bytes));
    }
    for offset in &changes.removed {
        let head = entries.remove(offset)?;
        let head = head.and_then(|head| postcard::from_bytes::<EntryHead>(head.value()).ok());
        stored.add(-head.map_or(0, |head| footprint::signed(head.bytes)));
        batches.remove(offset)?;
    }
    Ok(())
}

fn write_accounts(
    counts: &mut Table<'_, &'static str, &'static [u8]>,
    accounts: &[(String, Account)],
) -> Result<(), redb::Error> {
    for (name, account) in accounts {
        counts.insert(&**name, encoded(postcard::to_allocvec(account))?.as_slice())?;
    }
    Ok(())
}

/// Why a file cannot be opened.
enum OpenFailure {
    /// The system or another agent refuses it; its contents may be sound.
    Refused(Box<redb::Error>),
    /// Its contents are damaged or of another format.
    Damaged(String),
}

fn refused(error: redb::Error) -> OpenFailure {
    OpenFailure::Refused(Box::new(error))
}

/// Distinguishes errors of the system from those that redb makes of what it reads.
fn is_os_error(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some()
}

/// Opens the file for this user only; refuses links.
fn open_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    nephometer_files::own(path, options.read(true).write(true).create(true).truncate(false))
}
