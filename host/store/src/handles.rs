//! The two handles of a spool: a sink writes, and the driver of a publisher reads.
//!
//! Only the newest pair is active. An older reader ends when another publisher takes the spool over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::OwnedSemaphorePermit;

use super::Envelope;
use super::spool::{SpoolShared, SpoolSlot};
use super::spool_tables::{self, EnvelopeHead};
use nephometer_model::{DeliveryResult, Offset};
use nephometer_proof::DeclaredDrop;
use nephometer_telemetry::{Dropped, PublisherCount, events::store as events};

/// Bytes that a reader leases at once, unless a single envelope is larger.
const MAX_LEASE: u64 = 8 << 20;

impl SpoolShared {
    /// The handles for a publisher. The reader before them ends at its next call, and leaves what it
    /// has not acknowledged.
    pub(super) fn handles(self: &Arc<Self>) -> (SpoolWriter, SpoolReader) {
        let epoch = self.epoch.fetch_add(1, Relaxed) + 1;
        self.queue.reopen();
        self.queue.wake();
        let writer = SpoolWriter { shared: Arc::clone(self), epoch };
        let reader =
            SpoolReader { shared: Arc::clone(self), epoch, permit: None, leased: Vec::new() };
        (writer, reader)
    }

    /// A writer besides the publisher's own. Dropping it does not close the spool.
    pub(super) fn extra_writer(self: &Arc<Self>) -> SpoolWriter {
        SpoolWriter { shared: Arc::clone(self), epoch: 0 }
    }
}

/// The writing handle. Dropping it closes the spool.
#[derive(Debug)]
pub struct SpoolWriter {
    pub(super) shared: Arc<SpoolShared>,
    epoch: u64,
}

/// The envelopes of a spool that a crash would lose: neither acknowledged nor on disk. Their batches
/// have to be processed again.
#[derive(Debug, Clone)]
pub struct UnwrittenEnvelopes(Arc<SpoolShared>);

impl UnwrittenEnvelopes {
    /// Whether both belong to one spool.
    pub fn is_same_spool(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The offset of the batch of the oldest such envelope; `None` if there is none.
    pub fn oldest_offset(&self) -> Option<Offset> {
        if self.0.unwritten.load(Relaxed) == 0 {
            return None;
        }
        self.0.queue.find_map(|slot| (!slot.on_disk).then_some(slot.head.offset))
    }
}

impl SpoolWriter {
    /// Has a drop of samples declared in the stream, if receivers can verify it.
    pub async fn declare(&self, drop: &DeclaredDrop) {
        self.shared.write_state.lock().await.declare(drop.clone());
    }

    /// The envelopes that a crash would lose.
    pub fn unwritten_envelopes(&self) -> UnwrittenEnvelopes {
        UnwrittenEnvelopes(Arc::clone(&self.shared))
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if self.shared.epoch.load(Relaxed) == self.epoch {
            self.shared.queue.close();
        }
    }
}

/// The reading handle.
#[derive(Debug)]
pub struct SpoolReader {
    shared: Arc<SpoolShared>,
    epoch: u64,
    /// Acquired by the first [`Self::ready`], and kept.
    permit: Option<OwnedSemaphorePermit>,
    /// The envelopes of the last lease.
    leased: Vec<Envelope>,
}

impl SpoolReader {
    /// The counters of the publisher.
    pub fn counts(&self) -> &Arc<PublisherCount> {
        &self.shared.counts
    }

    /// Waits until an envelope is pending. False if the spool is closed and empty, or if another
    /// reader has taken it over.
    pub async fn ready(&mut self) -> bool {
        if self.permit.is_none() {
            // The semaphore is never closed.
            self.permit = Arc::clone(&self.shared.reader_permit).acquire_owned().await.ok();
        }
        self.shared.queue.ready(|| !self.is_current()).await && self.is_current()
    }

    fn is_current(&self) -> bool {
        self.shared.epoch.load(Relaxed) == self.epoch
    }

