//! The disk as it is now: at work, failing, or none at all.

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

/// What everything in the store is written to and read from. What cannot be written is the
/// writer's to keep; the next one tries again.
#[derive(Debug)]
pub(super) struct Backend {
    /// `None` without a disk, or while the disk fails. Locked to look or to exchange, never over
    /// the disk.
    disk: Mutex<Option<Arc<Disk>>>,
    /// Where the disk is; `None` without one.
    folder: Option<PathBuf>,
    /// The last attempt to write failed.
    failing: AtomicBool,
    /// What the database may take.
    total: AtomicU64,
    /// What of it is for neither the journal nor spools.
    others: AtomicU64,
    /// Spools that share it.
    spools: AtomicU64,
    /// Bytes of spools that nobody reads.
    orphaned: AtomicU64,
}

impl Backend {
    pub(super) fn on(disk: Disk, folder: &Path) -> Arc<Self> {
        Arc::new(Self::with(Some(Arc::new(disk)), Some(folder.to_owned())))
    }

    /// For stores that leave no trace: all that is written is as good as done.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self::with(None, None))
    }

    fn with(disk: Option<Arc<Disk>>, folder: Option<PathBuf>) -> Self {
        Self {
            disk: Mutex::new(disk),
            folder,
            failing: AtomicBool::new(false),
            total: AtomicU64::new(u64::MAX),
            others: AtomicU64::new(0),
            spools: AtomicU64::new(0),
            orphaned: AtomicU64::new(0),
        }
    }

    /// Whether what is written is there after a restart.
    pub(super) fn is_durable(&self) -> bool {
        self.folder.is_some()
    }

    pub(super) fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, disk: Option<Arc<Disk>>) {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = disk;
    }

    /// Writes all of it, or nothing. What failed is said once, and the disk is opened anew the next
    /// time.
    pub(super) async fn write(self: &Arc<Self>, changes: Changes) -> Result<(), StoreError> {
        let backend = Arc::clone(self);
        let written = blocking(move || backend.transact(|disk| disk.write(&changes))).await;
        self.note(written)
    }

    /// Begins a transaction that is written piece by piece, by a thread that it keeps until then.
    pub(super) fn begin(self: &Arc<Self>) -> Transaction {
        let (pieces, mut written) = mpsc::channel::<Changes>(1);
        let (backend, (commit, committed)) = (Arc::clone(self), oneshot::channel());
        let task = tokio::task::spawn_blocking(move || {
            let pieces = || written.blocking_recv();
            // Without a word to commit, whoever began it is not there any more.
            let commits = || committed.blocking_recv().is_ok();
            backend.transact(|disk| disk.write_all(pieces, commits))
        });
        Transaction { pieces, commit, task }
    }

    /// All of it is on disk now, or nothing.
    pub(super) async fn commit(&self, writing: Transaction) -> Result<(), StoreError> {
        let Transaction { pieces, commit, task } = writing;
        // Where nobody listens, writing has failed, which is the result.
        drop((commit.send(()), pieces));
        let written = finished(task.await);
        self.note(written)
    }

    fn transact(
        &self,
        write: impl FnOnce(&Disk) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let disk = self.opened(&folder)?;
        let written = write(&disk).map_err(|error| {
            // After a failure redb wants to be opened anew.
            self.set(None);
            StoreError::Database { path: folder.clone(), source: Box::new(error) }
        });
        if written.is_ok()
            && let Err(error) = disk.tidy()
        {
            // What was written is there; the next one opens it anew.
            self.set(None);
            events::write_failed(&StoreError::Database { path: folder, source: Box::new(error) });
        }
        written
    }

    /// From now on the database may take so many bytes, `others` of them for what is not the journal
    /// and not in spools.
    pub(super) fn bound(&self, total: u64, others: u64) {
        self.total.store(total, Relaxed);
        self.others.store(others, Relaxed);
    }

    /// So many spools share it, and others hold so many bytes that nobody reads, where that is known.
    pub(super) fn shared_by(&self, spools: u64, orphaned: Option<u64>) {
        self.spools.store(spools, Relaxed);
        if let Some(orphaned) = orphaned {
            self.orphaned.store(orphaned, Relaxed);
        }
    }

    /// What the journal, and each spool, may hold of it. Half of the total is for the rounding of
    /// pages. What nobody reads leaves at least half of the rest to those at work.
    pub(super) fn share(&self) -> u64 {
        let [total, others, orphaned] =
            [&self.total, &self.others, &self.orphaned].map(|bytes| bytes.load(Relaxed));
        let left = (total / 2).saturating_sub(others);
        (left - orphaned.min(left / 2)) / (self.spools.load(Relaxed) + 1)
    }

    /// A spool as an earlier run has left it.
    pub(super) async fn spool(self: &Arc<Self>, name: &str) -> Result<StoredSpool, StoreError> {
        let name = name.to_owned();
        self.left(move |disk| spool_tables::spool(&disk.reading()?, &name)).await
    }

    /// The receivers of spools.
    pub(super) async fn receivers(self: &Arc<Self>) -> Result<HashMap<String, Uuid>, StoreError> {
        self.left(|disk| receivers::read(&disk.reading()?)).await
    }

    /// Reads what an earlier run has left; nothing where there is no disk. A disk that has failed is
    /// opened anew.
    async fn left<T: Default + Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let backend = Arc::clone(self);
        blocking(move || backend.left_now(what)).await
    }

    /// The same on this thread: while the agent is being built.
    pub(super) fn left_now<T: Default>(
        &self,
        what: impl FnOnce(&Disk) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let Some(folder) = &self.folder else { return Ok(T::default()) };
        what(&*self.opened(folder)?).map_err(|source| StoreError::Unreadable {
            path: folder.join(FILE),
            source: Box::new(source),
        })
    }

    /// The disk, opened anew if it has failed.
    fn opened(&self, folder: &Path) -> Result<Arc<Disk>, StoreError> {
        if let Some(disk) = self.disk() {
            return Ok(disk);
        }
        let disk = Arc::new(Disk::open(folder)?);
        self.set(Some(Arc::clone(&disk)));
        Ok(disk)
    }

    fn note(&self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        let failed = self.failing.swap(written.is_err(), Relaxed);
        match &written {
            Ok(()) if failed => events::write_restored(),
            Err(error) if !failed => events::write_failed(error),
            _ => {}
        }
        written
    }

    /// Reads something, or returns the reason as text.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, String> {
        self.try_read(what).await.map_err(|failure| match failure {
            ReadFailure::Transient(reason) | ReadFailure::Damaged(reason) => reason,
        })
    }

    /// Reads something; the error tells a failing disk from damaged contents.
    pub(super) async fn try_read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Disk) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let unavailable = || ReadFailure::Transient("the disk fails".to_owned());
        let disk = self.disk().ok_or_else(unavailable)?;
        blocking(move || {
            what(&disk).map_err(|error| match error {
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

/// Why something was not read.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// The disk fails: what is there may be readable later.
    Transient(String),
    /// It will never be readable.
    Damaged(String),
}

/// A transaction that is being written. Dropped, none of it is.
pub(super) struct Transaction {
    pieces: mpsc::Sender<Changes>,
    commit: oneshot::Sender<()>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Transaction {
    /// Writes some of it, once what was given before is written. How it went is what
    /// [`Backend::commit`] gives.
    pub(super) async fn write(&mut self, changes: Changes) {
        drop(self.pieces.send(changes).await);
    }
}

/// Work that waits for the disk or takes long.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(tokio::task::spawn_blocking(work).await)
}

/// What blocking work gave. It panics where that did; a runtime that ends before the work has begun
/// takes this task with it as well.
pub(super) fn finished<T>(ended: Result<T, JoinError>) -> T {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => std::panic::resume_unwind(Box::new(error.to_string())),
    }
}
