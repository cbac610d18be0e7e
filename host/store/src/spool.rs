//! A spool: the pending envelopes of one publisher, in order, until they are acknowledged.
//!
//! Envelopes are on disk, with their bytes, ids and sequence numbers, before the batch they were made
//! from counts as emitted. They are removed when the receiver has acknowledged them or they are
//! dropped. In memory are their heads, and the bodies of the next few. While the disk fails,
//! envelopes stay in memory under the same bounds, and each write tries the disk again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard, Semaphore};

use super::Envelope;
use super::backend::Backend;
use super::db::Changes;
use super::queue::{LimitExceeded, Limits, Queue, WhenFull};
use super::spool_tables::{self, EnvelopeHead, SpoolChange, StoredSpool};
use super::stored_envelope::StoredEnvelope;
use nephometer_model::{Gap, Glob};
use nephometer_telemetry::{Dropped, PublisherCount, events::store as events};

/// Bytes that an envelope weighs besides its body, so that small ones are bounded, too.
const ENVELOPE_OVERHEAD: u64 = 256;
/// Bytes of envelopes that are only in memory, because the disk fails or there is none; past it new
/// ones are dropped as `spool_full`.
pub(super) const MAX_UNWRITTEN: u64 = 64 << 20;
/// Bytes of envelopes that stay in memory besides being on disk, for publishers that keep up.
const MAX_RESIDENT: u64 = 8 << 20;
/// Writes in a row without a sync. The spool syncs after them, or when it is empty.
const MAX_LAZY_WRITES: u32 = 16;

/// The limits of a spool.
#[derive(Debug, Clone)]
pub struct SpoolBounds {
    /// Bytes of all envelopes; past it they are dropped as `spool_full`.
    pub bytes: u64,
    /// Number of envelopes, if bounded; past it they are dropped as `policy`.
    pub count: Option<usize>,
    /// Time between the oldest and the newest sample; older envelopes are dropped as `too_old`.
    pub age: Option<std::time::Duration>,
    /// Meters whose envelopes are evicted last.
    pub evict_last: Vec<Glob>,
}

/// State that the writing and the reading handle share.
#[derive(Debug)]
pub(super) struct SpoolShared {
    pub(super) name: String,
    pub(super) backend: Arc<Backend>,
    pub(super) queue: Queue<SpoolSlot>,
    pub(super) counts: Arc<PublisherCount>,
    bounds: SpoolBounds,
    pub(super) when_full: WhenFull,
    /// Held over every change and its write, so that queue and counters on disk match.
    pub(super) write_state: Mutex<WriteState>,
    /// Number of envelopes in the queue that are not on disk.
    pub(super) unwritten: AtomicU64,
    unwritten_bytes: AtomicU64,
    /// Bytes of envelopes that are in memory and on disk.
    resident: AtomicU64,
    /// Incremented when a new publisher takes the spool over.
    pub(super) epoch: AtomicU64,
    /// The permit of the one active reader.
    pub(super) reader_permit: Arc<Semaphore>,
}

/// One envelope in the queue.
#[derive(Debug, Clone)]
pub(super) struct SpoolSlot {
    pub(super) sequence: u64,
    pub(super) head: EnvelopeHead,
    /// `None` if it is only on disk.
    pub(super) envelope: Option<Envelope>,
    pub(super) on_disk: bool,
}

/// Changes that are not on disk yet, besides envelopes in the queue.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    /// Envelopes that have left the queue but are still on disk.
    removed: Vec<u64>,
    /// Gaps of dropped envelopes.
    gaps: Vec<Gap>,
}

impl PendingWrites {
    /// A copy of what a change contains, in case it cannot be written.
    pub(super) fn of(change: &SpoolChange) -> Self {
        Self { removed: change.removed.clone(), gaps: change.gaps.clone() }
    }

    pub(super) fn extend(&mut self, mut more: Self) {
        self.removed.append(&mut more.removed);
        self.gaps.append(&mut more.gaps);
    }
}

/// What has to be written next.
#[derive(Debug)]
pub(super) struct WriteState {
    pub(super) next_sequence: u64,
    pub(super) pending: PendingWrites,
    /// Writes in a row that a crash would undo.
    lazy_writes: u32,
}

