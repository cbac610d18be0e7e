//! A queue of batches to a task that a sink never waits for: a bounded number of batches and samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use nephometer_model::Bound;

/// The sink's end. The other end reads what waits when this one is dropped, and then its end.
#[derive(Debug)]
pub(crate) struct QueueWriter<T> {
    sender: mpsc::Sender<(T, usize)>,
    /// Samples that wait.
    waiting: Arc<AtomicUsize>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct QueueReader<T> {
    receiver: mpsc::Receiver<(T, usize)>,
    waiting: Arc<AtomicUsize>,
}

/// An empty queue.
pub(crate) fn sample_queue<T>() -> (QueueWriter<T>, QueueReader<T>) {
    let (sender, receiver) = mpsc::channel(Bound::ShadowBatches.size());
    let waiting = Arc::new(AtomicUsize::new(0));
    (QueueWriter { sender, waiting: Arc::clone(&waiting) }, QueueReader { receiver, waiting })
}

impl<T> QueueWriter<T> {
    /// Appends an item with so many samples. Returns it if it does not fit, or if nobody reads.
    pub(crate) fn offer(&self, item: T, samples: usize) -> Result<(), T> {
        let before = self.waiting.fetch_add(samples, Relaxed);
        // One batch may wait whatever its size.
        let fits = before == 0 || Bound::ShadowSamples.check(before + samples).is_ok();
        let sent = if fits {
            self.sender.try_send((item, samples)).map_err(|error| error.into_inner().0)
        } else {
            Err(item)
        };
        if sent.is_err() {
            self.waiting.fetch_sub(samples, Relaxed);
        }
        sent
    }
}

impl<T> QueueReader<T> {
    /// The next item; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let (item, samples) = self.receiver.recv().await?;
        self.waiting.fetch_sub(samples, Relaxed);
        Some(item)
    }
}
