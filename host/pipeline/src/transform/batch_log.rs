//! Batches that are kept to be processed again, and the memory that they take. Consecutive batches
//! share most resources, so that a shared resource counts once.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::journaled_batch::JournaledBatch;
use nephometer_model::Resource;

/// Memory of a sample without its meter and its resource, in bytes.
const SAMPLE_BYTES: usize = 128;
/// Memory of a metadata value without its text, in bytes.
const VALUE_BYTES: usize = 64;

/// Batches in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct BatchLog {
    batches: Vec<JournaledBatch>,
    samples: usize,
    bytes: usize,
    /// Addresses of resources in `batches`, which keep them alive.
    resources: HashSet<usize>,
}

impl BatchLog {
    /// Appends a batch.
    pub(crate) fn push(&mut self, batch: JournaledBatch) {
        self.samples += batch.samples();
        self.bytes += batch.samples() * SAMPLE_BYTES;
        for sample in &batch.batch.samples {
            if self.resources.insert(Arc::as_ptr(&sample.resource).addr()) {
                self.bytes += resource_bytes(&sample.resource);
            }
        }
        self.batches.push(batch);
    }

    /// The batches, oldest first.
    pub(crate) fn batches(&self) -> &[JournaledBatch] {
        &self.batches
    }

    /// The batches, oldest first, by value.
    pub(crate) fn into_batches(self) -> Vec<JournaledBatch> {
        self.batches
    }

    pub(super) fn batch_mut(&mut self, index: usize) -> &mut JournaledBatch {
        &mut self.batches[index]
    }

    /// Number of samples in all batches.
    pub(crate) fn samples(&self) -> usize {
        self.samples
    }

    /// Estimated memory of all batches, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes the oldest `count` batches.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        if count > 0 {
            let rest = self.batches.split_off(count);
            self.clear();
            rest.into_iter().for_each(|batch| self.push(batch));
        }
    }
}

fn resource_bytes(resource: &Resource) -> usize {
    let metadata = resource.metadata.iter();
    let metadata = metadata.map(|(key, value)| key.len() + VALUE_BYTES + text_bytes(value));
    size_of::<Resource>() + resource.id.len() + metadata.sum::<usize>()
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| VALUE_BYTES + text_bytes(value)).sum(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| key.len() + VALUE_BYTES + text_bytes(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
