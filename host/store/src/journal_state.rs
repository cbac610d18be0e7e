//! The journal in memory: its entries, the sinks of each, and how far every sink is.
//!
//! Plain values without locks or disk access. The journal locks them and decides what is written.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::offsets::{OffsetTracker, SinkOffset};
use nephometer_model::{Batch, Gap, Offset};
use nephometer_proof::DeclaredDrop;
use nephometer_telemetry::{Dropped, SinkCount};

/// Samples of the newest batches that stay in memory, about 100 bytes each, for sinks that keep up.
/// Sinks that lag read theirs from the disk.
const MAX_RESIDENT_SAMPLES: u64 = 50_000;

/// Gaps that are buffered in memory while the disk fails.
const MAX_BUFFERED_GAPS: usize = 10_000;

/// The size limits of the journal. Past one the oldest batches are dropped, and counted for the sinks
/// that have not processed them.
#[derive(Debug, Clone, Copy)]
pub struct JournalBounds {
    /// Bytes of all batches, as encoded on disk.
    pub bytes: u64,
    /// Samples of all batches. A batch counts as one more than it has, so that empty ones are bounded.
    pub samples: u64,
    /// Age of the oldest batch, from the start of its polling cycle.
    pub age: Option<Duration>,
}

/// One batch in the journal.
#[derive(Debug)]
pub(super) struct BatchSlot {
    /// The sinks that it is for; fixed when it is appended.
    pub(super) sinks: Vec<Arc<str>>,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    /// Nanoseconds since the epoch.
    pub(super) cycle_start: u64,
    /// `None` if it is only on disk.
    pub(super) batch: Option<Arc<Batch>>,
    pub(super) on_disk: bool,
}

/// What a sink gets when it reads on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// A batch.
    Batch(T),
    /// Nothing yet.
    Later,
    /// Nothing any more: the journal is closed and read to its end.
    End,
}

/// How far one sink is.
#[derive(Debug)]
pub(super) struct SinkCursor {
    pub(super) sources: HashSet<Arc<str>>,
    /// The last processed batch.
    pub(super) processed: Offset,
    /// The batch that the sink is processing.
    pub(super) leased: Option<Offset>,
    /// The emitted offset.
    pub(super) tracker: OffsetTracker,
    /// The offset of the last saved state.
    pub(super) saved: Offset,
    /// Batches up to this offset were counted by an earlier run.
    pub(super) counted: Offset,
    pub(super) counts: Arc<SinkCount>,
    /// Batches that were dropped before the sink read them, for the streams of its publishers.
    pub(super) undeclared: Vec<DeclaredDrop>,
}

impl SinkCursor {
    /// Counts the samples of a batch as dropped.
    pub(super) fn drop_samples(&mut self, reason: Dropped, samples: u64, cycle_start: u64) {
        self.counts.dropped.add(reason, samples);
        let drop = DeclaredDrop {
            reason: reason.as_str().to_owned(),
            samples,
            begin: cycle_start,
            until: cycle_start,
            ..DeclaredDrop::default()
        };
        if !self.undeclared.last_mut().is_some_and(|last| last.merge(&drop)) {
            self.undeclared.push(drop);
        }
    }
}

/// The whole journal.
#[derive(Debug)]
pub(super) struct JournalState {
    pub(super) slots: BTreeMap<Offset, BatchSlot>,
    pub(super) cursors: HashMap<Arc<str>, SinkCursor>,
    resident: VecDeque<Offset>,
    pub(super) next: Offset,
    pub(super) closed: bool,
    /// Whether batches are needed again after a restart.
    pub(super) durable: bool,
    /// Gaps that are not on disk yet.
    pub(super) gaps: Vec<Gap>,
    samples: u64,
    bytes: u64,
    resident_samples: u64,
}

impl JournalState {
    pub(super) fn new(durable: bool) -> Self {
        Self {
            slots: BTreeMap::new(),
            cursors: HashMap::new(),
            resident: VecDeque::new(),
            next: 1,
            closed: false,
            durable,
            gaps: Vec::new(),
            samples: 0,
            bytes: 0,
            resident_samples: 0,
        }
    }

