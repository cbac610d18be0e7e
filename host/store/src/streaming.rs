//! Appends more envelopes to a spool than fit in memory: chunk by chunk, each freed once it is
//! written. The reader sees none of them before all are on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::MutexGuard;

use super::Envelope;
use super::queue::{LimitExceeded, WhenFull};
use super::spool::{MAX_UNWRITTEN, PendingWrites, SpoolShared, SpoolSlot, WriteState};
use super::spool_tables::{EnvelopeHead, SpoolChange};
use nephometer_telemetry::Dropped;

/// The append of one event's envelopes to one spool. Dropping it before the commit undoes it.
pub(super) struct StreamedAppend<'a> {
    shared: &'a SpoolShared,
    /// Locked until the end, so that queue and counters on disk match.
    state: MutexGuard<'a, WriteState>,
    /// Sequence number of the first envelope.
    first: u64,
    /// Whether the transaction decides from now on.
    committed: bool,
}

impl<'a> StreamedAppend<'a> {
    /// Locks the spool against other changes until this is dropped.
    pub(super) async fn begin(shared: &'a Arc<SpoolShared>) -> Self {
        let state = shared.write_state.lock().await;
        let first = state.next_sequence;
        Self { shared, state, first, committed: false }
    }

    /// Adds a chunk, and returns what has to be written of it. Envelopes that do not fit after older
    /// ones were evicted are dropped and counted.
    pub(super) async fn add(&mut self, envelopes: Vec<Envelope>) -> SpoolChange {
        let (shared, state) = (self.shared, &mut *self.state);
        let heads: Vec<EnvelopeHead> = envelopes.iter().map(|one| shared.head_of(one)).collect();
        let newest = heads.iter().map(|head| head.time).max();
        let mut dropped = newest.map_or_else(Vec::new, |newest| shared.evict_expired(newest));
        let mut added = Vec::with_capacity(envelopes.len());
        for (head, mut envelope) in heads.into_iter().zip(envelopes) {
            envelope.sequence = state.next_sequence;
            state.next_sequence += 1;
            shared.count_new(&head);
            let (sequence, weight, rank) = (envelope.sequence, head.weight, head.rank);
            let exceeded = match shared.when_full {
                WhenFull::Wait => None,
                when_full => {
                    let newest = when_full == WhenFull::DropNewest;
                    let (evicted, exceeded) = shared.queue.make_room(weight, rank, newest);
                    dropped.extend(evicted.into_iter().map(|(slot, limit)| (slot, limit.into())));
                    exceeded
                }
            };
            if let Some(limit) = exceeded {
                let slot = SpoolSlot { sequence, head, envelope: Some(envelope), on_disk: false };
                shared.count_unwritten(weight);
                dropped.push((slot, limit.into()));
            } else {
                let slot =
                    SpoolSlot { sequence, head: head.clone(), envelope: None, on_disk: false };
                shared.queue.append_hidden(slot, weight, rank);
                added.push((head, envelope));
            }
        }
        shared.count_dropped(state, dropped).await;
        let (account, next) = (shared.counts.account(0), state.next_sequence);
        SpoolChange { name: shared.name.clone(), added, account, next, ..SpoolChange::default() }
    }

    /// Takes what has to be written besides the chunks.
    pub(super) fn take_change(&mut self) -> SpoolChange {
        self.shared.take_change(&mut self.state)
    }

    /// The transaction is about to be committed: dropping this no longer undoes the append.
    pub(super) fn commit(&mut self) {
        self.committed = true;
    }

    /// The transaction is on disk: shows the envelopes to the reader.
    pub(super) fn finish(self) {
        self.shared.queue.reveal(|slot| slot.on_disk = true);
        self.shared.mark_written();
    }

    /// The transaction has failed: keeps the same envelopes in memory up to its bound, and drops the
    /// rest.
    pub(super) async fn keep_in_memory(
        mut self,
        envelopes: impl Iterator<Item = Envelope>,
        pending_writes: PendingWrites,
    ) {
        let shared = self.shared;
        self.state.pending.extend(pending_writes);
        let mut numbered = (self.first..).zip(envelopes);
        let dropped = shared.queue.retain_hidden(|slot| {
            let found = numbered.find(|(number, _)| *number == slot.sequence);
            let Some((sequence, envelope)) = found else { return false };
            let fits = shared.count_unwritten(slot.head.weight) <= MAX_UNWRITTEN;
            // A dropped envelope is counted by its manifest, without its body.
            let body = if fits { envelope.body } else { Bytes::new() };
            slot.envelope = Some(Envelope { sequence, body, ..envelope });
            fits
        });
        let dropped = dropped
            .into_iter()
            .map(|slot| (slot, LimitExceeded::Weight.into()))
            .collect::<Vec<(SpoolSlot, Dropped)>>();
        shared.count_dropped(&mut self.state, dropped).await;
        shared.queue.reveal(|_| {});
    }
}

impl Drop for StreamedAppend<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.state.next_sequence = self.first;
        let counts = &self.shared.counts;
        for slot in self.shared.queue.retain_hidden(|_| false) {
            counts.encoded.fetch_sub(1, Relaxed);
            counts.samples.fetch_sub(slot.head.samples, Relaxed);
            counts.pending.fetch_sub(1, Relaxed);
        }
    }
}
