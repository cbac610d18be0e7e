use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Envelope;
use super::queue::{Hit, Limits, Queue, WhenFull};
use crate::model::Position;
use crate::telemetry::{Dropped, PublisherCount};

/// What an envelope takes besides its body, bytes: so that small ones have a bound too.
const OVERHEAD: u64 = 256;

/// How much a spool holds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all envelopes; past it they are dropped as `spool_full`.
    pub bytes: u64,
    /// Envelopes, if their number is bounded as well; past it they are dropped as `policy`.
    pub count: Option<usize>,
}

/// What becomes of an envelope that the reader was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Confirmed,
    /// It is lost, for this reason.
    Dropped(Dropped),
    /// It stays, in its place.
    Held,
}

/// A spool: envelopes in their order, held until they are settled. `counts` is kept up to date.
pub fn spool(
    bounds: Bounds,
    when_full: WhenFull,
    counts: &Arc<PublisherCount>,
) -> (SpoolWriter, SpoolReader) {
    let count = bounds.count.unwrap_or(usize::MAX);
    let queue = Arc::new(Queue::new(Limits { weight: bounds.bytes, count }));
    let writer = SpoolWriter { queue: Arc::clone(&queue), counts: Arc::clone(counts), when_full };
    (writer, SpoolReader { queue, counts: Arc::clone(counts) })
}

/// The end that is written. Dropping it closes the spool.
#[derive(Debug)]
pub struct SpoolWriter {
    queue: Arc<Queue<Envelope>>,
    counts: Arc<PublisherCount>,
    when_full: WhenFull,
}

/// What of a spool is not settled yet.
#[derive(Debug, Clone)]
pub struct Outstanding {
    queue: Arc<Queue<Envelope>>,
}

impl Outstanding {
    /// Which batch the oldest envelope was made from; `None` if nothing is held.
    pub fn oldest(&self) -> Option<Position> {
        self.queue.front(|envelope| envelope.position)
    }
}

impl SpoolWriter {
    /// What is not settled yet.
    pub fn outstanding(&self) -> Outstanding {
        Outstanding { queue: Arc::clone(&self.queue) }
    }

    /// Takes envelopes in, one after the other. Waits only if the spool was made so.
    pub async fn push(&self, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            let weight = OVERHEAD + u64::try_from(envelope.body.len()).unwrap_or(u64::MAX / 2);
            let samples = envelope.samples;
            // Counted before it can be confirmed, so that no count ever runs ahead of this one.
            match self.when_full {
                WhenFull::DropOldest => {
                    self.count(samples);
                    for (_, hit) in self.queue.push(envelope, weight) {
                        let reason =
                            if hit == Hit::Count { Dropped::Policy } else { Dropped::SpoolFull };
                        self.counts.dropped.add(reason, 1);
                        self.counts.held.fetch_sub(1, Relaxed);
                    }
                }
                WhenFull::Wait => {
                    self.count(samples);
                    self.queue.push_waiting(envelope, weight).await;
                }
            }
        }
    }

    fn count(&self, samples: u64) {
        self.counts.encoded.fetch_add(1, Relaxed);
        self.counts.samples.fetch_add(samples, Relaxed);
        self.counts.held.fetch_add(1, Relaxed);
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The end that is read.
#[derive(Debug)]
pub struct SpoolReader {
    queue: Arc<Queue<Envelope>>,
    counts: Arc<PublisherCount>,
}

impl SpoolReader {
    /// Waits until there is an envelope; false if there is none and never will be.
    pub async fn ready(&self) -> bool {
        self.queue.ready().await
    }

    /// The oldest `count` envelopes, or as many as there are. They are not dropped to make room
    /// until [`Self::settle`] or the next [`Self::peek`].
    pub fn peek(&mut self, count: usize) -> Vec<Envelope> {
        self.queue.lend(count)
    }

    /// What became of the envelopes that [`Self::peek`] gave, in the same order; those without a
    /// verdict are held.
    pub fn settle(&mut self, verdicts: &[Verdict]) {
        let counts = &self.counts;
        self.queue.settle(|place, _| match verdicts.get(place) {
            None | Some(Verdict::Held) => true,
            Some(verdict) => {
                match verdict {
                    Verdict::Dropped(reason) => counts.dropped.add(*reason, 1),
                    _ => _ = counts.confirmed.fetch_add(1, Relaxed),
                }
                counts.held.fetch_sub(1, Relaxed);
                false
            }
        });
    }

    /// Drops all that is held, and says how much it was.
    pub fn drop_all(&mut self, reason: Dropped) -> u64 {
        let dropped = u64::try_from(self.queue.clear().len()).expect("a length fits");
        self.counts.dropped.add(reason, dropped);
        self.counts.held.fetch_sub(dropped, Relaxed);
        dropped
    }

    /// Waits until the writer is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Whether the writer is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// How many envelopes are held.
    pub fn held(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn envelopes(ids: std::ops::Range<u128>) -> Vec<Envelope> {
        ids.map(|id| Envelope {
            id: Uuid::from_u128(id),
            address: Arc::from(""),
            body: Arc::from([0_u8; 44].as_slice()),
            samples: 2,
            position: 0,
        })
        .collect()
    }

    fn ids(envelopes: &[Envelope]) -> Vec<u128> {
        envelopes.iter().map(|envelope| envelope.id.as_u128()).collect()
    }

    #[tokio::test]
    async fn the_law_holds_through_drops_and_verdicts() {
        let counts = Arc::new(PublisherCount::default());
        let bounds = Bounds { bytes: 1_500, count: Some(4) };
        let (writer, mut reader) = spool(bounds, WhenFull::DropOldest, &counts);
        writer.push(envelopes(0..6)).await;
        assert_eq!(ids(&reader.peek(3)), [2, 3, 4]);
        reader.settle(&[Verdict::Confirmed, Verdict::Held, Verdict::Dropped(Dropped::Permanent)]);
        assert_eq!(ids(&reader.peek(9)), [3, 5]);
        assert_eq!(counts.encoded.load(Relaxed), 6);
        assert_eq!(counts.samples.load(Relaxed), 12);
        assert_eq!(counts.confirmed.load(Relaxed), 1);
        assert_eq!(counts.held.load(Relaxed), 2);
        assert_eq!(counts.dropped.to_string(), "3 dropped (policy 2, permanent 1)");
        assert_eq!(reader.drop_all(Dropped::Policy), 2);
        assert_eq!(counts.held.load(Relaxed), 0);
        drop(writer);
        assert!(!reader.ready().await);
    }

    #[tokio::test]
    async fn bytes_are_bounded() {
        let counts = Arc::new(PublisherCount::default());
        let bounds = Bounds { bytes: 700, count: None };
        let (writer, mut reader) = spool(bounds, WhenFull::DropOldest, &counts);
        writer.push(envelopes(0..3)).await;
        assert_eq!(ids(&reader.peek(9)), [1, 2]);
        assert_eq!(counts.dropped.to_string(), "1 dropped (spool_full 1)");
    }
}
