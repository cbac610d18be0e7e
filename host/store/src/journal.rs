//! The journal: every batch once, in the order in which they came, for all sinks that want it.
//!
//! A batch is on disk before a sink sees it, and stays until each of its sinks has settled all that
//! it made of it and saved the state that it led to. Where the disk fails, batches are kept in
//! memory under the same bounds, and the next one tries the disk again.
//!
//! It locks its mutex over what it knows, never over the disk.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::backend::{Backend, ReadFailure, blocking};
use super::codec::{decode, encode};
use super::db::{Changes, Disk, EntryHead};
use super::memory::{BatchSlot, JournalBounds, JournalState};
use super::{StoreError, WhenFull};
use nephometer_model::{Batch, Gap, GapReason, Offset, Timestamp};
use nephometer_telemetry::{Account, Ledger, SinkCount};

/// The end that is written. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(pub(super) Arc<JournalShared>);

#[derive(Debug)]
pub(super) struct JournalShared {
    state: Mutex<JournalState>,
    pub(super) backend: Arc<Backend>,
    /// Whose own numbers are kept.
    ledger: OnceLock<Arc<Ledger>>,
    /// Samples that have come in, ever.
    polled: AtomicU64,
    bounds: JournalBounds,
    when_full: WhenFull,
    /// For sinks: there is something new, or nothing will come any more.
    filled: Notify,
    /// For a waiting writer: somebody has gone on.
    freed: Notify,
}

impl Journal {
    pub(super) fn new(
        backend: Arc<Backend>,
        bounds: JournalBounds,
        when_full: WhenFull,
    ) -> Result<Self, StoreError> {
        let mut state = JournalState::new(backend.is_durable());
        let entries = backend.left_now(Disk::entries)?;
        for (offset, head) in entries.heads {
            state.insert(offset, slot(&head));
        }
        // Behind an entry that cannot be decoded, too: a new one would be written over it.
        state.next = state.next.max(entries.last + 1);
        Ok(Self(Arc::new(JournalShared {
            state: Mutex::new(state),
            backend,
            ledger: OnceLock::new(),
            polled: AtomicU64::new(0),
            bounds,
            when_full,
            filled: Notify::new(),
            freed: Notify::new(),
        })))
    }

    /// Takes one batch in, and what is missing in it. Waits for room only if the journal was made so.
    pub async fn append(&self, batch: Arc<Batch>, gaps: Vec<Gap>) {
        let samples = batch.samples.len() as u64;
        let polled = self.0.polled.fetch_add(samples, Relaxed) + samples;
        if self.0.when_full == WhenFull::Wait {
            self.0.wait_for_room(samples + 1).await;
        }
        if self.0.backend.is_durable() {
            self.0.state().gaps.extend(gaps);
        }
        let sinks = self.0.state().wanting(&batch.source);
        if sinks.is_empty()
            || self.0.when_full == WhenFull::DropNewest && self.refuse(&batch, &sinks, polled).await
        {
            return;
        }
        let source = Arc::clone(&batch.source);
        let cycle_start = batch.cycle_start.wall.as_nanos();
        let encoding = self.0.backend.is_durable().then(|| Arc::clone(&batch));
        let encoded = match encoding {
            Some(batch) => Some(blocking(move || encode(&batch)).await),
            None => None,
        };
        let bytes = encoded.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let (offset, mut removed, offset_trackers) = {
            let mut state = self.0.state();
            let mut removed = state.release();
            if self.0.when_full == WhenFull::DropOldest {
                let dropped = state.make_room(samples, bytes, cycle_start, self.0.bounds());
                let gaps = |(_, slot): &(_, BatchSlot)| {
                    given_up(&slot.sinks, slot.samples, slot.cycle_start)
                };
                let gaps: Vec<Gap> = dropped.iter().filter_map(gaps).collect();
                state.gaps.extend(gaps);
                removed.extend(dropped.into_iter().map(|(offset, _)| offset));
            }
            let offset = state.next;
            state.next += 1;
            (offset, removed, state.moved_marks())
        };
        removed.sort_unstable();
        let mut slot =
            BatchSlot { sinks, samples, bytes, cycle_start, batch: None, on_disk: false };
        if let Some(encoded) = encoded {
            let sinks = slot.sinks.iter().map(ToString::to_string).collect();
            let head = EntryHead { sinks, samples, bytes, cycle_start };
            let entry = Some((offset, head, encoded));
            let accounts = self.accounts(&slot.sinks, samples, polled);
            let cycles = vec![(source, cycle_start)];
            let changes =
                Changes { entry, offset_trackers, removed, accounts, cycles, ..Changes::default() };
            slot.on_disk = self.0.write(changes).await.is_ok();
        }
        slot.batch = Some(batch);
        self.0.state().enter(offset, slot);
        self.0.filled.notify_waiters();
    }

    /// Whether a journal that keeps what is old has no room for a batch: then it is counted, and a gap.
    async fn refuse(&self, batch: &Batch, sinks: &[Arc<str>], polled: u64) -> bool {
        let samples = batch.samples.len() as u64;
        let (offset_trackers, removed, refused) = {
            let mut state = self.0.state();
            // First what nobody needs any more, or it would be full for ever.
            let removed = state.release();
            let refused = state.refuses(sinks, samples, self.0.bounds());
            if refused {
                state.gaps.extend(given_up(sinks, samples, batch.cycle_start.wall.as_nanos()));
            }
            (state.moved_marks(), removed, refused)
        };
        if refused || !removed.is_empty() {
            let accounts = self.accounts(sinks, 0, polled);
            // Said where it was written.
            drop(
                self.0
                    .write(Changes { offset_trackers, removed, accounts, ..Changes::default() })
                    .await,
            );
        }
        refused
    }

