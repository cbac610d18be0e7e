//! Names for what a stage makes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use uuid::Uuid;

use nephometer_model::{About, Computed, HostId, Sample};

/// Samples of one stage that are remembered, at least, to tell equals apart: those of the last
/// tick of a large host, and those of many ticks of a small one.
const REMEMBERED: usize = 16_384;

type ById<T> = HashMap<Uuid, T, BuildHasherDefault<IdHasher>>;

/// Ids are hashes already, of names that no guest chooses alone: a part of one is as good as any.
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

/// Gives ids to the samples that a stage made: the same ones again when an event is run again,
/// and others to samples that are equal in all that an id is made from.
#[derive(Debug)]
pub(super) struct Names {
    host_id: HostId,
    sink: Arc<str>,
    slot: usize,
    /// How often the id of ordinal 0 was made, in events that are done: the newer and the older
    /// half of what is remembered.
    newer: ById<usize>,
    older: ById<usize>,
    /// The same in the event that is being run.
    pending: ById<usize>,
}

impl Names {
    pub(super) fn new(host_id: HostId, sink: Arc<str>, slot: usize) -> Self {
        let (newer, older, pending) = (ById::default(), ById::default(), ById::default());
        Self { host_id, sink, slot, newer, older, pending }
    }

    /// Names those that have no name yet, and says how many.
    pub(super) fn name(&mut self, samples: &mut [Sample]) -> u64 {
        let mut made = 0;
        for sample in samples.iter_mut().filter(|sample| sample.id.is_nil()) {
            let first = self.id(sample, 0);
            let pending = self.pending.entry(first).or_insert(0);
            let done = self.newer.get(&first).or_else(|| self.older.get(&first)).unwrap_or(&0);
            let ordinal = done + *pending;
            *pending += 1;
            sample.id = if ordinal == 0 { first } else { self.id(sample, ordinal) };
            made += 1;
        }
        made
    }

    fn id(&self, sample: &Sample, ordinal: usize) -> Uuid {
        let by = Computed { sink: &self.sink, slot: self.slot, ordinal };
        let about = About {
            source: &sample.resource.source,
            resource_id: &sample.resource.id,
            meter: &sample.meter.name,
            time: sample.taken.wall,
        };
        self.host_id.computed(by, about)
    }

    /// The event is done: what it made counts.
    pub(super) fn commit(&mut self) {
        for (id, count) in self.pending.drain() {
            let before = self.newer.get(&id).or_else(|| self.older.get(&id)).unwrap_or(&0);
            let total = before + count;
            self.newer.insert(id, total);
        }
        if self.newer.len() > REMEMBERED {
            // The room of the older half is used again.
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
    }

    /// The event will be run again: what it made does not count.
    pub(super) fn roll_back(&mut self) {
        self.pending.clear();
    }
}
