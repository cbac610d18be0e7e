//! What a recovery needs: the last saved state of a chain, and the events since.

use std::time::Duration;

use tokio::time::Instant;

use super::State;
use super::journaled_batch::JournaledBatch;
use super::window::Window;
use nephometer_model::Offset;

/// A save is due after this long: what a recovery has to run again is a matter of seconds.
const EVERY: Duration = Duration::from_secs(10);
/// How much of the time saving may take: its interval is this many times what the last one took.
const SHARE: u32 = 50;
/// A save is due at the latest after this many events or rows, whatever it costs: they are held in
/// memory until then, about 100 bytes a row, with the resources that they are of.
const EVENTS: usize = 256;
const ROWS: usize = 50_000;
/// The same for resources with much metadata.
const BYTES: usize = 32 << 20;
/// How many times that may come together while no save succeeds, before the oldest are forgotten.
const UNSAVED: usize = 2;

/// The state of all stages at one position, and the events since.
#[derive(Debug)]
pub(super) struct History {
    /// The position of `states`.
    snapshot: Offset,
    states: Vec<Option<State>>,
    events: Window,
    /// Events, rows and bytes since the last save or attempt at one.
    since: (usize, usize, usize),
    last_try: Instant,
    /// What the last save took.
    cost: Duration,
}

impl History {
    /// Of stages that were in these states at `snapshot`.
    pub(super) fn new(snapshot: Offset, states: Vec<Option<State>>) -> Self {
        let last_try = Instant::now();
        let (events, since) = (Window::default(), (0, 0, 0));
        Self { snapshot, states, events, since, last_try, cost: Duration::ZERO }
    }

    /// Where the states were saved, and the states.
    pub(super) fn saves(&self) -> (Offset, &[Option<State>]) {
        (self.snapshot, &self.states)
    }

    /// What a stage saved last.
    pub(super) fn state(&self, slot: usize) -> Option<&State> {
        self.states[slot].as_ref()
    }

    pub(super) fn events(&self) -> Vec<JournaledBatch> {
        self.events.events().to_vec()
    }

    /// The place after the last event.
    pub(super) fn offset(&self) -> Offset {
        self.events.events().last().map_or(self.snapshot, |event| event.offset)
    }

    /// Adds an event. How many were forgotten for it.
    pub(super) fn push(&mut self, event: JournaledBatch) -> usize {
        let before = self.events.bytes();
        self.since.0 += 1;
        self.since.1 += event.rows();
        self.events.push(event);
        self.since.2 += self.events.bytes() - before;
        let count = self.events.events().len();
        let (mut rows, mut surplus) = (self.events.rows(), 0);
        // The newest one stays, whatever its size.
        while count - surplus > 1 && (count - surplus > EVENTS * UNSAVED || rows > ROWS * UNSAVED) {
            rows -= self.events.events()[surplus].rows();
            surplus += 1;
        }
        self.events.forget(surplus);
        // Resources that several events share are let go with the last of them.
        while self.events.bytes() > BYTES * UNSAVED && self.events.events().len() > 1 {
            let half = self.events.events().len() / 2;
            self.events.forget(half);
            surplus += half;
        }
        surplus
    }

    pub(super) fn is_due(&self) -> bool {
        let wait = EVERY.max(self.cost.saturating_mul(SHARE));
        self.since.0 >= EVENTS
            || self.since.1 >= ROWS
            || self.since.2 >= BYTES
            || (self.since.0 > 0 && self.last_try.elapsed() >= wait)
    }

    /// All stages were saved after the last event, which took so long.
    pub(super) fn saved(&mut self, states: Vec<Option<State>>, cost: Duration) {
        self.snapshot = self.offset();
        self.states = states;
        self.events.clear();
        self.cost = cost;
        self.tried();
    }

    /// The next attempt comes when as much again has come.
    pub(super) fn tried(&mut self) {
        self.since = (0, 0, 0);
        self.last_try = Instant::now();
    }

    /// An event that a stage can no longer work on goes past it from now on.
    pub(super) fn pass_over(&mut self, offset: usize, slot: usize, flushing: bool) {
        let event = self.events.event_mut(offset);
        if flushing {
            event.unflushed.push(slot);
        } else {
            event.drop_at(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use nephometer_model::{Batch, Meter, MeterType, Moment, Resource, Sample, Volume};

    /// One sample of this resource.
    fn event(offset: Offset, resource: &Arc<Resource>) -> JournaledBatch {
        let sample = Sample {
            id: uuid::Uuid::nil(),
            meter: Arc::new(Meter::new("m", MeterType::Gauge, "")),
            resource: Arc::clone(resource),
            volume: Volume::Integer(1),
            taken: Moment::default(),
        };
        let (source, cycle_start, gone) = ("s".into(), Moment::default(), Vec::new());
        JournaledBatch::new(
            offset,
            &Arc::new(Batch { source, cycle_start, samples: vec![sample], gone }),
            &[],
        )
    }

    fn resource(bytes: usize) -> Arc<Resource> {
        let mut resource = Resource { id: "r".into(), ..Resource::default() };
        resource.metadata.insert("x".to_owned(), "x".repeat(bytes).into());
        Arc::new(resource)
    }

    #[test]
    fn a_resource_counts_once_and_large_ones_make_a_save_due_and_are_forgotten() {
        let mut history = History::new(0, Vec::new());
        let shared = resource(1 << 20);
        for offset in 1..=100 {
            assert_eq!(history.push(event(offset, &shared)), 0);
        }
        assert!(!history.is_due() && history.events.bytes() < 2 << 20);
        let mut forgotten = 0;
        for offset in 101..=131 {
            forgotten += history.push(event(offset, &resource(1 << 20)));
        }
        assert!(history.is_due() && forgotten == 0);
        for offset in 132..=300 {
            forgotten += history.push(event(offset, &resource(1 << 20)));
            assert!(history.events.bytes() <= BYTES * UNSAVED);
        }
        let left = history.events();
        assert_eq!((left.len() + forgotten, history.offset()), (300, 300));
        // One event may be larger than all of that.
        history.push(event(301, &resource(BYTES * UNSAVED)));
        assert_eq!(history.events().len(), 1);
    }
}
