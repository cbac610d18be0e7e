//! A spool: the envelopes of one publisher in their order, held until they are settled.
//!
//! They are on disk before what they were made from counts as emitted, with their bytes, ids and
//! numbers, and leave when the receiver has them or they are given up. What is in memory of them is
//! their heads and the bodies of the next few. Where the disk fails they are kept in memory under
//! the same bounds, and each write tries again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard, Semaphore};

use super::Envelope;
use super::backend::Backend;
use super::db::Changes;
use super::queue::{LimitExceeded, Limits, Queue, WhenFull};
use super::spool_tables::{self, Head, SpoolChange, StoredSpool};
use super::stored_envelope::StoredEnvelope;
use nephometer_model::{Gap, Glob};
use nephometer_telemetry::{Dropped, PublisherCount, events::store as events};

/// What an envelope takes besides its body, bytes: so that small ones have a bound too.
const OVERHEAD: u64 = 256;
/// Bytes of envelopes that are in memory alone, because the disk fails or there is none; past it new
/// ones are dropped as `spool_full`.
pub(super) const UNWRITTEN: u64 = 64 << 20;
/// Bytes of envelopes that stay in memory besides being on disk: what publishers that keep up are
/// given.
const RESIDENT: u64 = 8 << 20;

/// Windows that are settled before the disk is told for good, unless nothing is held any more.
const MOST_LAZY: u32 = 16;

/// How much a spool holds.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of all envelopes; past it they are dropped as `spool_full`.
    pub bytes: u64,
    /// Envelopes, if their number is bounded as well; past it they are dropped as `policy`.
    pub count: Option<usize>,
    /// How long before the newest sample the oldest may have been taken; past it envelopes are
    /// dropped as `too_old`.
    pub age: Option<std::time::Duration>,
    /// Meters whose envelopes make room last.
    pub last: Vec<Glob>,
}

/// What both ends share.
#[derive(Debug)]
pub(super) struct SpoolShared {
    pub(super) name: String,
    pub(super) backend: Arc<Backend>,
    pub(super) queue: Queue<SpoolSlot>,
    pub(super) counts: Arc<PublisherCount>,
    bounds: Bounds,
    pub(super) when_full: WhenFull,
    /// Held over every change and the write of it, so that what is on disk of queue and counters
    /// belongs together.
    pub(super) writing: Mutex<Pending>,
    /// Envelopes in the queue that are not on disk, and their bytes.
    pub(super) unwritten: AtomicU64,
    unwritten_bytes: AtomicU64,
    /// Bytes of envelopes that are in memory and on disk.
    resident: AtomicU64,
    /// Grows when a new publisher takes the place of one that is still at work.
    pub(super) epoch: AtomicU64,
    /// For the one reader.
    pub(super) turn: Arc<Semaphore>,
}

/// One envelope in the queue.
#[derive(Debug, Clone)]
pub(super) struct SpoolSlot {
    pub(super) sequence: u64,
    pub(super) head: Head,
    /// `None` if it is only on disk.
    pub(super) envelope: Option<Envelope>,
    pub(super) on_disk: bool,
}

/// What the disk has yet to be told, besides what is in the queue.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    /// Have left the queue, and have yet to leave the disk.
    removed: Vec<u64>,
    /// What was given up.
    gaps: Vec<Gap>,
}

impl PendingWrites {
    /// As a change tells it, for the case that it is not written.
    pub(super) fn of(change: &SpoolChange) -> Self {
        Self { removed: change.removed.clone(), gaps: change.gaps.clone() }
    }

