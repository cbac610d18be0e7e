//! The embedded engine: SQLite, without any set-up.
//!
//! **A database file per month and retention class**, `2026-11.default.db`, and each is complete in
//! itself: meters, resources with revisions of their metadata, messages, samples, and the sums by
//! hour and day. That was chosen over one catalogue for all months for four reasons. A commit touches
//! one file, and SQLite commits one file atomically, but not several in WAL mode. Dropping a month is
//! dropping a file, names and metadata with it. A file can be copied, frozen or inspected alone. And
//! repeating a resource's metadata once a month costs little, while each message repeats it.
//!
//! **A sample is stored once** by a unique index on its id in its file, and by a look-up in the other
//! files of the window. Writers of all processes take turns by a lock on the folder, so that no two
//! commits check at the same time. If a group touches several files, each is committed on its own:
//! after a failure the group is written again, and what had been committed is found as duplicates.
//!
//! **Samples are clustered** by series and time (`WITHOUT ROWID`), times are microseconds since the
//! beginning of the month: 6 bytes. **Sums** are recomputed from the samples themselves, never added
//! to: storing a sample marks the sums of its hour and day as stale in the same transaction, and
//! [`rollup`] counts again. A stale sum is never used. Sums of a meter over all resources of a project
//! are recomputed from those of the series, in the same way: a query for all resources reads a row for
//! each hour of a project in place of one for each hour of a resource.

mod catalogue;
mod closing;
mod correction;
pub(super) mod dump;
mod erase;
mod file;
mod ledger;
mod read;
mod records;
mod rollup;
mod rows;
mod series;
mod write;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use nephometer_config::KeepSpec;
use nephometer_model::Timestamp;

use super::selection::micros;
use super::{
    Closing, Committed, Corrections, Erased, Group, Reader, Storage, StoreError, StoredLetter,
};
use crate::store::month::MonthName;
use crate::store::moved::MovedLedger;
use dump::MonthDump;
use file::{FileKey, MonthFile};
use ledger::LedgerFile;
use read::SqliteReader;

/// The store in a folder.
pub(crate) struct SqliteStore {
    folder: PathBuf,
    keep: KeepSpec,
    lock: File,
    files: HashMap<FileKey, MonthFile>,
    ledger: LedgerFile,
    budget: u64,
}

impl SqliteStore {
    /// Opens the folder, and creates it if it is missing. `budget` is the number of samples that a
    /// query may read.
    pub(crate) fn open(keep: &KeepSpec, budget: u64) -> Result<Self, StoreError> {
        let folder = keep.path.clone();
        nephometer_files::own_folder(&folder)
            .map_err(|source| file_error("use", &folder, source))?;
        let path = folder.join("lock");
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let lock = options.open(&path).map_err(|source| file_error("open", &path, source))?;
        let ledger = LedgerFile::open(&folder)?;
        let keep = keep.clone();
        let mut store = Self { folder, keep, lock, files: HashMap::new(), ledger, budget };
        // Files of an earlier version are brought to the present form before they are read.
        for (key, _) in months(&store.folder)? {
            store.opened(&key)?;
        }
        Ok(store)
    }

    /// Does something while no other process writes. After an error the files are opened again.
    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Shared with this value, so that the folder can be written while it is locked.
        let lock = self.lock.try_clone();
        let lock = lock.map_err(|source| file_error("lock", &self.folder, source))?;
        lock.lock().map_err(|source| file_error("lock", &self.folder, source))?;
        let done = work(self);
        if done.is_err() {
            self.close();
        }
        lock.unlock().map_err(|source| file_error("unlock", &self.folder, source))?;
        done
    }

    /// Opens only the reading side, for commands beside a running collector.
    pub(crate) fn read_only(folder: &Path, budget: u64) -> Result<Box<dyn Reader>, StoreError> {
        fs::metadata(folder).map_err(|source| file_error("read", folder, source))?;
        Ok(Box::new(SqliteReader::new(folder, budget)))
    }

    /// The file of a month and a class, opened and created as needed.
    fn opened(&mut self, key: &FileKey) -> Result<&mut MonthFile, StoreError> {
        if !self.files.contains_key(key) {
            let file = MonthFile::open(&self.folder, key)?;
            self.files.insert(key.clone(), file);
        }
        Ok(self.files.get_mut(key).expect("it was inserted"))
    }

    /// Forgets what is open after an error: the next attempt opens the files again.
    fn close(&mut self) {
        self.files.clear();
    }
}

