//! The journal: every batch once, in order of arrival, for all sinks that read its source.
//!
//! A batch is on disk before a sink sees it. It is removed once each of its sinks has emitted its
//! envelopes and saved the state of its transformers. While the disk fails, batches stay in memory
//! under the same bounds, and each new one tries the disk again.
//!
//! The mutex guards the state in memory and is never held during disk access.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::backend::{Backend, ReadFailure, blocking};
use super::codec::{decode, encode};
use super::db::{Changes, Disk, EntryHead};
use super::journal_state::{BatchSlot, JournalBounds, JournalState};
use super::{StoreError, WhenFull};
use nephometer_model::{Batch, Gap, GapReason, Offset, Timestamp};
use nephometer_telemetry::{Account, Ledger, SinkCount};

/// The writing handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(pub(super) Arc<JournalShared>);

#[derive(Debug)]
pub(super) struct JournalShared {
    state: Mutex<JournalState>,
    pub(super) backend: Arc<Backend>,
    /// The agent's own counters, written with each batch.
    ledger: OnceLock<Arc<Ledger>>,
    /// Samples that were ever appended.
    polled: AtomicU64,
    bounds: JournalBounds,
    when_full: WhenFull,
    /// Wakes sinks: a batch was appended, or the journal was closed.
    filled: Notify,
    /// Wakes a waiting writer: a sink has processed a batch.
    freed: Notify,
}

impl Journal {
    pub(super) fn new(
        backend: Arc<Backend>,
        bounds: JournalBounds,
        when_full: WhenFull,
    ) -> Result<Self, StoreError> {
        let mut state = JournalState::new(backend.is_durable());
        let entries = backend.load_blocking(Disk::entries)?;
        for (offset, head) in entries.heads {
            state.insert(offset, stored_slot(&head));
        }
        // Past an entry that cannot be decoded, too: its offset is never used again.
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

    /// Appends a batch together with its gaps. Waits for room only with [`WhenFull::Wait`].
    pub async fn append(&self, batch: Arc<Batch>, gaps: Vec<Gap>) {
        let samples = batch.samples.len() as u64;
        let polled = self.0.polled.fetch_add(samples, Relaxed) + samples;
        if self.0.when_full == WhenFull::Wait {
            self.0.wait_for_room(samples + 1).await;
        }
        if self.0.backend.is_durable() {
            self.0.state().gaps.extend(gaps);
        }
        let sinks = self.0.state().sinks_of(&batch.source);
        if sinks.is_empty() {
            return self.append_gaps(polled).await;
        }
        if self.0.when_full == WhenFull::DropNewest
            && self.drop_newest(&batch, &sinks, polled).await
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
        let (offset, mut removed, sink_offsets) = {
            let mut state = self.0.state();
            let mut removed = state.remove_unneeded();
            if self.0.when_full == WhenFull::DropOldest {
                let dropped = state.make_room(samples, bytes, cycle_start, self.0.bounds());
                let gaps = |(_, slot): &(_, BatchSlot)| {
                    dropped_gap(&slot.sinks, slot.samples, slot.cycle_start)
                };
                let gaps: Vec<Gap> = dropped.iter().filter_map(gaps).collect();
                state.gaps.extend(gaps);
                removed.extend(dropped.into_iter().map(|(offset, _)| offset));
            }
            let offset = state.next;
            state.next += 1;
            (offset, removed, state.unwritten_offsets())
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
                Changes { entry, sink_offsets, removed, accounts, cycles, ..Changes::default() };
            slot.on_disk = self.0.write(changes).await.is_ok();
        }
        slot.batch = Some(batch);
        self.0.state().append(offset, slot);
        self.0.filled.notify_waiters();
    }

    /// Writes the gaps of a batch that no sink needs, such as those of an agent that is only scraped.
    /// Without gaps nothing is written.
    async fn append_gaps(&self, polled: u64) {
        if !self.0.state().gaps.is_empty() {
            let changes = Changes { accounts: self.accounts(&[], 0, polled), ..Changes::default() };
            // A failure is logged by the backend.
            drop(self.0.write(changes).await);
        }
    }

    /// Whether a journal that drops the newest has no room for a batch. If so, the batch is counted as
    /// dropped and recorded as a gap.
    async fn drop_newest(&self, batch: &Batch, sinks: &[Arc<str>], polled: u64) -> bool {
        let (samples, cycle_start) =
            (batch.samples.len() as u64, batch.cycle_start.wall.as_nanos());
        let (sink_offsets, removed, full) = {
            let mut state = self.0.state();
            // Unneeded batches are removed first; otherwise a full journal would stay full.
            let removed = state.remove_unneeded();
            let full = state.drop_newest(sinks, (samples, cycle_start), self.0.bounds());
            if full {
                state.gaps.extend(dropped_gap(sinks, samples, cycle_start));
            }
            (state.unwritten_offsets(), removed, full)
        };
        if full || !removed.is_empty() {
            let accounts = self.accounts(sinks, 0, polled);
            let changes = Changes { sink_offsets, removed, accounts, ..Changes::default() };
            // A failure is logged by the backend.
            drop(self.0.write(changes).await);
        }
        full
    }

    /// The counters of sinks and of the agent once a batch is appended.
    fn accounts(&self, sinks: &[Arc<str>], samples: u64, polled: u64) -> Vec<(String, Account)> {
        let state = self.0.state();
        let of_sink = |sink: &Arc<str>| {
            let cursor = state.cursors.get(sink)?;
            Some((SinkCount::name(sink), cursor.counts.account(samples)))
        };
        let ledger = self.0.ledger.get();
        let own = ledger.map(|ledger| ledger.account(polled));
        sinks.iter().filter_map(of_sink).chain(own).collect()
    }

    /// Has the agent's own counters written with each batch. Called once.
    pub fn attach_ledger(&self, ledger: &Arc<Ledger>) {
        self.0.polled.store(ledger.polled.load(Relaxed), Relaxed);
        drop(self.0.ledger.set(Arc::clone(ledger)));
    }

    /// Sinks of an earlier run that have no reader, with the pending samples of each. Their batches are
    /// removed with the next write.
    pub fn orphaned_sinks(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.0.state();
        let mut pending: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for slot in state.slots.values() {
            for sink in slot.sinks.iter().filter(|sink| !state.cursors.contains_key(*sink)) {
                *pending.entry(Arc::clone(sink)).or_default() += slot.samples;
            }
        }
        pending.into_iter().collect()
    }

    /// Removes the saved states of sinks that have no reader, and returns their names.
    pub async fn remove_orphaned_sinks(&self) -> Vec<Arc<str>> {
        // If the disk cannot be read, the next start removes them.
        let known = self.0.backend.read(Disk::sinks).await.unwrap_or_default();
        let orphaned: Vec<Arc<str>> = {
            let state = self.0.state();
            let sinks = known.into_iter().map(Arc::from);
            sinks.filter(|sink: &Arc<str>| !state.cursors.contains_key(sink)).collect()
        };
        if !orphaned.is_empty() {
            let changes = Changes { removed_sinks: orphaned.clone(), ..Changes::default() };
            // A failure is logged by the backend.
            drop(self.0.write(changes).await);
        }
        orphaned
    }

    /// Number of batches in the journal.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.state().slots.len()
    }

