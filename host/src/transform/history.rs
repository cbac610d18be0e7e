//! What a recovery needs: the last saved state of a chain, and the events since.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::State;
use super::chain::{Decision, Verdict};
use crate::model::{Batch, Position};

/// A save is due after this long: what a recovery has to run again is a matter of seconds.
const EVERY: Duration = Duration::from_secs(10);
/// How much of the time saving may take: its interval is this many times what the last one took.
const SHARE: u32 = 50;
/// A save is due at the latest after this many events or rows, whatever it costs: they are held in
/// memory until then, about 100 bytes a row.
const EVENTS: usize = 256;
const ROWS: usize = 50_000;
/// How many times that may come together while no save succeeds, before the oldest are forgotten.
const UNSAVED: usize = 2;

/// One batch on its way through a chain, with its place in the journal and what was decided on it.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) position: Position,
    pub(super) batch: Arc<Batch>,
    verdicts: Vec<Verdict>,
    /// Stages that were not asked at the end of the tick, because they failed at it.
    pub(super) unflushed: Vec<usize>,
}

impl Event {
    /// The batch at `position` of the journal, with what was decided on it.
    pub fn new(position: Position, batch: &Arc<Batch>, verdicts: &[Verdict]) -> Self {
        let batch = Arc::clone(batch);
        Self { position, batch, verdicts: verdicts.to_vec(), unflushed: Vec::new() }
    }

    /// The same with one more verdict.
    #[must_use]
    pub fn with(mut self, verdict: Verdict) -> Self {
        self.verdicts.push(verdict);
        self
    }

    /// Its place in the journal.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What was decided on the rows that come to a stage.
    pub(super) fn decision(&self, stage: usize) -> Option<Decision> {
        let verdict = self.verdicts.iter().rev().find(|verdict| verdict.stage == stage);
        verdict.map(|verdict| verdict.decision)
    }

    /// How many rows it has: what holding it costs.
    pub fn rows(&self) -> usize {
        self.batch.samples.len()
    }
}

/// The state of all stages at one position, and the events since.
#[derive(Debug)]
pub(super) struct History {
    /// The position of `states`.
    base: Position,
    states: Vec<Option<State>>,
    events: Vec<Event>,
    /// Events and rows since the last save or attempt at one.
    since: (usize, usize),
    last_try: Instant,
    /// What the last save took.
    cost: Duration,
}

impl History {
    /// Of stages that were in these states at `base`.
    pub(super) fn new(base: Position, states: Vec<Option<State>>) -> Self {
        let last_try = Instant::now();
        Self { base, states, events: Vec::new(), since: (0, 0), last_try, cost: Duration::ZERO }
    }

    /// Where the states were saved, and the states.
    pub(super) fn saves(&self) -> (Position, &[Option<State>]) {
        (self.base, &self.states)
    }

    /// What a stage saved last.
    pub(super) fn state(&self, stage: usize) -> Option<&State> {
        self.states[stage].as_ref()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.clone()
    }

    /// The place after the last event.
    pub(super) fn position(&self) -> Position {
        self.events.last().map_or(self.base, |event| event.position)
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
        let wait = EVERY.max(self.cost.saturating_mul(SHARE));
        self.since.0 >= EVENTS
            || self.since.1 >= ROWS
            || (self.since.0 > 0 && self.last_try.elapsed() >= wait)
    }

    /// All stages were saved after the last event, which took so long.
    pub(super) fn saved(&mut self, states: Vec<Option<State>>, cost: Duration) {
        self.base = self.position();
        self.states = states;
        self.events.clear();
        self.cost = cost;
        self.tried();
    }

    /// The next attempt comes when as much again has come.
    pub(super) fn tried(&mut self) {
        self.since = (0, 0);
        self.last_try = Instant::now();
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
