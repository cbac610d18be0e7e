use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::queue::{Limits, Queue, WhenFull};
use crate::model::Batch;
use crate::telemetry::{Dropped, SinkCount};

/// A journal: the batches that a sink has yet to work off, in the order in which they came. Holds
/// `bound` samples at most; a batch counts as one more than it has, so that empty ones are bounded
/// too. `entered` and drops are counted; `processed` is the sink's to count.
pub fn journal(
    bound: u64,
    when_full: WhenFull,
    counts: &Arc<SinkCount>,
) -> (JournalWriter, JournalReader) {
    let queue = Arc::new(Queue::new(Limits { weight: bound, count: usize::MAX }));
    let open = Arc::new(Closer(Arc::clone(&queue)));
    (JournalWriter { open, counts: Arc::clone(counts), when_full }, JournalReader { queue })
}

/// The end that is written, by one or more. Dropping the last one closes the journal.
#[derive(Debug, Clone)]
pub struct JournalWriter {
    open: Arc<Closer>,
    counts: Arc<SinkCount>,
    when_full: WhenFull,
}

#[derive(Debug)]
struct Closer(Arc<Queue<Arc<Batch>>>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl JournalWriter {
    /// Takes one batch in. Waits only if the journal was made so.
    pub async fn append(&self, batch: Arc<Batch>) {
        let samples = samples(&batch);
        self.counts.entered.fetch_add(samples, Relaxed);
        let queue = &self.open.0;
        match self.when_full {
            WhenFull::Wait => queue.push_waiting(batch, samples + 1).await,
            WhenFull::DropOldest => {
                for (batch, _) in queue.push(batch, samples + 1) {
                    self.counts.dropped.add(Dropped::JournalFull, self::samples(&batch));
                }
            }
        }
    }

    /// Nothing will come any more, from whomever: the reader gets what there is, then nothing.
    pub fn close(&self) {
        self.open.0.close();
    }
}

/// The end that is read: the sink's place in the journal.
#[derive(Debug)]
pub struct JournalReader {
    queue: Arc<Queue<Arc<Batch>>>,
}

impl JournalReader {
    /// The batch at the head: the same one until [`Self::advance`]. `None` once the journal is
    /// closed and empty.
    pub async fn next(&mut self) -> Option<Arc<Batch>> {
        if self.queue.ready().await { self.queue.lend(1).pop() } else { None }
    }

    /// The batch that [`Self::next`] gave is worked off.
    pub fn advance(&mut self) {
        self.queue.settle(|_, _| false);
    }

    /// How many batches there are.
    pub fn held(&self) -> usize {
        self.queue.len()
    }
}

fn samples(batch: &Batch) -> u64 {
    u64::try_from(batch.samples.len()).expect("a length fits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Meter, MeterType, Moment, Resource, Sample, Volume};

    fn batch(source: &str, samples: usize) -> Arc<Batch> {
        let resource = Resource {
            id: Arc::from("r"),
            source: Arc::from("s"),
            project_id: None,
            user_id: None,
            metadata: serde_json::Map::new(),
        };
        let sample = Sample {
            id: uuid::Uuid::nil(),
            meter: Arc::new(Meter::new("m", MeterType::Gauge, "")),
            resource: Arc::new(resource),
            volume: Volume::Integer(1),
            taken: Moment::default(),
        };
        let samples = vec![sample; samples];
        let source = Arc::from(source);
        Arc::new(Batch { source, tick: Moment::default(), samples, gone: Vec::new() })
    }

    #[tokio::test]
    async fn a_full_journal_drops_the_oldest_but_not_the_one_at_work() {
        let counts = Arc::new(SinkCount::default());
        let (writer, mut reader) = journal(8, WhenFull::DropOldest, &counts);
        writer.append(batch("a", 2)).await;
        assert_eq!(&*reader.next().await.unwrap().source, "a");
        for name in ["b", "c"] {
            writer.clone().append(batch(name, 3)).await;
        }
        assert_eq!(counts.dropped.to_string(), "3 dropped (journal_full 3)");
        assert_eq!(&*reader.next().await.unwrap().source, "a");
        reader.advance();
        drop(writer);
        assert_eq!(&*reader.next().await.unwrap().source, "c");
        reader.advance();
        assert!(reader.next().await.is_none());
        assert_eq!(counts.entered.load(Relaxed), 8);
    }
}