    pub(super) fn extend(&mut self, mut more: Self) {
        self.removed.append(&mut more.removed);
        self.gaps.append(&mut more.gaps);
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    /// The number of the next envelope.
    pub(super) next: u64,
    pub(super) pending_writes: PendingWrites,
    /// Writes in a row that a crash would undo.
    lazy: u32,
}

impl SpoolShared {
    /// The spool of this name, as it was left.
    pub(super) fn new(
        name: &str,
        backend: &Arc<Backend>,
        (bounds, when_full): (Bounds, WhenFull),
        (counts, found): (&Arc<PublisherCount>, StoredSpool),
    ) -> Self {
        let StoredSpool { left, unreadable } = found;
        let lost = unreadable.len() as u64;
        counts.restore(&left.account, left.heads.len() as u64 + lost);
        if lost > 0 {
            events::envelopes_unreadable(name, lost);
            counts.dropped.add(Dropped::Unreadable, lost);
            counts.pending.fetch_sub(lost, Relaxed);
        }
        let count = bounds.count.unwrap_or(usize::MAX);
        let queue = Queue::new(Limits { weight: most(backend, bounds.bytes), count });
        for (sequence, head) in left.heads {
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
            writing: Mutex::new(Pending {
                next: left.next.max(1),
                pending_writes: PendingWrites { removed: unreadable, gaps: Vec::new() },
                lazy: 0,
            }),
            unwritten: AtomicU64::new(0),
            unwritten_bytes: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Something else than this spool's own bound has changed.
    pub(super) fn take_share(&self) {
        self.queue.limit(most(&self.backend, self.bounds.bytes));
    }

    pub(super) fn head(&self, envelope: &Envelope) -> Head {
        let manifest = &envelope.manifest;
        let weight = OVERHEAD + envelope.body.len() as u64 + manifest.weight();
        let last = |meter: &str| self.bounds.last.iter().any(|glob| glob.matches(meter));
        Head {
            id: envelope.id.into_bytes(),
            address: envelope.address.to_string(),
            samples: envelope.samples,
            offset: envelope.offset,
            weight,
            time: manifest.rows().map(|(_, _, time)| time).max().unwrap_or(0),
            rank: u8::from(manifest.meters().any(last)),
        }
    }

    /// Waits until these fit, if the spool was made so.
    pub(super) async fn room(&self, envelopes: &[Envelope]) {
        if self.when_full == WhenFull::Wait {
            self.queue.room(self.weight(envelopes), envelopes.len()).await;
        }
    }

    fn weight(&self, envelopes: &[Envelope]) -> u64 {
        envelopes.iter().map(|envelope| self.head(envelope).weight).sum()
    }

    /// Whether these would fit without anything having to leave.
    pub(super) fn fits(&self, envelopes: &[Envelope]) -> bool {
        self.queue.fits(self.weight(envelopes), envelopes.len())
    }

    /// Takes envelopes in, which the reader then sees, and gives what has to be written.
    pub(super) async fn prepare(&self, envelopes: Vec<Envelope>) -> Prepared<'_> {
        let heads: Vec<Head> = envelopes.iter().map(|envelope| self.head(envelope)).collect();
        let mut pending = self.writing.lock().await;
        let newest = heads.iter().map(|head| head.time).max();
        let mut lost = newest.map_or_else(Vec::new, |newest| self.too_old(newest));
        for (head, mut envelope) in heads.into_iter().zip(envelopes) {
            envelope.sequence = pending.next;
            pending.next += 1;
            self.count_new(&head);
            let (weight, rank) = (head.weight, head.rank);
            let sequence = envelope.sequence;
            let slot = SpoolSlot { sequence, head, envelope: Some(envelope), on_disk: false };
            let unwritten = self.count_unwritten(weight);
            let refused = match self.when_full {
                WhenFull::Wait => None,
                _ if self.backend.is_durable() && unwritten > UNWRITTEN => {
                    Some(LimitExceeded::Weight)
                }
                when_full => {
                    let newest = when_full == WhenFull::DropNewest;
                    let (evicted, refused) = self.queue.make_room(weight, rank, newest);
                    lost.extend(evicted.into_iter().map(|(slot, hit)| (slot, reason(hit))));
                    refused
                }
            };
            match refused {
                Some(hit) => lost.push((slot, reason(hit))),
                None => self.queue.append(slot, weight, rank),
            }
        }
        self.lose(&mut pending, lost).await;
        let change = self.change(&mut pending);
        Prepared { shared: self, pending, change }
    }

    /// Counts an envelope before it can be confirmed, so that no count ever runs ahead of this one.
    pub(super) fn count_new(&self, head: &Head) {
        self.counts.encoded.fetch_add(1, Relaxed);
        self.counts.samples.fetch_add(head.samples, Relaxed);
        self.counts.pending.fetch_add(1, Relaxed);
    }

    /// Counts an envelope that is in memory alone; how many bytes are now.
    pub(super) fn count_unwritten(&self, weight: u64) -> u64 {
        self.unwritten.fetch_add(1, Relaxed);
        self.unwritten_bytes.fetch_add(weight, Relaxed) + weight
    }

    pub(super) fn too_old(&self, newest: u64) -> Vec<(SpoolSlot, Dropped)> {
        let Some(age) = self.bounds.age else { return Vec::new() };
        let oldest = newest.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let expired = self.queue.evict_while(|slot| slot.head.time < oldest);
        expired.into_iter().map(|slot| (slot, Dropped::TooOld)).collect()
    }

    /// Counts what has left the queue without having been sent.
    pub(super) async fn lose(&self, pending: &mut Pending, lost: Vec<(SpoolSlot, Dropped)>) {
        if lost.is_empty() {
            return;
        }
        let away = lost.iter().filter(|(slot, _)| slot.envelope.is_none());
        let away: Vec<(u64, Head)> =
            away.map(|(slot, _)| (slot.sequence, slot.head.clone())).collect();
        let mut read = if away.is_empty() {
            Vec::new()
        } else {
            let name = self.name.clone();
            // What cannot be read is counted, without its meters.
            self.backend
                .read(move |disk| spool_tables::envelopes(&disk.reading()?, &name, &away))
                .await
                .unwrap_or_default()
        }
        .into_iter();
        for (slot, reason) in lost {
            self.counts.dropped.add(reason, 1);
            self.counts.pending.fetch_sub(1, Relaxed);
            let envelope = slot.envelope.clone().or_else(|| read.next().flatten());
            if let Some(envelope) = envelope {
                self.counts.dropped.add_meters(reason, envelope.manifest.by_meter());
                pending.pending_writes.gaps.append(&mut envelope.manifest.gaps(&self.name));
            }
            self.left(pending, &slot);
        }
    }

    /// A slot has left the queue.
    pub(super) fn left(&self, pending: &mut Pending, slot: &SpoolSlot) {
        let weight = slot.head.weight;
        if !slot.on_disk {
            self.unwritten.fetch_sub(1, Relaxed);
            self.unwritten_bytes.fetch_sub(weight, Relaxed);
            return;
        }
        pending.pending_writes.removed.push(slot.sequence);
        if slot.envelope.is_some() {
            self.resident.fetch_sub(weight, Relaxed);
        }
    }

    /// All that the disk has yet to be told.
    pub(super) fn change(&self, pending: &mut Pending) -> SpoolChange {
        let mut added = Vec::new();
        let mut missing = self.unwritten.load(Relaxed);
        if self.backend.is_durable() && missing > 0 {
            self.queue.newest(|slot| {
                if let (false, Some(envelope)) = (slot.on_disk, &slot.envelope) {
                    added.push((slot.head.clone(), envelope.clone()));
                    missing -= 1;
                }
                missing > 0
            });
        }
        let PendingWrites { removed, gaps } = std::mem::take(&mut pending.pending_writes);
        SpoolChange {
            name: self.name.clone(),
            added,
            removed,
            gaps,
            account: self.counts.account(0),
            next: pending.next,
            ..SpoolChange::default()
        }
    }

    /// What was to be written is written.
    pub(super) fn written(&self) {
        let mut missing = self.unwritten.swap(0, Relaxed);
        self.unwritten_bytes.store(0, Relaxed);
        if missing == 0 {
            return;
        }
        self.queue.newest(|slot| {
            if !slot.on_disk {
                slot.on_disk = true;
                missing -= 1;
                let stays = self.resident.load(Relaxed) + slot.head.weight <= RESIDENT;
                if stays {
                    self.resident.fetch_add(slot.head.weight, Relaxed);
                } else {
                    slot.envelope = None;
                }
            }
            missing > 0
        });
    }

    /// Writes what has left the queue, and what is missing on disk.
    pub(super) async fn write(
        &self,
        pending: &mut Pending,
        aside: Vec<(Head, Envelope, String)>,
        lazy: bool,
    ) {
        if !self.backend.is_durable() {
            return;
        }
        let mut change = self.change(pending);
        change.aside = aside;
        // What the disk is not told for good it has to keep room for.
        let idle = self.queue.len() == 0 || pending.lazy >= MOST_LAZY;
        let lazy = lazy && !idle && change.aside.is_empty() && change.added.is_empty();
        pending.lazy = if lazy { pending.lazy + 1 } else { 0 };
        let pending_writes = PendingWrites::of(&change);
        let changes = Changes { spools: vec![change], lazy, ..Changes::default() };
        match self.backend.write(changes).await {
            Ok(()) => self.written(),
            // Said where it was written; the disk is told next time.
            Err(_) => pending.pending_writes.extend(pending_writes),
        }
    }

    /// These have gone to where they are counted from now on: what waited here, and what was set
    /// aside.
    pub(super) async fn give(&self, kept: &[StoredEnvelope]) -> Result<(), String> {
        let mut pending = self.writing.lock().await;
        let counts = &self.counts;
        let (mut waiting, mut taken) = (HashSet::new(), Vec::new());
        for StoredEnvelope { envelope, refused } in kept {
            counts.encoded.fetch_sub(1, Relaxed);
            counts.samples.fetch_sub(envelope.samples, Relaxed);
            if refused.is_some() {
                counts.dropped.take_back(Dropped::Permanent, envelope.manifest.by_meter());
                taken.push(envelope.sequence);
            } else {
                counts.pending.fetch_sub(1, Relaxed);
                waiting.insert(envelope.sequence);
            }
        }
        if !waiting.is_empty() {
            self.queue.lease(usize::MAX, u64::MAX);
            self.queue.settle(|_, slot| {
                let stays = !waiting.contains(&slot.sequence);
                if !stays {
                    self.left(&mut pending, slot);
                }
                stays
            });
        }
        let mut change = self.change(&mut pending);
        change.taken = taken;
        let pending_writes = PendingWrites::of(&change);
        let changes = Changes { spools: vec![change], ..Changes::default() };
        match self.backend.write(changes).await {
            Ok(()) => {
                self.written();
                Ok(())
            }
            Err(error) => {
                pending.pending_writes.extend(pending_writes);
                Err(error.to_string())
            }
        }
    }

    /// Writes all that the disk has yet to be told.
    pub(super) async fn sync(&self) {
        let mut pending = self.writing.lock().await;
        self.write(&mut pending, Vec::new(), false).await;
    }
}

fn most(backend: &Backend, bytes: u64) -> u64 {
    bytes.min(if backend.is_durable() { backend.share() } else { UNWRITTEN })
}

pub(super) fn reason(hit: LimitExceeded) -> Dropped {
    match hit {
        LimitExceeded::Count => Dropped::Policy,
        LimitExceeded::Weight => Dropped::SpoolFull,
    }
}

/// A spool that has taken envelopes in, and what the disk has to be told of it.
pub(super) struct Prepared<'a> {
    shared: &'a SpoolShared,
    pending: MutexGuard<'a, Pending>,
    pub(super) change: SpoolChange,
}

impl Prepared<'_> {
    /// It was written, or the disk has yet to be told.
    pub(super) fn finish(mut self, pending_writes: Option<PendingWrites>) {
        match pending_writes {
            None => self.shared.written(),
            Some(pending_writes) => self.pending.pending_writes.extend(pending_writes),
        }
    }
}
