//! The backend that journal and spools write to: a disk that works, a disk that fails, or none.
//!
//! It owns the open database, opens it again after a failure, and divides the total size among the
//! journal and the spools. It buffers nothing: a caller keeps what was not written and retries.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use uuid::Uuid;

use super::StoreError;
use super::db::{Changes, Disk, FILE};
use super::receivers;
use super::spool_tables::{self, StoredSpool};
use nephometer_telemetry::events::store as events;

/// Where all parts of the store are written and read.
#[derive(Debug)]
pub(super) struct Backend {
    /// `None` without a disk, or while the disk fails. Locked to look or to exchange, never during
    /// disk access.
    disk: Mutex<Option<Arc<Disk>>>,
    /// The store folder; `None` without a disk.
    folder: Option<PathBuf>,
    /// The last write failed.
    failing: AtomicBool,
    /// Bytes that the database may take.
    total: AtomicU64,
    /// Bytes of it reserved for neither the journal nor spools.
    reserved: AtomicU64,
    /// Number of spools in use.
    spools: AtomicU64,
    /// Bytes in orphaned spools.
    orphaned: AtomicU64,
}

impl Backend {
    pub(super) fn on_disk(disk: Disk, folder: &Path) -> Arc<Self> {
        Arc::new(Self::with(Some(Arc::new(disk)), Some(folder.to_owned())))
    }

    /// For stores that leave no trace: every write succeeds and has no effect.
    pub(super) fn in_memory() -> Arc<Self> {
        Arc::new(Self::with(None, None))
    }

    fn with(disk: Option<Arc<Disk>>, folder: Option<PathBuf>) -> Self {
        Self {
            disk: Mutex::new(disk),
            folder,
            failing: AtomicBool::new(false),
            total: AtomicU64::new(u64::MAX),
            reserved: AtomicU64::new(0),
            spools: AtomicU64::new(0),
            orphaned: AtomicU64::new(0),
        }
    }

    /// Whether writes survive a restart.
    pub(super) fn is_durable(&self) -> bool {
        self.folder.is_some()
    }

    pub(super) fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_disk(&self, disk: Option<Arc<Disk>>) {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = disk;
    }

    /// Writes all changes in one transaction. The first of several failures is logged; the next write
    /// opens the disk again.
    pub(super) async fn write(self: &Arc<Self>, changes: Changes) -> Result<(), StoreError> {
        let backend = Arc::clone(self);
        let written = blocking(move || backend.transact(|disk| disk.write(&changes))).await;
        self.record_outcome(written)
    }

    /// Begins a transaction that is written chunk by chunk, on a thread of its own until its end.
    pub(super) fn begin(self: &Arc<Self>) -> ChunkedTransaction {
        let (chunks, mut received) = mpsc::channel::<Changes>(1);
        let (backend, (commit, committed)) = (Arc::clone(self), oneshot::channel());
        let task = tokio::task::spawn_blocking(move || {
            let chunks = || received.blocking_recv();
            // A closed channel means that the transaction was dropped.
            let commits = || committed.blocking_recv().is_ok();
            backend.transact(|disk| disk.write_all(chunks, commits))
        });
        ChunkedTransaction { chunks, commit, task }
    }

    /// Commits a transaction: all of it is on disk afterwards, or nothing.
    pub(super) async fn commit(&self, transaction: ChunkedTransaction) -> Result<(), StoreError> {
        let ChunkedTransaction { chunks, commit, task } = transaction;
        // If the receiver is closed, a write has failed, and the task returns its error.
        drop((commit.send(()), chunks));
        let written = finished(task.await);
        self.record_outcome(written)
    }

    fn transact(
        &self,
        write: impl FnOnce(&Disk) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let disk = self.open_disk(&folder)?;
        let written = write(&disk).map_err(|error| {
            // After a failure redb refuses everything until it is opened again.
            self.set_disk(None);
            StoreError::Database { path: folder.clone(), source: Box::new(error) }
        });
        if written.is_ok()
            && let Err(error) = disk.compact_if_due()
        {
            // The changes are on disk; the next write opens it again.
            self.set_disk(None);
            events::write_failed(&StoreError::Database { path: folder, source: Box::new(error) });
        }
        written
    }

    /// Sets the size of the database in bytes, and how much of it is for neither the journal nor
    /// spools.
    pub(super) fn set_capacity(&self, total: u64, reserved: u64) {
        self.total.store(total, Relaxed);
        self.reserved.store(reserved, Relaxed);
    }

