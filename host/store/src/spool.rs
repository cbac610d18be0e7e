//! A spool: the pending envelopes of one publisher, in order, until they are acknowledged.
//!
//! Envelopes are acknowledged or on disk, with their bytes, ids and sequence numbers, before the batch
//! they were made from counts as emitted. They are removed when the receiver has acknowledged them or
//! they are dropped. In memory are their heads, and the bodies of the next few. While the disk fails,
//! envelopes stay in memory under the same bounds, and each write tries the disk again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard, Semaphore};
use uuid::Uuid;

use super::Envelope;
use super::backend::Backend;
use super::db::Changes;
use super::queue::{LimitExceeded, Limits, Queue, WhenFull};
use super::spool_tables::{self, EnvelopeHead, SpoolChange, StoredSpool};
use super::stream::{Stream, StreamRecords};
use super::write_state::{PendingWrites, WriteAttempt, WriteState, Written};
use nephometer_model::Glob;
use nephometer_telemetry::{Dropped, PublisherCount, events::store as events};

/// Bytes that an envelope weighs besides its body, so that small ones are bounded, too.
const ENVELOPE_OVERHEAD: u64 = 256;
/// Bytes of envelopes that are only in memory, because the disk fails or there is none; past it new
/// ones are dropped as `spool_full`.
pub(super) const MAX_UNWRITTEN: u64 = 64 << 20;
/// Bytes of envelopes that stay in memory besides being on disk, for publishers that keep up.
const MAX_RESIDENT: u64 = 8 << 20;
/// Bytes of envelopes that may wait for their acknowledgement without being on disk.
const MAX_DEFERRED: u64 = 4 << 20;
/// The rank of records: they are evicted after all samples.
const RECORD_RANK: u8 = 2;
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

impl SpoolShared {
    /// A spool with what is on disk of it. `stream` is the id of its stream, if it has one.
    pub(super) fn new(
        name: &str,
        backend: &Arc<Backend>,
        (bounds, when_full): (SpoolBounds, WhenFull),
        (counts, stored): (&Arc<PublisherCount>, StoredSpool),
        stream: Option<Uuid>,
    ) -> Self {
        let StoredSpool { account, next, stream: stored_stream, heads, unreadable } = stored;
        let (stream, next) = match stream {
            Some(id) => {
                let pending = |sequence| heads.iter().any(|(known, _)| *known == sequence);
                let (stream, next) =
                    Stream::resume(id, stored_stream.as_ref(), next.max(1), pending);
                (Some(stream), next)
            }
            None => (None, next.max(1)),
        };
        let lost = unreadable.len() as u64;
        counts.restore(&account, heads.len() as u64 + lost);
        if lost > 0 {
            events::envelopes_unreadable(name, lost);
            counts.dropped.add(Dropped::Unreadable, lost);
            counts.pending.fetch_sub(lost, Relaxed);
        }
        let mut state = WriteState {
            next_sequence: next,
            stream,
            evicting: false,
            pending: PendingWrites::default(),
            lazy_writes: 0,
        };
        for sequence in &unreadable {
            state.declare_dropped(Dropped::Unreadable.as_str(), *sequence, None);
        }
        state.pending.removed = unreadable;
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
            write_state: Mutex::new(state),
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
            time: manifest
                .samples()
                .map(|(_, _, time)| time)
                .max()
                .unwrap_or(envelope.time.as_nanos()),
            rank: if envelope.is_record() {
                RECORD_RANK
            } else {
                u8::from(manifest.meters().any(last))
            },
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

    /// Whether the publisher keeps up: all that is pending is recent, so it may well be acknowledged
    /// before it has to be on disk.
    pub(super) fn keeps_up(&self) -> bool {
        let unwritten = self.unwritten.load(Relaxed);
        self.unwritten_bytes.load(Relaxed) < MAX_DEFERRED && self.queue.len() as u64 <= unwritten
    }

    /// Appends envelopes, which the reader sees at once, and returns what has to be written.
    pub(super) async fn prepare(
        &self,
        envelopes: Vec<Envelope>,
        records: Option<&dyn StreamRecords>,
    ) -> PreparedAppend<'_> {
        let mut state = self.write_state.lock().await;
        self.append(&mut state, envelopes, records).await;
        let (change, attempt) = self.take_change(&mut state, true);
        PreparedAppend { shared: self, state, change, attempt }
    }

    /// Appends envelopes, which the reader sees at once, and the records around them.
    pub(super) async fn append(
        &self,
        state: &mut WriteState,
        envelopes: Vec<Envelope>,
        records: Option<&dyn StreamRecords>,
    ) {
        let first = state.next_sequence;
        let mut all = records.map_or_else(Vec::new, |records| state.leading_records(records));
        all.extend(envelopes);
        let newest = all.iter().map(|one| self.head_of(one).time).max();
        let mut dropped = newest.map_or_else(Vec::new, |newest| self.evict_expired(newest));
        for envelope in all {
            self.append_one(state, envelope, &mut dropped);
        }
        if let Some(checkpoint) = records.and_then(|records| state.checkpoint(records, first)) {
            self.append_one(state, checkpoint, &mut dropped);
        }
        self.count_dropped(state, dropped).await;
    }

