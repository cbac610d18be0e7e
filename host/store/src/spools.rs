//! All spools of a store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::backend::Backend;
use super::db::Changes;
use super::receivers::Claim;
use super::spool::{Bounds, SpoolShared};
use super::spool_tables::StoredSpool;
use super::{SpoolReader, SpoolWriter, StoreError, WhenFull};
use nephometer_telemetry::{PublisherCount, events::store as events};

/// Gives out spools. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spools {
    pub(super) backend: Arc<Backend>,
    /// Those that were opened. Locked to look or to add.
    open: Arc<Mutex<HashMap<String, Arc<SpoolShared>>>>,
    /// Whose they are, once that was read.
    receivers: Arc<tokio::sync::Mutex<Option<Receivers>>>,
}

/// Whose spools are.
#[derive(Debug)]
struct Receivers {
    by_spool: HashMap<String, Uuid>,
    /// Not on disk as they are here: the disk has failed.
    unwritten: bool,
}

impl Spools {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, open: Arc::default(), receivers: Arc::default() }
    }

    /// Spools that are gone when they are dropped.
    pub fn in_memory() -> Self {
        Self::new(Backend::none())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<SpoolShared>>> {
        // Nothing between lock and unlock can panic half-way, so that the map is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spool of this name, with what an earlier run has left in it. Whoever had it before ends,
    /// and leaves what is not settled. `counts` goes on where it was, and is kept up to date.
    ///
    /// # Errors
    /// If what was left cannot be read: its numbers would begin anew, and overwrite it.
    pub async fn open(
        &self,
        name: &str,
        bounds: Bounds,
        when_full: WhenFull,
        counts: &Arc<PublisherCount>,
    ) -> Result<(SpoolWriter, SpoolReader), StoreError> {
        // Before the lock: the disk may take its time.
        let found = match self.get(name) {
            Some(_) => StoredSpool::default(),
            None => self.backend.spool(name).await?,
        };
        let mut open = self.lock();
        let shared = open.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(SpoolShared::new(name, &self.backend, (bounds, when_full), (counts, found)))
        });
        let ends = shared.ends();
        self.share(&open, None);
        Ok(ends)
    }

    /// The name of the spool that belongs to a receiver, and its number among those of its label,
    /// from 1. It is remembered, and does not depend on the order in which publishers ask.
    ///
    /// # Errors
    /// If what is known of receivers cannot be read.
    pub async fn claim(&self, claim: Claim<'_>) -> Result<(String, usize), StoreError> {
        let mut known = self.receivers.lock().await;
        let known = match &mut *known {
            Some(known) => known,
            unread => {
                let by_spool = self.backend.receivers().await?;
                unread.insert(Receivers { by_spool, unwritten: false })
            }
        };
        let number = claim.number(&known.by_spool);
        let name = claim.name(number);
        let before = known.by_spool.insert(name.clone(), claim.receiver);
        known.unwritten |= before != Some(claim.receiver);
        self.write_receivers(known).await;
        Ok((name, number))
    }

    /// Where the disk fails, which is logged there, it is tried again with the next claim and at the
    /// end.
    async fn write_receivers(&self, known: &mut Receivers) {
        if known.unwritten {
            let receivers =
                known.by_spool.iter().map(|(name, uuid)| (name.clone(), *uuid)).collect();
            let written = self.backend.write(Changes { receivers, ..Changes::default() }).await;
            known.unwritten = written.is_err();
        }
    }

    /// A spool of which no receiver is known is nobody's from now on: whoever comes later with such a
    /// label is not the one that it was filled for.
    async fn disown(&self, name: &str) {
        if let Some(known) = &mut *self.receivers.lock().await
            && !known.by_spool.contains_key(name)
        {
            known.by_spool.insert(name.to_owned(), Uuid::nil());
            known.unwritten = true;
            self.write_receivers(known).await;
        }
    }

    /// Divides what the database may take among the journal and these spools.
    fn share(&self, open: &HashMap<String, Arc<SpoolShared>>, orphaned: Option<u64>) {
        let used = open.values().filter(|one| !one.queue.is_closed() || one.queue.len() > 0);
        self.backend.shared_by(used.count() as u64, orphaned);
        open.values().for_each(|spool| spool.take_share());
    }

    /// Bounds what the database may take, `others` of it for what is not the journal and not in spools.
    pub fn bound(&self, total: u64, others: u64) {
        self.backend.bound(total, others);
        self.share(&self.lock(), None);
    }

    /// How much the journal and each spool may hold, if that is less than this.
    pub fn share_below(&self, bytes: u64) -> Option<u64> {
        Some(self.backend.share()).filter(|share| *share < bytes && self.backend.is_durable())
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<SpoolShared>> {
        self.lock().get(name).cloned()
    }

    /// Whether a publisher is there for it.
    pub fn is_open(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Writes all that the disk has yet to be told.
    pub async fn sync(&self) {
        if let Some(known) = &mut *self.receivers.lock().await {
            self.write_receivers(known).await;
        }
        let open: Vec<Arc<SpoolShared>> = self.lock().values().cloned().collect();
        for spool in open {
            spool.sync().await;
        }
    }

    /// Says which spools of an earlier run have something for a publisher that is not in the
    /// configuration any more. It stays there, for as long as its envelopes may be kept.
    pub async fn report_orphans(&self) {
        // What cannot be read now is said by whoever needs it.
        let spools = self.list().await.unwrap_or_default();
        let mut orphaned = 0;
        for spool in spools.iter().filter(|one| one.held > 0 && !self.is_open(&one.name)) {
            events::orphaned_spool(&spool.name, spool.held, spool.samples);
            orphaned += spool.bytes;
            self.disown(&spool.name).await;
        }
        self.share(&self.lock(), Some(orphaned));
    }
}
