//! A spool: the pending envelopes of one publisher, in order, until they are acknowledged.
//!
//! Envelopes are acknowledged or on disk, with their bytes, ids and sequence numbers, before the batch
//! they were made from counts as emitted. They are removed when the receiver has acknowledged them or
//! they are dropped. In memory are their heads, and the bodies of the next few. While the disk fails,
//! envelopes stay in memory under the same bounds, and each write tries the disk again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard, Semaphore};
use uuid::Uuid;

use super::Envelope;
use super::backend::Backend;
use super::db::Changes;
use super::queue::{LimitExceeded, Limits, Queue, WhenFull};
use super::spool_tables::{self, EnvelopeHead, SpoolChange, StoredSpool};
use super::stored_envelope::StoredEnvelope;
use super::stream::{StoredStream, Stream, StreamRecords};
use nephometer_model::{Gap, Glob};
use nephometer_proof::{DeclaredDrop, Digest, Numbers};
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

/// Changes that are not on disk yet, besides envelopes in the queue.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    /// Envelopes that have left the queue but are still on disk.
    removed: Vec<u64>,
    /// Gaps of dropped envelopes.
    gaps: Vec<Gap>,
}

/// A copy of what a change contains, for when it is known whether it was written.
#[derive(Debug)]
pub(super) struct WriteAttempt {
    pending: PendingWrites,
    stream: Option<StoredStream>,
    /// Whether the change contains all envelopes that were not on disk.
    complete: bool,
}

/// What has to be written next.
#[derive(Debug)]
pub(super) struct WriteState {
    pub(super) next_sequence: u64,
    /// The stream, if receivers can verify it.
    pub(super) stream: Option<Stream>,
    /// The last append evicted envelopes.
    pub(super) evicting: bool,
    pending: PendingWrites,
    /// Writes in a row that a crash would undo.
    lazy_writes: u32,
}

impl WriteState {
    /// Assigns the next number to an envelope, and its place in the chain.
    pub(super) fn number(&mut self, envelope: &mut Envelope) {
        let sequence = self.next_sequence;
        envelope.sequence = sequence;
        let stream = self.stream.as_mut();
        envelope.link = stream.and_then(|one| one.link(sequence, &Digest::of(&envelope.body)));
        self.next_sequence += 1;
    }

    /// The records that precede the next envelopes. Drops are declared once the spool has room again:
    /// until then they grow, and a declaration would only take room from samples.
    pub(super) fn leading_records(&mut self, records: &dyn StreamRecords) -> Vec<Envelope> {
        let (evicting, next) = (self.evicting, self.next_sequence);
        let Some(stream) = self.stream.as_mut().filter(|one| one.is_reserved(next)) else {
            return Vec::new();
        };
        let mut leading: Vec<Envelope> = records.statement().into_iter().collect();
        let drops = if evicting { Vec::new() } else { stream.take_drops() };
        if !drops.is_empty() {
            leading.push(records.drops(drops));
        }
        leading
    }

    /// The record that follows the envelopes.
    pub(super) fn checkpoint(&self, records: &dyn StreamRecords) -> Option<Envelope> {
        let next = self.next_sequence;
        let stream = self.stream.as_ref().filter(|one| one.is_reserved(next))?;
        Some(records.checkpoint(next - 1, stream.digest()))
    }

    /// Has a drop declared in the stream.
    pub(super) fn declare(&mut self, drop: impl FnOnce() -> DeclaredDrop) {
        if let Some(stream) = &mut self.stream {
            stream.declare(drop());
        }
    }
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
                let (stream, next) = Stream::resume(id, stored_stream.as_ref(), next.max(1));
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
            state.declare(|| declared(Dropped::Unreadable, *sequence, None));
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
            rank: match envelope.samples {
                0 => RECORD_RANK,
                _ => u8::from(manifest.meters().any(last)),
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
        let mut all = records.map_or_else(Vec::new, |records| state.leading_records(records));
        all.extend(envelopes);
        let newest = all.iter().map(|one| self.head_of(one).time).max();
        let mut dropped = newest.map_or_else(Vec::new, |newest| self.evict_expired(newest));
        for envelope in all {
            self.append_one(state, envelope, &mut dropped);
        }
        if let Some(checkpoint) = records.and_then(|records| state.checkpoint(records)) {
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
            state.declare(|| declared(reason, slot.sequence, envelope.as_ref()));
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
        let stream = state.stream.as_ref().map(|stream| stream.to_store(next, envelopes));
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
            state.stream.iter_mut().for_each(Stream::mark_declared);
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
                state.declare(|| DeclaredDrop {
                    reason: "moved".to_owned(),
                    ..declared(Dropped::Policy, envelope.sequence, Some(envelope))
                });
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
        let (mut change, attempt) = self.take_change(&mut state, true);
        change.requeued = requeued;
        let changes = Changes { spools: vec![change], ..Changes::default() };
        let result = self.backend.write(changes).await;
        self.finish_write(&mut state, attempt, Written::of(result.is_ok(), false));
        result.map_err(|error| error.to_string())
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

/// The declaration that an envelope was dropped. Without the envelope only its number is known.
pub(super) fn declared(
    reason: Dropped,
    sequence: u64,
    envelope: Option<&Envelope>,
) -> DeclaredDrop {
    let numbers = Some(Numbers { first: sequence, last: sequence, count: 1 });
    let reason = reason.as_str().to_owned();
    let Some(envelope) = envelope else {
        return DeclaredDrop { reason, numbers, ..DeclaredDrop::default() };
    };
    let meters = envelope.manifest.by_meter().into_iter();
    let times = || envelope.manifest.samples().map(|(_, _, time)| time);
    DeclaredDrop {
        reason,
        numbers,
        samples: envelope.samples,
        meters: meters.map(|(meter, count)| (meter.to_owned(), count)).collect(),
        begin: times().min().unwrap_or(0),
        until: times().max().unwrap_or(0),
    }
}

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing was written.
    Failed,
    /// A crash undoes it, unless a durable write follows.
    Lazily,
    /// It is on disk.
    Durably,
}

impl Written {
    pub(super) fn of(written: bool, lazy: bool) -> Self {
        match (written, lazy) {
            (false, _) => Self::Failed,
            (true, true) => Self::Lazily,
            (true, false) => Self::Durably,
        }
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
    /// Whether only counters, numbers and offsets have changed.
    pub(super) fn is_light(&self) -> bool {
        let SpoolChange { added, removed, gaps, .. } = &self.change;
        added.is_empty() && removed.is_empty() && gaps.is_empty()
    }

    /// Records the outcome of the write.
    pub(super) fn finish(mut self, written: Written) {
        self.shared.finish_write(&mut self.state, self.attempt, written);
    }
}
