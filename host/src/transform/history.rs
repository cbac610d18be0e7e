//! What a recovery needs: the last saved state of a chain, and the events since.

use std::sync::Arc;

use super::chain::{Decision, Verdict};
use crate::model::Batch;

/// A save is due after this many events: a recovery runs at most these again.
const EVENTS: usize = 16;
/// Or after this many rows, about 1 MiB of samples: large batches are not kept longer than they
/// are worth, as saving costs about as much per series as running.
const ROWS: usize = 10_000;
/// How many times that may come together while no save succeeds, before the oldest are forgotten.
const UNSAVED: usize = 4;

/// One batch that passed a chain, with what was decided on it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) batch: Arc<Batch>,
    verdicts: Vec<Verdict>,
    /// Stages that were not asked at the end of the tick, because they failed at it.
    pub(super) unflushed: Vec<usize>,
}

impl Event {
    pub(super) fn new(batch: &Arc<Batch>, verdicts: &[Verdict]) -> Self {
        let batch = Arc::clone(batch);
        Self { batch, verdicts: verdicts.to_vec(), unflushed: Vec::new() }
    }

    /// What was decided on the rows that come to a stage.
    pub(super) fn decision(&self, stage: usize) -> Option<Decision> {
        let verdict = self.verdicts.iter().rev().find(|verdict| verdict.stage == stage);
        verdict.map(|verdict| verdict.decision)
    }

    fn rows(&self) -> usize {
        self.batch.samples.len()
    }
}

/// The state of all stages at one position, and the events since.
#[derive(Debug)]
pub(super) struct History {
    states: Vec<Option<Vec<u8>>>,
    events: Vec<Event>,
    /// Events and rows since the last save or attempt at one.
    since: (usize, usize),
}

impl History {
    /// Of new stages.
    pub(super) fn new(stages: usize) -> Self {
        Self { states: vec![None; stages], events: Vec::new(), since: (0, 0) }
    }

    /// What a stage saved last.
    pub(super) fn state(&self, stage: usize) -> Option<&[u8]> {
        self.states[stage].as_deref()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.clone()
    }

    /// Adds an event. How many were forgotten for it.
    pub(super) fn push(&mut self, event: Event) -> usize {
        self.since.0 += 1;
        self.since.1 += event.rows();
        self.events.push(event);
        let mut rows: usize = self.events.iter().map(Event::rows).sum();
        let mut surplus = 0;
        // The newest one stays, whatever its size.
        while self.events.len() - surplus > 1
            && (self.events.len() - surplus > EVENTS * UNSAVED || rows > ROWS * UNSAVED)
        {
            rows -= self.events[surplus].rows();
            surplus += 1;
        }
        self.events.drain(..surplus);
        surplus
    }

    pub(super) fn is_due(&self) -> bool {
        self.since.0 >= EVENTS || self.since.1 >= ROWS
    }

    pub(super) fn saved(&mut self, states: Vec<Option<Vec<u8>>>) {
        self.states = states;
        self.events.clear();
        self.since = (0, 0);
    }

    /// The next attempt comes when as much again has come.
    pub(super) fn not_saved(&mut self) {
        self.since = (0, 0);
    }

    /// An event that a stage can no longer work on goes past it from now on.
    pub(super) fn pass_over(&mut self, position: usize, stage: usize, flushing: bool) {
        let event = &mut self.events[position];
        if flushing {
            event.unflushed.push(stage);
        } else {
            event.verdicts.push(Verdict { stage, decision: Decision::Drop });
        }
    }
}