impl SpoolShared {
    /// A spool with what is on disk of it.
    pub(super) fn new(
        name: &str,
        backend: &Arc<Backend>,
        (bounds, when_full): (SpoolBounds, WhenFull),
        (counts, stored): (&Arc<PublisherCount>, StoredSpool),
    ) -> Self {
        let StoredSpool { account, next, heads, unreadable } = stored;
        let lost = unreadable.len() as u64;
        counts.restore(&account, heads.len() as u64 + lost);
        if lost > 0 {
            events::envelopes_unreadable(name, lost);
            counts.dropped.add(Dropped::Unreadable, lost);
            counts.pending.fetch_sub(lost, Relaxed);
        }
        let count = bounds.count.unwrap_or(usize::MAX);
        let queue = Queue::new(Limits { weight: byte_limit(backend, bounds.bytes), count });
        for (sequence, head) in heads {
            let (weight, rank) = (head.weight, head.rank);
            let slot = SpoolSlot { sequence, head, envelope: None, on_disk: true };
            queue.append(slot, weight, rank);
        }
        Self {
            name: name.to_owned(),
            backend: Arc::clone(backend),
            queue,
            counts: Arc::clone(counts),
            bounds,
            when_full,
            write_state: Mutex::new(WriteState {
                next_sequence: next.max(1),
                pending: PendingWrites { removed: unreadable, gaps: Vec::new() },
                lazy_writes: 0,
            }),
            unwritten: AtomicU64::new(0),
            unwritten_bytes: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            reader_permit: Arc::new(Semaphore::new(1)),
        }
    }

    /// Applies a change of the spool's share of the database.
    pub(super) fn apply_share(&self) {
        self.queue.set_weight_limit(byte_limit(&self.backend, self.bounds.bytes));
    }

    pub(super) fn head_of(&self, envelope: &Envelope) -> EnvelopeHead {
        let manifest = &envelope.manifest;
        let weight = ENVELOPE_OVERHEAD + envelope.body.len() as u64 + manifest.weight();
        let last = |meter: &str| self.bounds.evict_last.iter().any(|glob| glob.matches(meter));
        EnvelopeHead {
            id: envelope.id.into_bytes(),
            address: envelope.address.to_string(),
            samples: envelope.samples,
            offset: envelope.offset,
            weight,
            time: manifest.samples().map(|(_, _, time)| time).max().unwrap_or(0),
            rank: u8::from(manifest.meters().any(last)),
        }
    }

    /// Waits until these envelopes fit, with [`WhenFull::Wait`] only.
    pub(super) async fn wait_for_room(&self, envelopes: &[Envelope]) {
        if self.when_full == WhenFull::Wait {
            self.queue.wait_for_room(self.weight(envelopes), envelopes.len()).await;
        }
    }

    fn weight(&self, envelopes: &[Envelope]) -> u64 {
        envelopes.iter().map(|envelope| self.head_of(envelope).weight).sum()
    }

    /// Whether these envelopes fit without an eviction.
    pub(super) fn fits(&self, envelopes: &[Envelope]) -> bool {
        self.queue.fits(self.weight(envelopes), envelopes.len())
    }

