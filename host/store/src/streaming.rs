//! A spool that is given more than fits in memory: piece by piece, each written and let go, and none of
//! it seen by the reader before all of it is on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::MutexGuard;

use super::Envelope;
use super::queue::{LimitExceeded, WhenFull};
use super::spool::{Pending, PendingWrites, SpoolShared, SpoolSlot, UNWRITTEN, reason};
use super::spool_tables::{Head, SpoolChange};
use nephometer_telemetry::Dropped;

/// What a spool is given of one event. Dropped before it is committed, nothing was given.
pub(super) struct Streaming<'a> {
    shared: &'a SpoolShared,
    /// Held all the while: what is on disk of queue and counters belongs together.
    pending: MutexGuard<'a, Pending>,
    /// The number of the first envelope.
    first: u64,
    /// Whether what became of it is the disk's to say.
    committed: bool,
}

impl<'a> Streaming<'a> {
    /// Nobody else changes the spool until this is dropped.
    pub(super) async fn begin(shared: &'a Arc<SpoolShared>) -> Self {
        let pending = shared.writing.lock().await;
        let first = pending.next;
        Self { shared, pending, first, committed: false }
    }

    /// Takes a piece, and gives what has to be written of it. What there is no room for beside what is
    /// older is lost, and counted.
    pub(super) async fn take(&mut self, envelopes: Vec<Envelope>) -> SpoolChange {
        let (shared, pending) = (self.shared, &mut *self.pending);
        let heads: Vec<Head> = envelopes.iter().map(|envelope| shared.head(envelope)).collect();
        let newest = heads.iter().map(|head| head.time).max();
        let mut lost = newest.map_or_else(Vec::new, |newest| shared.too_old(newest));
        let mut added = Vec::with_capacity(envelopes.len());
        for (head, mut envelope) in heads.into_iter().zip(envelopes) {
            envelope.sequence = pending.next;
            pending.next += 1;
            shared.count_new(&head);
            let (sequence, weight, rank) = (envelope.sequence, head.weight, head.rank);
            let refused = match shared.when_full {
                WhenFull::Wait => None,
                when_full => {
                    let newest = when_full == WhenFull::DropNewest;
                    let (evicted, refused) = shared.queue.make_room(weight, rank, newest);
                    lost.extend(evicted.into_iter().map(|(slot, hit)| (slot, reason(hit))));
                    refused
                }
            };
            if let Some(hit) = refused {
                let slot = SpoolSlot { sequence, head, envelope: Some(envelope), on_disk: false };
                shared.count_unwritten(weight);
                lost.push((slot, reason(hit)));
            } else {
                let slot =
                    SpoolSlot { sequence, head: head.clone(), envelope: None, on_disk: false };
                shared.queue.append_hidden(slot, weight, rank);
                added.push((head, envelope));
            }
        }
        shared.lose(pending, lost).await;
        let (account, next) = (shared.counts.account(0), pending.next);
        SpoolChange { name: shared.name.clone(), added, account, next, ..SpoolChange::default() }
    }

    /// What has to be written besides the pieces.
    pub(super) fn change(&mut self) -> SpoolChange {
        self.shared.change(&mut self.pending)
    }

    /// The transaction is about to be committed.
    pub(super) fn commit(&mut self) {
        self.committed = true;
    }

    /// It is on disk.
    pub(super) fn finish(self) {
        self.shared.queue.reveal(|slot| slot.on_disk = true);
        self.shared.written();
    }

    /// It could not be written. The same envelopes are kept in memory, as far as that is bounded; those
    /// beyond are lost.
    pub(super) async fn keep_in_memory(
        mut self,
        envelopes: impl Iterator<Item = Envelope>,
        pending_writes: PendingWrites,
    ) {
        let shared = self.shared;
        self.pending.pending_writes.extend(pending_writes);
        let mut numbered = (self.first..).zip(envelopes);
        let lost = shared.queue.retain_hidden(|slot| {
            let made = numbered.find(|(number, _)| *number == slot.sequence);
            let Some((sequence, envelope)) = made else { return false };
            let fits = shared.count_unwritten(slot.head.weight) <= UNWRITTEN;
            // What is lost needs no bytes to be told from others.
            let body = if fits { envelope.body } else { Bytes::new() };
            slot.envelope = Some(Envelope { sequence, body, ..envelope });
            fits
        });
        let lost = lost
            .into_iter()
            .map(|slot| (slot, reason(LimitExceeded::Weight)))
            .collect::<Vec<(SpoolSlot, Dropped)>>();
        shared.lose(&mut self.pending, lost).await;
        shared.queue.reveal(|_| {});
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.pending.next = self.first;
        let counts = &self.shared.counts;
        for slot in self.shared.queue.retain_hidden(|_| false) {
            counts.encoded.fetch_sub(1, Relaxed);
            counts.samples.fetch_sub(slot.head.samples, Relaxed);
            counts.pending.fetch_sub(1, Relaxed);
        }
    }
}