/// Takes a file, and the closing of its month.
pub(super) type TakeDump<'t> =
    dyn FnMut(&MonthDump<'_>, Option<&Closing>) -> Result<(), StoreError> + 't;

impl SqliteStore {
    /// Hands over the files one by one, oldest first, and then what belongs to no month.
    pub(super) fn dump(
        &mut self,
        now: Timestamp,
        take: &mut TakeDump<'_>,
    ) -> Result<MovedLedger, StoreError> {
        let mut closings = Vec::new();
        for month in self.ledger.closed_months()? {
            let closing = self.ledger.closing(&month)?;
            closings.extend(
                closing.map(|closing| (MonthName::named(&month).map(|n| n.number()), closing)),
            );
        }
        let closings = closings
            .into_iter()
            .map(|(month, closing)| Ok((month?, closing)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        let mut reader = SqliteReader::new(&self.folder, self.budget);
        for dump in reader.dumps()? {
            let month = dump.key.month.number();
            let closing = closings.iter().find(|(known, _)| *known == month);
            take(&dump, closing.map(|(_, closing)| closing))?;
        }
        let (_, counts) = ledger::counts(&self.folder)?;
        let letters = self.ledger.letters(0, usize::MAX)?;
        let erasing = self.ledger.erasing()?;
        Ok(MovedLedger { closings, letters, erasing, counts, now })
    }
}

impl Storage for SqliteStore {
    fn write(&mut self, group: &Group, now: Timestamp) -> Result<Committed, StoreError> {
        self.locked(|store| store.write_locked(group, now))
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.locked(|store| store.maintain_locked(now))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::new(&self.folder, self.budget)))
    }

    fn letters(&mut self, after: i64, most: usize) -> Result<Vec<StoredLetter>, StoreError> {
        self.ledger.letters(after, most)
    }

    fn remove_letters(&mut self, numbers: &[i64]) -> Result<(), StoreError> {
        self.ledger.remove(numbers)
    }

    fn close_month(&mut self, month: &str, now: Timestamp) -> Result<(Closing, bool), StoreError> {
        self.locked(|store| store.close_locked(month, now))
    }

    fn corrections(&mut self, month: &str) -> Result<Corrections, StoreError> {
        self.locked(|store| store.corrections_locked(month))
    }

    fn erase_project(
        &mut self,
        project: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        self.locked(|store| store.erase_locked(project, keep, now))
    }

    fn stop_erasing(&mut self, project: &str) -> Result<bool, StoreError> {
        self.ledger.stop_erasing(project)
    }

    fn backup(&mut self, target: &Path) -> Result<u64, StoreError> {
        fs::create_dir(target).map_err(|source| file_error("create", target, source))?;
        let mut bytes = 0;
        for path in databases(&self.folder)? {
            let name = path.file_name().unwrap_or_default();
            bytes += file::copy(&path, &target.join(name))?;
        }
        Ok(bytes)
    }
}

/// Copies a backup into an empty or missing folder of a store.
pub(crate) fn restore(backup: &Path, folder: &Path) -> Result<u64, StoreError> {
    nephometer_files::own_folder(folder).map_err(|source| file_error("use", folder, source))?;
    if let Some(existing) = databases(folder)?.first() {
        let taken = std::io::Error::other("the folder already has a store; name an empty one");
        return Err(file_error("restore into", existing, taken));
    }
    let files = databases(backup)?;
    if files.is_empty() {
        let empty = std::io::Error::other("there is no backup in this folder");
        return Err(file_error("restore from", backup, empty));
    }
    let mut bytes = 0;
    for path in files {
        file::check_whole(&path)?;
        bytes += file::copy(&path, &folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(bytes)
}

/// The database files of a folder, in the order of their names.
fn databases(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| file_error("list", folder, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The month files of a folder, oldest first.
fn months(folder: &Path) -> Result<Vec<(FileKey, PathBuf)>, StoreError> {
    let named = databases(folder)?.into_iter().filter_map(|path| {
        let key = FileKey::of_name(path.file_name()?.to_str()?)?;
        Some((key, path))
    });
    Ok(named.collect())
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { doing, path: path.to_owned(), source }
}

/// The month of a time.
fn month_of(time: Timestamp) -> MonthName {
    MonthName::of(micros(time))
}