    /// Appends envelopes, which the reader sees at once, and returns what has to be written.
    pub(super) async fn prepare(&self, envelopes: Vec<Envelope>) -> PreparedAppend<'_> {
        let heads: Vec<EnvelopeHead> = envelopes.iter().map(|one| self.head_of(one)).collect();
        let mut state = self.write_state.lock().await;
        let newest = heads.iter().map(|head| head.time).max();
        let mut dropped = newest.map_or_else(Vec::new, |newest| self.evict_expired(newest));
        for (head, mut envelope) in heads.into_iter().zip(envelopes) {
            envelope.sequence = state.next_sequence;
            state.next_sequence += 1;
            self.count_new(&head);
            let (weight, rank) = (head.weight, head.rank);
            let sequence = envelope.sequence;
            let slot = SpoolSlot { sequence, head, envelope: Some(envelope), on_disk: false };
            let unwritten = self.count_unwritten(weight);
            let exceeded = match self.when_full {
                WhenFull::Wait => None,
                _ if self.backend.is_durable() && unwritten > MAX_UNWRITTEN => {
                    Some(LimitExceeded::Weight)
                }
                when_full => {
                    let newest = when_full == WhenFull::DropNewest;
                    let (evicted, exceeded) = self.queue.make_room(weight, rank, newest);
                    dropped.extend(evicted.into_iter().map(|(slot, limit)| (slot, limit.into())));
                    exceeded
                }
            };
            match exceeded {
                Some(limit) => dropped.push((slot, limit.into())),
                None => self.queue.append(slot, weight, rank),
            }
        }
        self.count_dropped(&mut state, dropped).await;
        let change = self.take_change(&mut state);
        PreparedAppend { shared: self, state, change }
    }

    /// Counts an envelope before it can be acknowledged, so that no counter exceeds `encoded`.
    pub(super) fn count_new(&self, head: &EnvelopeHead) {
        self.counts.encoded.fetch_add(1, Relaxed);
        self.counts.samples.fetch_add(head.samples, Relaxed);
        self.counts.pending.fetch_add(1, Relaxed);
    }

    /// Counts an envelope that is only in memory, and returns the bytes of all of them.
    pub(super) fn count_unwritten(&self, weight: u64) -> u64 {
        self.unwritten.fetch_add(1, Relaxed);
        self.unwritten_bytes.fetch_add(weight, Relaxed) + weight
    }

    /// Evicts envelopes that are too old compared to the newest sample, nanoseconds since the epoch.
    pub(super) fn evict_expired(&self, newest: u64) -> Vec<(SpoolSlot, Dropped)> {
        let Some(age) = self.bounds.age else { return Vec::new() };
        let oldest = newest.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let expired = self.queue.evict_while(|slot| slot.head.time < oldest);
        expired.into_iter().map(|slot| (slot, Dropped::TooOld)).collect()
    }

    /// Counts envelopes that have left the queue undelivered, and records their gaps.
    pub(super) async fn count_dropped(
        &self,
        state: &mut WriteState,
        dropped: Vec<(SpoolSlot, Dropped)>,
    ) {
        if dropped.is_empty() {
            return;
        }
        let on_disk = dropped.iter().filter(|(slot, _)| slot.envelope.is_none());
        let on_disk: Vec<(u64, EnvelopeHead)> =
            on_disk.map(|(slot, _)| (slot.sequence, slot.head.clone())).collect();
        let mut read = if on_disk.is_empty() {
            Vec::new()
        } else {
            let name = self.name.clone();
            // An envelope that cannot be read is counted without its meters.
            self.backend
                .read(move |disk| spool_tables::envelopes(&disk.begin_read()?, &name, &on_disk))
                .await
                .unwrap_or_default()
        }
        .into_iter();
        for (slot, reason) in dropped {
            self.counts.dropped.add(reason, 1);
            self.counts.pending.fetch_sub(1, Relaxed);
            let envelope = slot.envelope.clone().or_else(|| read.next().flatten());
            if let Some(envelope) = envelope {
                self.counts.dropped.add_meters(reason, envelope.manifest.by_meter());
                state.pending.gaps.append(&mut envelope.manifest.gaps(&self.name));
            }
            self.record_removal(state, &slot);
        }
    }

    /// Records that a slot has left the queue.
    pub(super) fn record_removal(&self, state: &mut WriteState, slot: &SpoolSlot) {
        let weight = slot.head.weight;
        if !slot.on_disk {
            self.unwritten.fetch_sub(1, Relaxed);
            self.unwritten_bytes.fetch_sub(weight, Relaxed);
            return;
        }
        state.pending.removed.push(slot.sequence);
        if slot.envelope.is_some() {
            self.resident.fetch_sub(weight, Relaxed);
        }
    }

    /// Takes all that is not on disk yet.
    pub(super) fn take_change(&self, state: &mut WriteState) -> SpoolChange {
        let mut added = Vec::new();
        let mut missing = self.unwritten.load(Relaxed);
        if self.backend.is_durable() && missing > 0 {
            self.queue.visit_newest(|slot| {
                if let (false, Some(envelope)) = (slot.on_disk, &slot.envelope) {
                    added.push((slot.head.clone(), envelope.clone()));
                    missing -= 1;
                }
                missing > 0
            });
        }
        let PendingWrites { removed, gaps } = std::mem::take(&mut state.pending);
        SpoolChange {
            name: self.name.clone(),
            added,
            removed,
            gaps,
            account: self.counts.account(0),
            next: state.next_sequence,
            ..SpoolChange::default()
        }
    }

    /// Records that all envelopes are on disk.
    pub(super) fn mark_written(&self) {
        let mut missing = self.unwritten.swap(0, Relaxed);
        self.unwritten_bytes.store(0, Relaxed);
        if missing == 0 {
            return;
        }
        self.queue.visit_newest(|slot| {
            if !slot.on_disk {
                slot.on_disk = true;
                missing -= 1;
                let stays = self.resident.load(Relaxed) + slot.head.weight <= MAX_RESIDENT;
                if stays {
                    self.resident.fetch_add(slot.head.weight, Relaxed);
                } else {
                    slot.envelope = None;
                }
            }
            missing > 0
        });
    }

    /// Writes removals, rejected envelopes, and envelopes that are not on disk.
    pub(super) async fn write(
        &self,
        state: &mut WriteState,
        rejected: Vec<(EnvelopeHead, Envelope, String)>,
        lazy: bool,
    ) {
        if !self.backend.is_durable() {
            return;
        }
        let mut change = self.take_change(state);
        change.rejected = rejected;
        // Removed envelopes take space on disk until the next sync.
        let due = self.queue.len() == 0 || state.lazy_writes >= MAX_LAZY_WRITES;
        let lazy = lazy && !due && change.rejected.is_empty() && change.added.is_empty();
        state.lazy_writes = if lazy { state.lazy_writes + 1 } else { 0 };
        let pending = PendingWrites::of(&change);
        let changes = Changes { spools: vec![change], lazy, ..Changes::default() };
        match self.backend.write(changes).await {
            Ok(()) => self.mark_written(),
            // The backend has logged it; the next write includes it.
            Err(_) => state.pending.extend(pending),
        }
    }

    /// Removes envelopes that were moved to another spool, pending and rejected ones, also from the
    /// counters: they count there from now on.
    pub(super) async fn remove_moved(&self, moved: &[StoredEnvelope]) -> Result<(), String> {
        let mut state = self.write_state.lock().await;
        let counts = &self.counts;
        let (mut pending, mut requeued) = (HashSet::new(), Vec::new());
        for StoredEnvelope { envelope, rejected } in moved {
            counts.encoded.fetch_sub(1, Relaxed);
            counts.samples.fetch_sub(envelope.samples, Relaxed);
            if rejected.is_some() {
                counts.dropped.take_back(Dropped::Permanent, envelope.manifest.by_meter());
                requeued.push(envelope.sequence);
            } else {
                counts.pending.fetch_sub(1, Relaxed);
                pending.insert(envelope.sequence);
            }
        }
        if !pending.is_empty() {
            self.queue.lease(usize::MAX, u64::MAX);
            self.queue.end_lease(|_, slot| {
                let stays = !pending.contains(&slot.sequence);
                if !stays {
                    self.record_removal(&mut state, slot);
                }
                stays
            });
        }
        let mut change = self.take_change(&mut state);
        change.requeued = requeued;
        let pending_writes = PendingWrites::of(&change);
        let changes = Changes { spools: vec![change], ..Changes::default() };
        match self.backend.write(changes).await {
            Ok(()) => {
                self.mark_written();
                Ok(())
            }
            Err(error) => {
                state.pending.extend(pending_writes);
                Err(error.to_string())
            }
        }
    }

    /// Writes all that is not on disk yet.
    pub(super) async fn sync(&self) {
        let mut state = self.write_state.lock().await;
        self.write(&mut state, Vec::new(), false).await;
    }
}

fn byte_limit(backend: &Backend, bytes: u64) -> u64 {
    bytes.min(if backend.is_durable() { backend.share() } else { MAX_UNWRITTEN })
}

impl From<LimitExceeded> for Dropped {
    fn from(limit: LimitExceeded) -> Self {
        match limit {
            LimitExceeded::Count => Self::Policy,
            LimitExceeded::Weight => Self::SpoolFull,
        }
    }
}

/// A spool with appended envelopes that have yet to be written.
pub(super) struct PreparedAppend<'a> {
    shared: &'a SpoolShared,
    state: MutexGuard<'a, WriteState>,
    pub(super) change: SpoolChange,
}

impl PreparedAppend<'_> {
    /// Records that the change is on disk; or, with `unwritten`, what the next write has to include.
    pub(super) fn finish(mut self, unwritten: Option<PendingWrites>) {
        match unwritten {
            None => self.shared.mark_written(),
            Some(unwritten) => self.state.pending.extend(unwritten),
        }
    }
}
