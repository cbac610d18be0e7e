//! All spools of a store: opens them, assigns them to receivers, and divides the database among them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::backend::Backend;
use super::db::Changes;
use super::receivers::SpoolClaim;
use super::spool::{SpoolBounds, SpoolShared};
use super::spool_tables::StoredSpool;
use super::{SpoolReader, SpoolWriter, StoreError, WhenFull};
use nephometer_telemetry::{PublisherCount, events::store as events};

/// The spools of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spools {
    pub(super) backend: Arc<Backend>,
    /// The opened spools, by name. Locked to look or to add, never during disk access.
    open: Arc<Mutex<HashMap<String, Arc<SpoolShared>>>>,
    /// The receivers of spools; `None` until they are read.
    receivers: Arc<tokio::sync::Mutex<Option<ReceiverMap>>>,
}

/// The receiver of each spool.
#[derive(Debug)]
struct ReceiverMap {
    by_spool: HashMap<String, Uuid>,
    /// Differs from the disk, because a write has failed.
    unwritten: bool,
}

impl Spools {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, open: Arc::default(), receivers: Arc::default() }
    }

    /// Spools without a disk.
    pub fn in_memory() -> Self {
        Self::new(Backend::in_memory())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<SpoolShared>>> {
        // Nothing between lock and unlock can panic half-way, so the map is consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a spool with its pending envelopes. The reader before it ends, and leaves what it has not
    /// acknowledged. `counts` continues at the stored counters, and is kept up to date. `stream` is the
    /// id of its stream, if receivers can verify it.
    ///
    /// # Errors
    /// If the stored spool cannot be read: sequence numbers would restart and overwrite it.
    pub async fn open(
        &self,
        name: &str,
        bounds: SpoolBounds,
        when_full: WhenFull,
        (counts, stream): (&Arc<PublisherCount>, Option<Uuid>),
    ) -> Result<(SpoolWriter, SpoolReader), StoreError> {
        // Read before the lock is taken: the disk may be slow.
        let stored = match self.get(name) {
            Some(_) => StoredSpool::default(),
            None => self.backend.load_spool(name).await?,
        };
        let limits = (bounds, when_full);
        let (shared, handles) = {
            let mut open = self.lock();
            let shared = open.entry(name.to_owned()).or_insert_with(|| {
                let shared =
                    SpoolShared::new(name, &self.backend, limits, (counts, stored), stream);
                Arc::new(shared)
            });
            let (shared, handles) = (Arc::clone(shared), shared.handles());
            self.divide_capacity(&open, None);
            (shared, handles)
        };
        shared.reserve_numbers().await;
        Ok(handles)
    }

    /// The name of the spool of a receiver, and its number among those with the same label, from 1.
    /// The assignment is stored, and does not depend on the order of claims.
    ///
    /// # Errors
    /// If the stored receivers cannot be read.
    pub async fn claim(&self, claim: SpoolClaim<'_>) -> Result<(String, usize), StoreError> {
        let mut known = self.receivers.lock().await;
        let known = match &mut *known {
            Some(known) => known,
            unread => {
                let by_spool = self.backend.load_receivers().await?;
                unread.insert(ReceiverMap { by_spool, unwritten: false })
            }
        };
        let number = claim.number(&known.by_spool);
        let name = claim.name(number);
        let before = known.by_spool.insert(name.clone(), claim.receiver);
        known.unwritten |= before != Some(claim.receiver);
        self.write_receivers(known).await;
        Ok((name, number))
    }

    /// Writes the receivers if they differ from the disk. A failure is logged by the backend; the next
    /// claim and [`Self::close`] try again.
    async fn write_receivers(&self, known: &mut ReceiverMap) {
        if known.unwritten {
            let receivers =
                known.by_spool.iter().map(|(name, uuid)| (name.clone(), *uuid)).collect();
            let written = self.backend.write(Changes { receivers, ..Changes::default() }).await;
            known.unwritten = written.is_err();
        }
    }

    /// Assigns a spool without a known receiver to nobody: a later publisher with the same label is
    /// not the one that its envelopes are for.
    async fn assign_to_nobody(&self, name: &str) {
        if let Some(known) = &mut *self.receivers.lock().await
            && !known.by_spool.contains_key(name)
        {
            known.by_spool.insert(name.to_owned(), Uuid::nil());
            known.unwritten = true;
            self.write_receivers(known).await;
        }
    }

    /// Divides the database among the journal and the spools in use.
    fn divide_capacity(&self, open: &HashMap<String, Arc<SpoolShared>>, orphaned: Option<u64>) {
        let used = open.values().filter(|one| !one.queue.is_closed() || one.queue.len() > 0);
        self.backend.set_spools(used.count() as u64, orphaned);
        open.values().for_each(|spool| spool.apply_share());
    }

    /// Sets the size of the database in bytes, and how much of it is for neither the journal nor
    /// spools.
    pub fn set_capacity(&self, total: u64, reserved: u64) {
        self.backend.set_capacity(total, reserved);
        self.divide_capacity(&self.lock(), None);
    }

    /// Bytes that the journal and each spool may hold, if that is less than `bytes`.
    pub fn share_below(&self, bytes: u64) -> Option<u64> {
        Some(self.backend.share()).filter(|share| *share < bytes && self.backend.is_durable())
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<SpoolShared>> {
        self.lock().get(name).cloned()
    }

    /// Whether spools survive a restart.
    pub fn is_durable(&self) -> bool {
        self.backend.is_durable()
    }

    /// Whether a publisher has opened the spool.
    pub fn is_open(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Writes all that is not on disk yet, at the end of a run.
    pub async fn close(&self) {
        if let Some(known) = &mut *self.receivers.lock().await {
            self.write_receivers(known).await;
        }
        let open: Vec<Arc<SpoolShared>> = self.lock().values().cloned().collect();
        for spool in open {
            spool.close().await;
        }
    }

    /// Logs the orphaned spools: those with pending envelopes for a publisher that is no longer in the
    /// configuration. The envelopes stay for as long as the bounds allow.
    pub async fn report_orphaned_spools(&self) {
        // A database that cannot be read is reported by whoever needs it.
        let spools = self.list().await.unwrap_or_default();
        let mut orphaned = 0;
        for spool in spools.iter().filter(|one| one.pending > 0 && !self.is_open(&one.name)) {
            events::orphaned_spool(&spool.name, spool.pending, spool.samples);
            orphaned += spool.bytes;
            self.assign_to_nobody(&spool.name).await;
        }
        self.divide_capacity(&self.lock(), Some(orphaned));
    }
}