    /// Leases the oldest `count` envelopes, or as many as there are, or fewer large ones. Leased
    /// envelopes are not evicted until [`Self::acknowledge`] or the next lease.
    ///
    /// # Errors
    /// If the disk fails, with the reason as text.
    pub async fn lease(&mut self, count: usize) -> Result<Vec<Envelope>, String> {
        loop {
            let slots = self.shared.queue.lease(count, MAX_LEASE);
            let on_disk = slots.iter().filter(|slot| slot.envelope.is_none());
            let on_disk: Vec<(u64, EnvelopeHead)> =
                on_disk.map(|slot| (slot.sequence, slot.head.clone())).collect();
            let mut read = if on_disk.is_empty() {
                Vec::new().into_iter()
            } else {
                let name = self.shared.name.clone();
                let read = self.shared.backend.read(move |disk| {
                    spool_tables::envelopes(&disk.begin_read()?, &name, &on_disk)
                });
                read.await?.into_iter()
            };
            let envelopes: Vec<Option<Envelope>> = slots
                .into_iter()
                .map(|slot| slot.envelope.or_else(|| read.next().flatten()))
                .collect();
            if envelopes.iter().all(Option::is_some) {
                self.leased = envelopes.into_iter().flatten().collect();
                return Ok(self.leased.clone());
            }
            self.drop_unreadable(&envelopes).await;
        }
    }

    /// Drops leased envelopes that cannot be decoded, and logs their number.
    async fn drop_unreadable(&self, envelopes: &[Option<Envelope>]) {
        let shared = &self.shared;
        let mut state = shared.write_state.lock().await;
        let mut dropped = 0;
        shared.queue.end_lease(|index, slot| {
            let readable = envelopes.get(index).is_none_or(Option::is_some);
            if !readable {
                dropped += 1;
                state.declare_dropped(Dropped::Unreadable.as_str(), slot.sequence, None);
                shared.record_removal(&mut state, slot);
            }
            readable
        });
        shared.counts.dropped.add(Dropped::Unreadable, dropped);
        shared.counts.pending.fetch_sub(dropped, Relaxed);
        events::envelopes_unreadable(&shared.name, dropped);
        shared.write(&mut state, Vec::new(), true).await;
    }

    /// Ends the lease with the results of its envelopes, in the same order. Acknowledged ones are
    /// removed, rejected ones kept with the reason; those that are pending or without a result stay.
    pub async fn acknowledge(&mut self, results: &[DeliveryResult]) {
        let (shared, leased) = (&self.shared, &self.leased);
        let mut state = shared.write_state.lock().await;
        let mut rejected = Vec::new();
        let mut removed = 0;
        shared.queue.end_lease(|index, slot| {
            match results.get(index) {
                None | Some(DeliveryResult::Pending { .. }) => return true,
                Some(DeliveryResult::Acknowledged) => {
                    state.acknowledge(slot.sequence);
                    _ = shared.counts.confirmed.fetch_add(1, Relaxed);
                }
                Some(DeliveryResult::Rejected(reason)) => {
                    shared.counts.dropped.add(Dropped::Permanent, 1);
                    let permanent = Dropped::Permanent.as_str();
                    state.declare_dropped(permanent, slot.sequence, leased.get(index));
                    if let Some(envelope) = leased.get(index) {
                        let meters = envelope.manifest.by_meter();
                        shared.counts.dropped.add_meters(Dropped::Permanent, meters);
                        rejected.push((slot.head.clone(), envelope.clone(), reason.clone()));
                    }
                }
            }
            removed += 1;
            shared.counts.pending.fetch_sub(1, Relaxed);
            shared.record_removal(&mut state, slot);
            false
        });
        if removed > 0 {
            shared.write(&mut state, rejected, true).await;
        }
    }

    /// Drops all pending envelopes, and returns their number.
    pub async fn drop_all(&mut self, reason: Dropped) -> u64 {
        let shared = &self.shared;
        let mut state = shared.write_state.lock().await;
        let dropped: Vec<(SpoolSlot, Dropped)> =
            shared.queue.clear().into_iter().map(|slot| (slot, reason)).collect();
        let count = dropped.len() as u64;
        shared.count_dropped(&mut state, dropped).await;
        shared.write(&mut state, Vec::new(), true).await;
        count
    }

    /// Waits until the writer is dropped, or another reader has taken over.
    pub async fn closed(&self) {
        self.shared.queue.closed(|| !self.is_current()).await;
    }

    /// Whether the writer is dropped.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// Number of pending envelopes.
    pub fn pending(&self) -> usize {
        self.shared.queue.len()
    }
}
