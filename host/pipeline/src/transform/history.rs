//! What a recovery needs: the last saved states of a chain, and the batches since.
//!
//! The history decides when the next save is due and bounds its own memory. It runs no transformer.

use std::time::Duration;

use tokio::time::Instant;

use super::State;
use super::batch_log::BatchLog;
use super::journaled_batch::JournaledBatch;
use nephometer_model::Offset;

/// A save is due after this long: a recovery then processes a few seconds of batches again.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// The interval is at least this many times the duration of the last save: saving takes 2% of the
/// time at most.
const SAVE_COST_FACTOR: u32 = 50;
/// A save is due after this many batches or samples, whatever it costs: they stay in memory until
/// then, about 100 bytes a sample, with their resources.
const MAX_BATCHES: usize = 256;
const MAX_SAMPLES: usize = 50_000;
/// The same for resources with much metadata.
const MAX_BYTES: usize = 32 << 20;
/// While saves fail, the history grows to this many times these bounds before it drops batches.
const UNSAVED_FACTOR: usize = 2;

/// The saved states of all transformers at one offset, and the batches since.
#[derive(Debug)]
pub(super) struct History {
    /// Offset of `states`.
    saved: Offset,
    states: Vec<Option<State>>,
    log: BatchLog,
    since_save: Growth,
    last_attempt: Instant,
    /// Duration of the last save.
    save_cost: Duration,
}

/// What was added since the last save or attempt at one.
#[derive(Debug, Default)]
struct Growth {
    batches: usize,
    samples: usize,
    bytes: usize,
}

impl History {
    /// A history that starts with these states, saved at `saved`.
    pub(super) fn new(saved: Offset, states: Vec<Option<State>>) -> Self {
        Self {
            saved,
            states,
            log: BatchLog::default(),
            since_save: Growth::default(),
            last_attempt: Instant::now(),
            save_cost: Duration::ZERO,
        }
    }

    /// The saved states and their offset.
    pub(super) fn saved_states(&self) -> (Offset, &[Option<State>]) {
        (self.saved, &self.states)
    }

    /// The saved state of one transformer.
    pub(super) fn state(&self, transformer_index: usize) -> Option<&State> {
        self.states[transformer_index].as_ref()
    }

    /// The batches since the save.
    pub(super) fn batches(&self) -> Vec<JournaledBatch> {
        self.log.batches().to_vec()
    }

    /// Offset of the last batch.
    pub(super) fn offset(&self) -> Offset {
        self.log.batches().last().map_or(self.saved, |batch| batch.offset)
    }

    /// Appends a batch. Returns how many old batches were dropped to stay within the bounds.
    pub(super) fn push(&mut self, batch: JournaledBatch) -> usize {
        let before = self.log.bytes();
        self.since_save.batches += 1;
        self.since_save.samples += batch.samples();
        self.log.push(batch);
        self.since_save.bytes += self.log.bytes() - before;
        let count = self.log.batches().len();
        let (mut samples, mut dropped) = (self.log.samples(), 0);
        // The newest batch stays, whatever its size.
        while count - dropped > 1
            && (count - dropped > MAX_BATCHES * UNSAVED_FACTOR
                || samples > MAX_SAMPLES * UNSAVED_FACTOR)
        {
            samples -= self.log.batches()[dropped].samples();
            dropped += 1;
        }
        self.log.drop_oldest(dropped);
        // A resource that several batches share is freed with the last of them.
        while self.log.bytes() > MAX_BYTES * UNSAVED_FACTOR && self.log.batches().len() > 1 {
            let half = self.log.batches().len() / 2;
            self.log.drop_oldest(half);
            dropped += half;
        }
        dropped
    }

    /// Whether the next save is due.
    pub(super) fn is_due(&self) -> bool {
        let interval = SAVE_INTERVAL.max(self.save_cost.saturating_mul(SAVE_COST_FACTOR));
        self.since_save.batches >= MAX_BATCHES
            || self.since_save.samples >= MAX_SAMPLES
            || self.since_save.bytes >= MAX_BYTES
            || (self.since_save.batches > 0 && self.last_attempt.elapsed() >= interval)
    }

    /// Replaces the saved states by those after the last batch. `cost` is how long saving took.
    pub(super) fn save(&mut self, states: Vec<Option<State>>, cost: Duration) {
        self.saved = self.offset();
        self.states = states;
        self.log.clear();
        self.save_cost = cost;
        self.postpone_save();
    }

    /// Lets as much be added again before the next save is due.
    pub(super) fn postpone_save(&mut self) {
        self.since_save = Growth::default();
        self.last_attempt = Instant::now();
    }

    /// Makes the batch at `index` bypass a transformer that fails on it when it is processed again.
    pub(super) fn skip(&mut self, index: usize, transformer_index: usize, flushing: bool) {
        let batch = self.log.batch_mut(index);
        if flushing {
            batch.unflushed.push(transformer_index);
        } else {
            batch.drop_at(transformer_index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Volume};

    /// A batch with one sample of this resource.
    fn journaled(offset: Offset, resource: &Arc<Resource>) -> JournaledBatch {
        let sample = Sample {
            id: uuid::Uuid::nil(),
            meter: Arc::new(Meter::new("m", MeterType::Gauge, "")),
            resource: Arc::clone(resource),
            volume: Volume::Integer(1),
            taken: Moment::default(),
        };
        let (source, cycle_start, removed) = ("s".into(), Moment::default(), Vec::new());
        JournaledBatch::new(
            offset,
            &Arc::new(Batch { source, cycle_start, samples: vec![sample], removed }),
            &[],
        )
    }

    fn resource(bytes: usize) -> Arc<Resource> {
        let mut resource = Resource { id: "r".into(), ..Resource::default() };
        resource.metadata.insert("x".to_owned(), "x".repeat(bytes).into());
        Arc::new(resource)
    }

    #[test]
    fn a_shared_resource_counts_once_and_large_ones_are_dropped_beyond_the_bound() {
        let mut history = History::new(0, Vec::new());
        let shared = resource(1 << 20);
        for offset in 1..=100 {
            assert_eq!(history.push(journaled(offset, &shared)), 0);
        }
        assert!(!history.is_due() && history.log.bytes() < 2 << 20);
        let mut dropped = 0;
        for offset in 101..=131 {
            dropped += history.push(journaled(offset, &resource(1 << 20)));
        }
        assert!(history.is_due() && dropped == 0);
        for offset in 132..=300 {
            dropped += history.push(journaled(offset, &resource(1 << 20)));
            assert!(history.log.bytes() <= MAX_BYTES * UNSAVED_FACTOR);
        }
        let kept = history.batches();
        assert_eq!((kept.len() + dropped, history.offset()), (300, 300));
        // A single batch may exceed the bound.
        history.push(journaled(301, &resource(MAX_BYTES * UNSAVED_FACTOR)));
        assert_eq!(history.batches().len(), 1);
    }
}
