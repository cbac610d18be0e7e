//! Ids of the samples that a transformer makes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use uuid::Uuid;

use nephometer_model::{About, Computed, HostId, Sample};

/// Ids per transformer that are remembered, at least, to number samples of equal origin: those of
/// the last polling cycle of a large host, or of many cycles of a small one.
const REMEMBERED: usize = 16_384;

type ById<T> = HashMap<Uuid, T, BuildHasherDefault<IdHasher>>;

/// Ids are hashes of names that no guest chooses alone, so that any eight bytes of them will do.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.rchunks_exact(8) {
            self.0 = u64::from_le_bytes(part.try_into().expect("parts of 8 bytes"));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Assigns ids to the samples that one transformer makes: the same ids when a batch is processed
/// again, and different ids to samples that agree in everything that an id is derived from.
#[derive(Debug)]
pub(super) struct SampleIds {
    host_id: HostId,
    sink: Arc<str>,
    transformer_index: usize,
    /// How often the id of ordinal 0 was assigned in committed batches: the newer and the older
    /// half of what is remembered.
    newer: ById<usize>,
    older: ById<usize>,
    /// The same for the current batch.
    pending: ById<usize>,
}

impl SampleIds {
    pub(super) fn new(host_id: HostId, sink: Arc<str>, transformer_index: usize) -> Self {
        let (newer, older, pending) = (ById::default(), ById::default(), ById::default());
        Self { host_id, sink, transformer_index, newer, older, pending }
    }

    /// Assigns ids to samples with the nil id. Returns their number.
    pub(super) fn assign(&mut self, samples: &mut [Sample]) -> u64 {
        let mut assigned = 0;
        for sample in samples.iter_mut().filter(|sample| sample.id.is_nil()) {
            let first = self.id(sample, 0);
            let pending = self.pending.entry(first).or_insert(0);
            let committed = self.newer.get(&first).or_else(|| self.older.get(&first)).unwrap_or(&0);
            let ordinal = committed + *pending;
            *pending += 1;
            sample.id = if ordinal == 0 { first } else { self.id(sample, ordinal) };
            assigned += 1;
        }
        assigned
    }

    fn id(&self, sample: &Sample, ordinal: usize) -> Uuid {
        let by = Computed { sink: &self.sink, transformer_index: self.transformer_index, ordinal };
        let about = About {
            source: &sample.resource.source,
            resource_id: &sample.resource.id,
            meter: &sample.meter.name,
            time: sample.taken.wall,
        };
        self.host_id.computed(by, about)
    }

    /// Commits the ids of the current batch.
    pub(super) fn commit(&mut self) {
        for (id, count) in self.pending.drain() {
            let before = self.newer.get(&id).or_else(|| self.older.get(&id)).unwrap_or(&0);
            let total = before + count;
            self.newer.insert(id, total);
        }
        if self.newer.len() > REMEMBERED {
            // Clearing the older half keeps its capacity for reuse.
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
    }

    /// Discards the ids of the current batch, which will be processed again.
    pub(super) fn roll_back(&mut self) {
        self.pending.clear();
    }
}