    /// Sets the number of spools in use and, where known, the bytes in orphaned spools.
    pub(super) fn set_spools(&self, spools: u64, orphaned: Option<u64>) {
        self.spools.store(spools, Relaxed);
        if let Some(orphaned) = orphaned {
            self.orphaned.store(orphaned, Relaxed);
        }
    }

    /// Bytes that the journal and each spool may hold. Half of the total is left for the rounding of
    /// pages; orphaned spools take at most half of the rest.
    pub(super) fn share(&self) -> u64 {
        let [total, reserved, orphaned] =
            [&self.total, &self.reserved, &self.orphaned].map(|bytes| bytes.load(Relaxed));
        let available = (total / 2).saturating_sub(reserved);
        (available - orphaned.min(available / 2)) / (self.spools.load(Relaxed) + 1)
    }

    /// A spool as it is on disk.
    pub(super) async fn load_spool(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<StoredSpool, StoreError> {
        let name = name.to_owned();
        self.load(move |disk| spool_tables::spool(&disk.begin_read()?, &name)).await
    }

    /// The receivers of all spools on disk.
    pub(super) async fn load_receivers(
        self: &Arc<Self>,
    ) -> Result<HashMap<String, Uuid>, StoreError> {
        self.load(|disk| receivers::read(&disk.begin_read()?)).await
    }

    /// Reads what an earlier run stored; the default without a disk. Opens a failed disk again.
    async fn load<T: Default + Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let backend = Arc::clone(self);
        blocking(move || backend.load_blocking(query)).await
    }

    /// As [`Self::load`], on the calling thread: while the agent is being built.
    pub(super) fn load_blocking<T: Default>(
        &self,
        query: impl FnOnce(&Disk) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let Some(folder) = &self.folder else { return Ok(T::default()) };
        query(&*self.open_disk(folder)?).map_err(|source| StoreError::Unreadable {
            path: folder.join(FILE),
            source: Box::new(source),
        })
    }

    /// The disk, opened again if it has failed.
    fn open_disk(&self, folder: &Path) -> Result<Arc<Disk>, StoreError> {
        if let Some(disk) = self.disk() {
            return Ok(disk);
        }
        let disk = Arc::new(Disk::open(folder)?);
        self.set_disk(Some(Arc::clone(&disk)));
        Ok(disk)
    }

    /// Logs when writes begin to fail, and when they succeed again.
    fn record_outcome(&self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        let failed = self.failing.swap(written.is_err(), Relaxed);
        match &written {
            Ok(()) if failed => events::write_restored(),
            Err(error) if !failed => events::write_failed(error),
            _ => {}
        }
        written
    }

    /// Runs a query. The error is the reason as text.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, String> {
        self.try_read(query).await.map_err(|failure| match failure {
            ReadFailure::Transient(reason) | ReadFailure::Damaged(reason) => reason,
        })
    }

    /// Runs a query. The error distinguishes a failing disk from damaged contents.
    pub(super) async fn try_read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let unavailable = || ReadFailure::Transient("the disk is unavailable".to_owned());
        let disk = self.disk().ok_or_else(unavailable)?;
        blocking(move || {
            query(&disk).map_err(|error| match error {
                // After the first failure redb refuses everything until it is opened again.
                redb::Error::Io(_) | redb::Error::PreviousIo => {
                    ReadFailure::Transient(error.to_string())
                }
                other => ReadFailure::Damaged(other.to_string()),
            })
        })
        .await
    }
}

/// Why a read failed.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// The disk fails: a later read may succeed.
    Transient(String),
    /// The contents are damaged: no later read succeeds.
    Damaged(String),
}

/// An open transaction that is written chunk by chunk. Dropping it discards all of it.
pub(super) struct ChunkedTransaction {
    chunks: mpsc::Sender<Changes>,
    commit: oneshot::Sender<()>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl ChunkedTransaction {
    /// Writes a chunk, once the one before is written. [`Backend::commit`] returns the errors.
    pub(super) async fn write(&mut self, changes: Changes) {
        drop(self.chunks.send(changes).await);
    }
}

/// Runs work that waits for the disk or takes long on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(tokio::task::spawn_blocking(work).await)
}

/// The result of blocking work. Panics if the work did, or if the runtime ended before the work
/// began; that ends the calling task as well.
pub(super) fn finished<T>(ended: Result<T, JoinError>) -> T {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => std::panic::resume_unwind(Box::new(error.to_string())),
    }
}
