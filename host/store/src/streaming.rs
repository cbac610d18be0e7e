//! Appends more envelopes to a spool than fit in memory: chunk by chunk, each freed once it is
//! written. The reader sees none of them before all are on disk.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::MutexGuard;

use super::Envelope;
use super::queue::{LimitExceeded, WhenFull};
use super::spool::{MAX_UNWRITTEN, SpoolShared, SpoolSlot};
use super::spool_tables::SpoolChange;
use super::stream::{Stream, StreamRecords};
use super::write_state::{WriteAttempt, WriteState, Written};
use nephometer_proof::Digest;
use nephometer_telemetry::Dropped;

/// The append of one event's envelopes to one spool. Dropping it before the commit undoes it.
pub(super) struct StreamedAppend<'a> {
    shared: &'a SpoolShared,
    /// Locked until the end, so that queue and counters on disk match.
    state: MutexGuard<'a, WriteState>,
    /// Sequence number of the first envelope.
    first: u64,
    /// The digest of the stream before it.
    digest: Option<Digest>,
    records: Option<&'a dyn StreamRecords>,
    /// The records before and after the envelopes.
    leading: Vec<Envelope>,
    checkpoint: Option<Envelope>,
    /// Whether the transaction decides from now on.
    committed: bool,
}

impl<'a> StreamedAppend<'a> {
    /// Locks the spool against other changes until this is dropped.
    pub(super) async fn begin(
        shared: &'a Arc<SpoolShared>,
        records: Option<&'a dyn StreamRecords>,
    ) -> Self {
        let mut state = shared.write_state.lock().await;
        let first = state.next_sequence;
        let digest = state.stream.as_ref().map(Stream::digest);
        let leading = records.map_or_else(Vec::new, |records| state.leading_records(records));
        let (checkpoint, committed) = (None, false);
        Self { shared, state, first, digest, records, leading, checkpoint, committed }
    }

    /// Adds the records before the envelopes.
    pub(super) async fn add_leading(&mut self) -> SpoolChange {
        self.add(self.leading.clone()).await
    }

    /// Adds the record after the envelopes.
    pub(super) async fn add_checkpoint(&mut self) -> SpoolChange {
        let first = self.first;
        self.checkpoint = self.records.and_then(|records| self.state.checkpoint(records, first));
        self.add(self.checkpoint.iter().cloned().collect()).await
    }

    /// Adds a chunk, and returns what has to be written of it. Envelopes that do not fit after older
    /// ones were evicted are dropped and counted.
    pub(super) async fn add(&mut self, envelopes: Vec<Envelope>) -> SpoolChange {
        let (shared, state) = (self.shared, &mut *self.state);
        let newest = envelopes.iter().map(|one| shared.head_of(one).time).max();
        let mut dropped = newest.map_or_else(Vec::new, |newest| shared.evict_expired(newest));
        let mut added = Vec::with_capacity(envelopes.len());
        for mut envelope in envelopes {
            state.number(&mut envelope);
            let head = shared.head_of(&envelope);
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
        let stream = state.stream.as_ref().map(|stream| stream.to_store(next));
        let name = shared.name.clone();
        SpoolChange { name, added, account, next, stream, ..SpoolChange::default() }
    }

    /// Takes what has to be written besides the chunks.
    pub(super) fn take_change(&mut self) -> (SpoolChange, WriteAttempt) {
        self.shared.take_change(&mut self.state, true)
    }

    /// The transaction is about to be committed: dropping this no longer undoes the append.
    pub(super) fn commit(&mut self) {
        self.committed = true;
    }

    /// The transaction is on disk: shows the envelopes to the reader.
    pub(super) fn finish(mut self, attempt: WriteAttempt) {
        self.shared.queue.reveal(|slot| slot.on_disk = true);
        self.shared.finish_write(&mut self.state, attempt, Written::Durably);
    }

    /// The transaction has failed: keeps the same envelopes in memory up to its bound, and drops the
    /// rest.
    pub(super) async fn keep_in_memory(
        mut self,
        envelopes: impl Iterator<Item = Envelope>,
        attempt: WriteAttempt,
    ) {
        let shared = self.shared;
        shared.finish_write(&mut self.state, attempt, Written::Failed);
        // Numbers and links come out as before.
        let state = &mut *self.state;
        state.next_sequence = self.first;
        if let (Some(stream), Some(digest)) = (&mut state.stream, self.digest) {
            stream.resume_at(digest);
        }
        let leading = mem::take(&mut self.leading).into_iter();
        let all = leading.chain(envelopes).chain(self.checkpoint.take());
        let mut numbered = all.map(|mut envelope| {
            state.number(&mut envelope);
            envelope
        });
        let dropped = shared.queue.retain_hidden(|slot| {
            let found = numbered.find(|envelope| envelope.sequence == slot.sequence);
            let Some(envelope) = found else { return false };
            let fits = shared.count_unwritten(slot.head.weight) <= MAX_UNWRITTEN;
            // A dropped envelope is counted by its manifest, without its body.
            let body = if fits { envelope.body } else { Bytes::new() };
            slot.envelope = Some(Envelope { body, ..envelope });
            fits
        });
        // Those at the end were dropped when they were added.
        numbered.for_each(drop);
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
        let state = &mut *self.state;
        state.next_sequence = self.first;
        if let (Some(stream), Some(digest)) = (&mut state.stream, self.digest) {
            stream.rewind(digest, self.first);
        }
        let counts = &self.shared.counts;
        for slot in self.shared.queue.retain_hidden(|_| false) {
            counts.encoded.fetch_sub(1, Relaxed);
            counts.samples.fetch_sub(slot.head.samples, Relaxed);
            counts.pending.fetch_sub(1, Relaxed);
        }
    }
}