    /// Buffers gaps again that could not be written. Past the bound the oldest are dropped.
    pub(super) fn rebuffer_gaps(&mut self, mut gaps: Vec<Gap>) {
        gaps.append(&mut self.gaps);
        let surplus = gaps.len().saturating_sub(MAX_BUFFERED_GAPS);
        gaps.drain(..surplus);
        self.gaps = gaps;
    }

    /// The sinks that read a source, sorted.
    pub(super) fn sinks_of(&self, source: &str) -> Vec<Arc<str>> {
        let readers = self.cursors.iter().filter(|(_, cursor)| cursor.sources.contains(source));
        let mut sinks: Vec<Arc<str>> = readers.map(|(sink, _)| Arc::clone(sink)).collect();
        sinks.sort();
        sinks
    }

    /// Adds a new batch, and counts it for its sinks.
    pub(super) fn append(&mut self, offset: Offset, slot: BatchSlot) {
        for cursor in slot.sinks.iter().filter_map(|sink| self.cursors.get(sink)) {
            cursor.counts.entered.fetch_add(slot.samples, Relaxed);
            cursor.counts.pending.fetch_add(slot.samples, Relaxed);
        }
        self.insert(offset, slot);
    }

    /// Adds a batch without counting it.
    pub(super) fn insert(&mut self, offset: Offset, slot: BatchSlot) {
        self.samples += slot.samples;
        self.bytes += slot.bytes;
        if slot.batch.is_some() {
            self.resident.push_back(offset);
            self.resident_samples += slot.samples;
        }
        self.slots.insert(offset, slot);
        self.next = self.next.max(offset + 1);
        self.evict_resident();
    }