    fn append_one(
        &self,
        state: &mut WriteState,
        mut envelope: Envelope,
        dropped: &mut Vec<(SpoolSlot, Dropped)>,
    ) {
        state.number(&mut envelope);
        let head = self.head_of(&envelope);
        self.count_new(&head);
        let (weight, rank, sequence) = (head.weight, head.rank, envelope.sequence);
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
        state.evicting = !dropped.is_empty();
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
            state.declare_dropped(reason.as_str(), slot.sequence, envelope.as_ref());
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

    /// Takes what is not on disk yet. Without `envelopes`, those that are only in memory stay there.
    pub(super) fn take_change(
        &self,
        state: &mut WriteState,
        envelopes: bool,
    ) -> (SpoolChange, WriteAttempt) {
        let mut added = Vec::new();
        let mut missing = if envelopes { self.unwritten.load(Relaxed) } else { 0 };
        if self.backend.is_durable() && missing > 0 {
            self.queue.visit_newest(|slot| {
                if let (false, Some(envelope)) = (slot.on_disk, &slot.envelope) {
                    added.push((slot.head.clone(), envelope.clone()));
                    missing -= 1;
                }
                missing > 0
            });
        }
        let pending = std::mem::take(&mut state.pending);
        let next = state.next_sequence;
        let stream = state.stream.as_ref().map(|stream| stream.to_store(next));
        let change = SpoolChange {
            name: self.name.clone(),
            added,
            removed: pending.removed.clone(),
            gaps: pending.gaps.clone(),
            account: self.counts.account(0),
            next,
            stream: stream.clone(),
            ..SpoolChange::default()
        };
        (change, WriteAttempt { pending, stream, complete: envelopes })
    }

    /// Records the outcome of a write. What was not written is part of the next one.
    pub(super) fn finish_write(
        &self,
        state: &mut WriteState,
        attempt: WriteAttempt,
        written: Written,
    ) {
        let WriteAttempt { pending, stream, complete } = attempt;
        if written == Written::Failed {
            state.pending.removed.extend(pending.removed);
            state.pending.gaps.extend(pending.gaps);
            return;
        }
        if complete {
            self.mark_written();
        }
        if let (Some(stream), Some(stored), Written::Durably) = (&mut state.stream, stream, written)
        {
            stream.mark_written(&stored);
        }
    }

    /// Records that all envelopes are on disk.
    fn mark_written(&self) {
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
        let PendingWrites { removed, gaps } = &state.pending;
        if lazy && rejected.is_empty() && removed.is_empty() && gaps.is_empty() {
            // The counters are written with the offset of the sink.
            return;
        }
        let (mut change, attempt) = self.take_change(state, !lazy);
        change.rejected = rejected;
        // Removed envelopes take space on disk until the next sync.
        let due = self.queue.len() == 0 || state.lazy_writes >= MAX_LAZY_WRITES;
        let lazy = lazy && !due && change.rejected.is_empty();
        state.lazy_writes = if lazy { state.lazy_writes + 1 } else { 0 };
        let changes = Changes { spools: vec![change], lazy, ..Changes::default() };
        // The backend has logged a failure.
        let written = Written::of(self.backend.write(changes).await.is_ok(), lazy);
        self.finish_write(state, attempt, written);
    }

    /// Reserves numbers for the stream, so that its envelopes can be sent before they are on disk.
    pub(super) async fn reserve_numbers(&self) {
        let mut state = self.write_state.lock().await;
        let next = state.next_sequence;
        if !self.backend.is_durable() {
            if let Some(stream) = &mut state.stream {
                stream.reserve_all();
            }
        } else if state.stream.as_ref().is_some_and(|stream| stream.needs_numbers(next)) {
            self.write(&mut state, Vec::new(), false).await;
        }
    }

    /// Writes all that is not on disk yet, at the end of a run: numbers continue after it without a
    /// hole.
    pub(super) async fn close(&self) {
        let mut state = self.write_state.lock().await;
        if let Some(stream) = &mut state.stream {
            stream.release_numbers();
        }
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
    attempt: WriteAttempt,
}

impl PreparedAppend<'_> {
    /// Whether only counters and offsets have changed, which may be written lazily.
    pub(super) fn is_light(&self) -> bool {
        let SpoolChange { added, removed, gaps, next, .. } = &self.change;
        let needs_numbers = |stream: &Stream| stream.needs_numbers(*next);
        added.is_empty()
            && removed.is_empty()
            && gaps.is_empty()
            && !self.state.stream.as_ref().is_some_and(needs_numbers)
    }

    /// Records the outcome of the write.
    pub(super) fn finish(mut self, written: Written) {
        self.shared.finish_write(&mut self.state, self.attempt, written);
    }
}
