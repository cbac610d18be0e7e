//! Events that are kept to be run again, and what they take in memory. Consecutive batches share most
//! resources, so that a resource counts once.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::journaled_batch::JournaledBatch;
use nephometer_model::Resource;

/// What a sample takes besides its meter and its resource, bytes.
const SAMPLE: usize = 128;
/// What a value of metadata takes besides its text, bytes.
const VALUE: usize = 64;

/// Events in their order.
#[derive(Debug, Default)]
pub struct Window {
    events: Vec<JournaledBatch>,
    rows: usize,
    bytes: usize,
    /// Addresses of their resources, which they keep alive.
    resources: HashSet<usize>,
}

impl Window {
    /// Adds an event.
    pub fn push(&mut self, event: JournaledBatch) {
        self.rows += event.rows();
        self.bytes += event.rows() * SAMPLE;
        for sample in &event.batch.samples {
            if self.resources.insert(Arc::as_ptr(&sample.resource).addr()) {
                self.bytes += weight(&sample.resource);
            }
        }
        self.events.push(event);
    }

    /// The events.
    pub fn events(&self) -> &[JournaledBatch] {
        &self.events
    }

    /// The same, given away.
    pub(crate) fn into_events(self) -> Vec<JournaledBatch> {
        self.events
    }

    pub(super) fn event_mut(&mut self, place: usize) -> &mut JournaledBatch {
        &mut self.events[place]
    }

    /// How many samples there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What they take in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the oldest `count`.
    pub(super) fn forget(&mut self, count: usize) {
        if count > 0 {
            let rest = self.events.split_off(count);
            self.clear();
            rest.into_iter().for_each(|event| self.push(event));
        }
    }
}

fn weight(resource: &Resource) -> usize {
    let fields = resource.metadata.iter().map(|(key, value)| key.len() + VALUE + of(value));
    size_of::<Resource>() + resource.id.len() + fields.sum::<usize>()
}

fn of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| VALUE + of(value)).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + VALUE + of(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