    /// Frees the memory of old batches that are on disk.
    fn evict_resident(&mut self) {
        let mut kept = VecDeque::new();
        while self.resident_samples > MAX_RESIDENT_SAMPLES && self.resident.len() > 1 {
            let Some(offset) = self.resident.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&offset) else { continue };
            if slot.on_disk {
                slot.batch = None;
                self.resident_samples -= slot.samples;
            } else {
                kept.push_back(offset);
            }
        }
        while let Some(offset) = kept.pop_back() {
            self.resident.push_front(offset);
        }
    }

    pub(super) fn remove(&mut self, offset: Offset) -> Option<BatchSlot> {
        let slot = self.slots.remove(&offset)?;
        self.samples -= slot.samples;
        self.bytes -= slot.bytes;
        if slot.batch.is_some() {
            self.resident.retain(|resident| *resident != offset);
            self.resident_samples -= slot.samples;
        }
        Some(slot)
    }

    /// Removes batches that no sink needs any more, and returns their offsets.
    pub(super) fn remove_unneeded(&mut self) -> Vec<Offset> {
        let unneeded = |(offset, slot): (&Offset, &BatchSlot)| {
            let needs = |sink: &Arc<str>| {
                self.cursors.get(sink).is_some_and(|cursor| {
                    cursor.processed < *offset
                        || self.durable && cursor.tracker.emitted().min(cursor.saved) < *offset
                })
            };
            (!slot.sinks.iter().any(needs)).then_some(*offset)
        };
        let removed: Vec<Offset> = self.slots.iter().filter_map(unneeded).collect();
        for offset in &removed {
            self.remove(*offset);
        }
        removed
    }

    /// Whether `more` samples exceed the bound, counting only batches that sinks have yet to process.
    pub(super) fn is_full(&self, more: u64, bounds: JournalBounds) -> bool {
        let pending = |(offset, slot): (&Offset, &BatchSlot)| {
            let lags = |sink| self.cursors.get(sink).is_some_and(|one| one.processed < *offset);
            slot.sinks.iter().any(lags).then_some(slot.samples + 1)
        };
        let pending: u64 = self.slots.iter().filter_map(pending).sum();
        pending > 0 && pending + more > bounds.samples
    }

    /// Whether a journal that drops the newest has no room for a batch. If so, counts it as dropped
    /// for its sinks.
    pub(super) fn drop_newest(
        &mut self,
        sinks: &[Arc<str>],
        (samples, cycle_start): (u64, u64),
        bounds: JournalBounds,
    ) -> bool {
        let count = self.slots.len() as u64;
        let full = self.samples + count + samples >= bounds.samples || self.bytes >= bounds.bytes;
        if full {
            for sink in sinks {
                let Some(cursor) = self.cursors.get_mut(sink) else { continue };
                cursor.counts.entered.fetch_add(samples, Relaxed);
                cursor.drop_samples(Dropped::JournalFull, samples, cycle_start);
            }
        }
        full
    }

    /// Drops the oldest batches to make room for a new one, but none that a sink is processing.
    pub(super) fn make_room(
        &mut self,
        samples: u64,
        bytes: u64,
        cycle_start: u64,
        bounds: JournalBounds,
    ) -> Vec<(Offset, BatchSlot)> {
        let oldest = bounds.age.map_or(0, |age| {
            cycle_start.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
        });
        let mut dropped = Vec::new();
        loop {
            let leased = |offset: &Offset| {
                self.cursors.values().any(|cursor| cursor.leased == Some(*offset))
            };
            let first = self.slots.iter().find(|(offset, _)| !leased(offset));
            let Some((&offset, slot)) = first else { break };
            let count = self.slots.len() as u64;
            let fits = self.samples + count + samples < bounds.samples
                && self.bytes + bytes <= bounds.bytes
                && slot.cycle_start >= oldest;
            if fits {
                break;
            }
            self.count_dropped(offset, Dropped::JournalFull);
            dropped.extend(self.remove(offset).map(|slot| (offset, slot)));
        }
        dropped
    }

    /// Counts a batch as dropped for all sinks that have not processed it.
    pub(super) fn count_dropped(&mut self, offset: Offset, reason: Dropped) {
        let Self { slots, cursors, .. } = self;
        let Some(slot) = slots.get(&offset) else { return };
        for sink in &slot.sinks {
            if let Some(cursor) = cursors.get_mut(sink)
                && cursor.processed.max(cursor.counted) < offset
            {
                cursor.drop_samples(reason, slot.samples, slot.cycle_start);
                cursor.counts.pending.fetch_sub(slot.samples, Relaxed);
            }
        }
    }

    /// Leases the next batch to a sink: the first after its last processed one.
    ///
    /// The batches and the end are seen at the same moment. Looked at one after the other, a batch that
    /// was appended in between, with the end right after it, was not read.
    pub(super) fn lease_next(&mut self, sink: &str) -> Next<Offset> {
        let Self { slots, cursors, closed, .. } = self;
        let next = cursors.get_mut(sink).and_then(|cursor| {
            let mut after = slots.range(cursor.processed + 1..);
            let next = after.find(|(_, slot)| slot.sinks.iter().any(|one| **one == *sink));
            next.map(|(offset, _)| *cursor.leased.insert(*offset))
        });
        match next {
            Some(offset) => Next::Batch(offset),
            None if *closed => Next::End,
            None => Next::Later,
        }
    }

    /// Emitted offsets that are not on disk, with the counters at each.
    pub(super) fn unwritten_offsets(&self) -> Vec<SinkOffset> {
        let cursors = self.cursors.iter();
        cursors.filter_map(|(sink, cursor)| cursor.tracker.unwritten(sink)).collect()
    }

    /// Records that emitted offsets are on disk.
    pub(super) fn mark_written(&mut self, sink_offsets: &[SinkOffset]) {
        for sink_offset in sink_offsets {
            if let Some(cursor) = self.cursors.get_mut(&sink_offset.sink) {
                cursor.tracker.mark_written(sink_offset);
            }
        }
    }

    /// Samples in batches for a sink after an offset.
    pub(super) fn samples_after(&self, sink: &Arc<str>, offset: Offset) -> u64 {
        let after = self.slots.range(offset + 1..);
        after.filter(|(_, slot)| slot.sinks.contains(sink)).map(|(_, slot)| slot.samples).sum()
    }

    /// Adds a sink, new or from an earlier run.
    pub(super) fn register(&mut self, sink: &Arc<str>, cursor: SinkCursor) {
        self.cursors.insert(Arc::clone(sink), cursor);
    }
}