    /// What is counted once a batch has come in.
    fn accounts(&self, sinks: &[Arc<str>], samples: u64, polled: u64) -> Vec<(String, Account)> {
        let state = self.0.state();
        let of = |sink: &Arc<str>| {
            let cursor = state.cursors.get(sink)?;
            Some((SinkCount::name(sink), cursor.counts.account(samples)))
        };
        let ledger = self.0.ledger.get();
        let own = ledger.map(|ledger| ledger.account(polled));
        sinks.iter().filter_map(of).chain(own).collect()
    }

    /// Keeps the agent's own numbers, too.
    pub fn count_for(&self, ledger: &Arc<Ledger>) {
        self.0.polled.store(ledger.polled.load(Relaxed), Relaxed);
        // Asked for once.
        drop(self.0.ledger.set(Arc::clone(ledger)));
    }

    /// Sinks of an earlier run that nobody reads for any more, with the samples that are held for
    /// each: they go when the journal is written next.
    pub fn orphans(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.0.state();
        let mut held: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for slot in state.slots.values() {
            for sink in slot.sinks.iter().filter(|sink| !state.cursors.contains_key(*sink)) {
                *held.entry(Arc::clone(sink)).or_default() += slot.samples;
            }
        }
        held.into_iter().collect()
    }

    /// Removes what is saved of sinks that nobody reads for any more, and gives their names.
    pub async fn forget_orphans(&self) -> Vec<Arc<str>> {
        // What cannot be read now is removed at another start.
        let known = self.0.backend.read(Disk::sinks).await.unwrap_or_default();
        let forgotten: Vec<Arc<str>> = {
            let state = self.0.state();
            let sinks = known.into_iter().map(Arc::from);
            sinks.filter(|sink: &Arc<str>| !state.cursors.contains_key(sink)).collect()
        };
        if !forgotten.is_empty() {
            // Said where it was written.
            let changes = Changes { forgotten: forgotten.clone(), ..Changes::default() };
            drop(self.0.write(changes).await);
        }
        forgotten
    }

    /// How many batches are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.state().slots.len()
    }

    /// From now on a sink wants the batches of these sources.
    pub fn set_sources(&self, sink: &str, sources: &HashSet<Arc<str>>) {
        if let Some(cursor) = self.0.state().cursors.get_mut(sink) {
            cursor.sources.clone_from(sources);
        }
    }

    /// Nothing will come any more: sinks get what there is, then nothing.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.filled.notify_waiters();
    }

    /// Writes what has been settled, and removes what nobody needs any more.
    pub async fn sync(&self) {
        let (offset_trackers, removed) = {
            let mut state = self.0.state();
            (state.moved_marks(), state.release())
        };
        if !offset_trackers.is_empty() || !removed.is_empty() {
            // Said where it was written.
            drop(self.0.write(Changes { offset_trackers, removed, ..Changes::default() }).await);
        }
    }
}

/// A batch that some sink would have needed, as what is missing now.
fn given_up(sinks: &[Arc<str>], samples: u64, cycle_start: u64) -> Option<Gap> {
    let sinks: Vec<&str> = sinks.iter().map(AsRef::as_ref).collect();
    let time = Timestamp::from_nanos(cycle_start);
    (samples > 0).then(|| Gap {
        resource: "*".to_owned(),
        source: format!("journal of {}", sinks.join(", ")),
        meters: vec!["*".to_owned()],
        begin: time,
        until: time,
        reason: GapReason::Dropped,
    })
}

fn slot(head: &EntryHead) -> BatchSlot {
    BatchSlot {
        sinks: head.sinks.iter().map(|sink| Arc::from(sink.as_str())).collect(),
        samples: head.samples,
        bytes: head.bytes,
        cycle_start: head.cycle_start,
        batch: None,
        on_disk: true,
    }
}

impl JournalShared {
    /// With what the database has room for.
    fn bounds(&self) -> JournalBounds {
        JournalBounds { bytes: self.bounds.bytes.min(self.backend.share()), ..self.bounds }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, JournalState> {
        // Nothing between lock and unlock can panic half-way, so that the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something new.
    pub(super) fn filled(&self) -> &Notify {
        &self.filled
    }

    /// Somebody has gone on.
    pub(super) fn went_on(&self) {
        self.freed.notify_waiters();
    }

    async fn wait_for_room(&self, more: u64) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Enabled before the look, so that what is freed right after it is not missed.
            freed.as_mut().enable();
            if !self.state().is_full(more, self.bounds) {
                return;
            }
            freed.await;
        }
    }

    /// Writes all of it durably, and the gaps that wait for it.
    pub(super) async fn write(&self, mut changes: Changes) -> Result<(), StoreError> {
        let offset_trackers = changes.offset_trackers.clone();
        let gaps = std::mem::take(&mut self.state().gaps);
        changes.gaps.clone_from(&gaps);
        let written = self.backend.write(changes).await;
        let mut state = self.state();
        match &written {
            Ok(()) => state.marked(&offset_trackers),
            Err(_) => state.keep_gaps(gaps),
        }
        written
    }

    /// The batch at a place: from memory, else from the disk.
    pub(super) async fn batch(&self, offset: Offset) -> Result<Arc<Batch>, ReadFailure> {
        let resident = self.state().slots.get(&offset).and_then(|slot| slot.batch.clone());
        if let Some(batch) = resident {
            return Ok(batch);
        }
        let bytes = self.backend.try_read(move |disk| disk.batch(offset)).await?;
        let bytes = bytes.ok_or_else(|| ReadFailure::Damaged("it is not there".to_owned()))?;
        let batch = blocking(move || decode(&bytes)).await;
        batch.map(Arc::new).map_err(ReadFailure::Damaged)
    }
}