    /// Sets the sources of a sink, for batches that are appended from now on.
    pub fn set_sources(&self, sink: &str, sources: &HashSet<Arc<str>>) {
        if let Some(cursor) = self.0.state().cursors.get_mut(sink) {
            cursor.sources.clone_from(sources);
        }
    }

    /// Closes the journal: readers get the batches in it, then `None`.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.filled.notify_waiters();
    }

    /// Writes emitted offsets that are not on disk, and removes batches that no sink needs any more.
    pub async fn sync(&self) {
        let (sink_offsets, removed) = {
            let mut state = self.0.state();
            (state.unwritten_offsets(), state.remove_unneeded())
        };
        if !sink_offsets.is_empty() || !removed.is_empty() {
            // A failure is logged by the backend.
            drop(self.0.write(Changes { sink_offsets, removed, ..Changes::default() }).await);
        }
    }
}

/// The gap that a dropped batch leaves; `None` if it was empty.
fn dropped_gap(sinks: &[Arc<str>], samples: u64, cycle_start: u64) -> Option<Gap> {
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

/// A batch that is on disk and not in memory.
fn stored_slot(head: &EntryHead) -> BatchSlot {
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
    /// The configured bounds, reduced to the journal's share of the database.
    fn bounds(&self) -> JournalBounds {
        JournalBounds { bytes: self.bounds.bytes.min(self.backend.share()), ..self.bounds }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, JournalState> {
        // Nothing between lock and unlock can panic half-way, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified when a batch was appended or the journal was closed.
    pub(super) fn filled(&self) -> &Notify {
        &self.filled
    }

    /// Wakes a waiting writer after a sink has processed a batch.
    pub(super) fn notify_processed(&self) {
        self.freed.notify_waiters();
    }

    async fn wait_for_room(&self, more: u64) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Enabled before the check, so that a notification right after it is not missed.
            freed.as_mut().enable();
            if !self.state().is_full(more, self.bounds) {
                return;
            }
            freed.await;
        }
    }

    /// Writes changes together with the buffered gaps.
    pub(super) async fn write(&self, mut changes: Changes) -> Result<(), StoreError> {
        let sink_offsets = changes.sink_offsets.clone();
        let gaps = std::mem::take(&mut self.state().gaps);
        changes.gaps.clone_from(&gaps);
        let written = self.backend.write(changes).await;
        let mut state = self.state();
        match &written {
            Ok(()) => state.mark_written(&sink_offsets),
            Err(_) => state.rebuffer_gaps(gaps),
        }
        written
    }

    /// The batch at an offset: from memory, else from the disk.
    pub(super) async fn batch(&self, offset: Offset) -> Result<Arc<Batch>, ReadFailure> {
        let resident = self.state().slots.get(&offset).and_then(|slot| slot.batch.clone());
        if let Some(batch) = resident {
            return Ok(batch);
        }
        let bytes = self.backend.try_read(move |disk| disk.batch(offset)).await?;
        let bytes = bytes.ok_or_else(|| {
            ReadFailure::Damaged("the batch is missing in the database".to_owned())
        })?;
        let batch = blocking(move || decode(&bytes)).await;
        batch.map(Arc::new).map_err(ReadFailure::Damaged)
    }
}
