//! The two ends of a spool: the sink's, which fills it, and the driver's, which works it off.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::OwnedSemaphorePermit;

use super::Envelope;
use super::spool::{SpoolShared, SpoolSlot};
use super::spool_tables::{self, Head};
use nephometer_model::{DeliveryResult, Offset};
use nephometer_telemetry::{Dropped, events::store as events};

/// Bytes that a reader is lent at once, at most, if that is more than one envelope.
const LENT: u64 = 8 << 20;

impl SpoolShared {
    /// Both ends for a publisher. One that is still at work on it ends when it looks next, and leaves
    /// what it has not settled.
    pub(super) fn ends(self: &Arc<Self>) -> (SpoolWriter, SpoolReader) {
        let epoch = self.epoch.fetch_add(1, Relaxed) + 1;
        self.queue.reopen();
        self.queue.wake();
        let writer = SpoolWriter { shared: Arc::clone(self), epoch };
        let reader =
            SpoolReader { shared: Arc::clone(self), epoch, turn: None, leased: Vec::new() };
        (writer, reader)
    }

    /// A writer besides the publisher's own.
    pub(super) fn guest(self: &Arc<Self>) -> SpoolWriter {
        SpoolWriter { shared: Arc::clone(self), epoch: 0 }
    }
}

/// The end that is written. Dropping it closes the spool.
#[derive(Debug)]
pub struct SpoolWriter {
    pub(super) shared: Arc<SpoolShared>,
    epoch: u64,
}

/// What of a spool would have to be made again after a crash.
#[derive(Debug, Clone)]
pub struct Outstanding(Arc<SpoolShared>);

impl Outstanding {
    /// Whether both are of one spool.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Which batch the oldest envelope was made from that is neither settled nor on disk; `None` if
    /// there is none.
    pub fn oldest(&self) -> Option<Offset> {
        if self.0.unwritten.load(Relaxed) == 0 {
            return None;
        }
        self.0.queue.find(|slot| (!slot.on_disk).then_some(slot.head.offset))
    }
}

impl SpoolWriter {
    /// What would have to be made again.
    pub fn outstanding(&self) -> Outstanding {
        Outstanding(Arc::clone(&self.shared))
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if self.shared.epoch.load(Relaxed) == self.epoch {
            self.shared.queue.close();
        }
    }
}

/// The end that is read.
#[derive(Debug)]
pub struct SpoolReader {
    shared: Arc<SpoolShared>,
    epoch: u64,
    /// Held from the first look on.
    turn: Option<OwnedSemaphorePermit>,
    /// What was given last.
    leased: Vec<Envelope>,
}

impl SpoolReader {
    /// Waits until there is an envelope; false if there is none and never will be, or another
    /// reader has taken over.
    pub async fn ready(&mut self) -> bool {
        if self.turn.is_none() {
            // Nobody ever closes it.
            self.turn = Arc::clone(&self.shared.turn).acquire_owned().await.ok();
        }
        self.shared.queue.ready(|| !self.is_current()).await && self.is_current()
    }

    fn is_current(&self) -> bool {
        self.shared.epoch.load(Relaxed) == self.epoch
    }

    /// The oldest `count` envelopes, or as many as there are, or fewer large ones. They are not dropped to make room
    /// until [`Self::settle`] or the next [`Self::peek`]. The error says why they cannot be read.
    pub async fn peek(&mut self, count: usize) -> Result<Vec<Envelope>, String> {
        loop {
            let slots = self.shared.queue.lease(count, LENT);
            let away = slots.iter().filter(|slot| slot.envelope.is_none());
            let away: Vec<(u64, Head)> =
                away.map(|slot| (slot.sequence, slot.head.clone())).collect();
            let mut read = if away.is_empty() {
                Vec::new().into_iter()
            } else {
                let name = self.shared.name.clone();
                let read = self
                    .shared
                    .backend
                    .read(move |disk| spool_tables::envelopes(&disk.reading()?, &name, &away));
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
            self.give_up(&envelopes).await;
        }
    }

    /// What cannot be read any more is lost.
    async fn give_up(&self, envelopes: &[Option<Envelope>]) {
        let shared = &self.shared;
        let mut pending = shared.writing.lock().await;
        let mut lost = 0;
        shared.queue.settle(|place, slot| {
            let there = envelopes.get(place).is_none_or(Option::is_some);
            if !there {
                lost += 1;
                shared.left(&mut pending, slot);
            }
            there
        });
        shared.counts.dropped.add(Dropped::Unreadable, lost);
        shared.counts.pending.fetch_sub(lost, Relaxed);
        events::envelopes_unreadable(&shared.name, lost);
        shared.write(&mut pending, Vec::new(), true).await;
    }

    /// What became of the envelopes that [`Self::peek`] gave, in the same order; those without a
    /// result stay.
    pub async fn settle(&mut self, results: &[DeliveryResult]) {
        let (shared, leased) = (&self.shared, &self.leased);
        let mut pending = shared.writing.lock().await;
        let mut aside = Vec::new();
        let mut left = 0;
        shared.queue.settle(|place, slot| {
            match results.get(place) {
                None | Some(DeliveryResult::Pending { .. }) => return true,
                Some(DeliveryResult::Acknowledged) => {
                    _ = shared.counts.confirmed.fetch_add(1, Relaxed);
                }
                Some(DeliveryResult::Rejected(reason)) => {
                    shared.counts.dropped.add(Dropped::Permanent, 1);
                    if let Some(envelope) = leased.get(place) {
                        let meters = envelope.manifest.by_meter();
                        shared.counts.dropped.add_meters(Dropped::Permanent, meters);
                        aside.push((slot.head.clone(), envelope.clone(), reason.clone()));
                    }
                }
            }
            left += 1;
            shared.counts.pending.fetch_sub(1, Relaxed);
            shared.left(&mut pending, slot);
            false
        });
        if left > 0 {
            shared.write(&mut pending, aside, true).await;
        }
    }

    /// Drops all that is held, and says how much it was.
    pub async fn drop_all(&mut self, reason: Dropped) -> u64 {
        let shared = &self.shared;
        let mut pending = shared.writing.lock().await;
        let lost: Vec<(SpoolSlot, Dropped)> =
            shared.queue.clear().into_iter().map(|slot| (slot, reason)).collect();
        let count = lost.len() as u64;
        shared.lose(&mut pending, lost).await;
        shared.write(&mut pending, Vec::new(), true).await;
        count
    }

    /// Waits until the writer is gone, or another reader has taken over.
    pub async fn closed(&self) {
        self.shared.queue.closed(|| !self.is_current()).await;
    }

    /// Whether the writer is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// How many envelopes are held.
    pub fn held(&self) -> usize {
        self.shared.queue.len()
    }
}
