//! What the shadow of a transformer gets: the calls of the live one, with what that returned.
//!
//! A chain offers each batch that has succeeded, and never waits: what does not fit is counted, and the
//! shadow has to begin again from the live state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::journaled_batch::JournaledBatch;
use super::sample_queue::{QueueReader, QueueWriter, sample_queue};
use crate::taps::{PassOutcome, Passage, TapPoint};
use nephometer_model::{Batch, Moment};

/// The calls of one batch.
#[derive(Debug)]
pub(crate) struct ShadowBatch {
    pub(crate) calls: Vec<ShadowCall>,
}

/// A call of the live transformer.
#[derive(Debug)]
pub(crate) enum ShadowCall {
    /// It got the first batch and returned the second.
    Transform(Arc<Batch>, Arc<Batch>),
    /// It was flushed at this time and returned a batch, or nothing.
    Flush(Moment, Option<Arc<Batch>>),
    /// A failure action was applied to this batch instead.
    Skipped(Arc<Batch>),
}

/// Batches that a shadow did not get.
#[derive(Debug, Default)]
pub(crate) struct MissedBatches {
    pub(crate) batches: AtomicU64,
    pub(crate) samples: AtomicU64,
}

/// The chain's end of a queue to a shadow.
#[derive(Debug)]
pub(crate) struct ShadowFeed {
    /// Index of the transformer, from 0.
    pub(crate) index: usize,
    /// `None` since the shadow is behind: it has to be attached again.
    queue: Option<QueueWriter<ShadowBatch>>,
    missed: Arc<MissedBatches>,
}

/// The shadow's end. It ends when the chain has detached the shadow.
pub(crate) type ShadowQueue = QueueReader<ShadowBatch>;

impl ShadowFeed {
    /// A queue to the shadow of the transformer at an index. What it misses is added to `missed`.
    pub(crate) fn new(index: usize, missed: &Arc<MissedBatches>) -> (Self, ShadowQueue) {
        let (writer, queue) = sample_queue();
        (Self { index, queue: Some(writer), missed: Arc::clone(missed) }, queue)
    }

    fn offer(&mut self, batch: ShadowBatch, samples: usize) {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.offer(batch, samples).is_ok());
        if !sent {
            self.queue = None;
            self.missed.batches.fetch_add(1, Relaxed);
            self.missed.samples.fetch_add(samples as u64, Relaxed);
        }
    }
}

/// The queues to the shadows of one chain.
#[derive(Debug, Default)]
pub(super) struct ShadowFeeds(Vec<ShadowFeed>);

impl ShadowFeeds {
    /// Adds a queue, in place of an earlier one to the same shadow.
    pub(super) fn attach(&mut self, feed: ShadowFeed) {
        self.0.retain(|one| !Arc::ptr_eq(&one.missed, &feed.missed));
        self.0.push(feed);
    }

    /// Detaches all shadows, because the state of the chain changes without them. What they miss is
    /// counted until they are attached again.
    pub(super) fn detach(&mut self) {
        self.0.iter_mut().for_each(|feed| feed.queue = None);
    }

    /// The same for those of a chain that is replaced by this one.
    pub(super) fn inherit(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
        self.detach();
    }

    /// Offers a batch that has succeeded. `passages` are what it has become, in order; `down` is
    /// true for a transformer without an instance.
    pub(super) fn offer(
        &mut self,
        (batch, passages): (&JournaledBatch, &[Passage]),
        down: impl Fn(usize) -> bool,
    ) {
        // Of a shadow that has ended, nobody reads the counts.
        self.0.retain(|feed| Arc::strong_count(&feed.missed) > 1);
        for feed in &mut self.0 {
            let is_flushed = !batch.unflushed.contains(&feed.index) && !down(feed.index);
            let calls = calls(feed.index, passages, is_flushed.then_some(batch));
            let samples = calls.iter().map(ShadowCall::samples).sum();
            feed.offer(ShadowBatch { calls }, samples);
        }
    }
}

impl ShadowCall {
    fn samples(&self) -> usize {
        match self {
            Self::Transform(batch, _) | Self::Skipped(batch) => batch.samples.len(),
            Self::Flush(..) => 0,
        }
    }
}

/// The calls of the transformer at an index: what it was given comes right before what it returned.
fn calls(index: usize, passages: &[Passage], flushed: Option<&JournaledBatch>) -> Vec<ShadowCall> {
    let (mut calls, mut returned) = (Vec::new(), None);
    let inputs = passages.iter().map(|passage| &passage.batch);
    let pairs = std::iter::once(None).chain(inputs.map(Some)).zip(passages);
    for (input, passage) in pairs.filter(|(_, passage)| passage.point == TapPoint::After(index)) {
        let Some(input) = input else { continue };
        let (input, output) = (Arc::clone(input), Arc::clone(&passage.batch));
        match passage.outcome {
            PassOutcome::Flushed => returned = Some(output),
            PassOutcome::Transformed | PassOutcome::Rejected(_) => {
                calls.push(ShadowCall::Transform(input, output));
            }
            PassOutcome::Dropped | PassOutcome::Kept => calls.push(ShadowCall::Skipped(input)),
        }
    }
    if let Some(batch) = flushed {
        calls.push(ShadowCall::Flush(batch.batch.cycle_start, returned));
    }
    calls
}
