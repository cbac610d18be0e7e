//! What the journal knows without reading it: which batches there are, who wants them, and how far
//! everybody is. Plain values; who locks it, and what is written, is the journal's.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::offsets::{OffsetTracker, SinkOffset};
use nephometer_model::{Batch, Gap, Offset};
use nephometer_telemetry::{Dropped, SinkCount};

/// Samples of the newest batches that stay in memory, about 100 bytes each: what sinks that keep
/// up are given. Sinks that are behind are given theirs from the disk.
const RESIDENT: u64 = 50_000;

/// Gaps that wait in memory while the disk fails.
const GAPS: usize = 10_000;

/// How much the journal holds; past it the oldest batches are dropped, and counted for the sinks
/// that have not worked on them.
#[derive(Debug, Clone, Copy)]
pub struct JournalBounds {
    /// Of all batches, as they are on disk.
    pub bytes: u64,
    /// Of all batches; a batch counts as one more than it has, so that empty ones are bounded too.
    pub samples: u64,
    /// Of the oldest batch, by the time of its tick.
    pub age: Option<Duration>,
}

/// One batch.
#[derive(Debug)]
pub(super) struct BatchSlot {
    /// Who wants it: fixed when it came.
    pub(super) sinks: Vec<Arc<str>>,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    pub(super) cycle_start: u64,
    /// `None` if it is only on disk.
    pub(super) batch: Option<Arc<Batch>>,
    pub(super) on_disk: bool,
}

/// One sink.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) sources: HashSet<Arc<str>>,
    /// The last batch that was worked on.
    pub(super) at: Offset,
    /// The one that is being worked on.
    pub(super) leased: Option<Offset>,
    pub(super) offset_trackers: OffsetTracker,
    pub(super) saved: Offset,
    /// All up to here was counted by an earlier run.
    pub(super) counted: Offset,
    pub(super) counts: Arc<SinkCount>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct JournalState {
    pub(super) slots: BTreeMap<Offset, BatchSlot>,
    pub(super) cursors: HashMap<Arc<str>, Cursor>,
    resident: VecDeque<Offset>,
    pub(super) next: Offset,
    pub(super) closed: bool,
    /// Whether something has to be there again after a restart.
    pub(super) durable: bool,
    /// What is missing, and has yet to be written.
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

    /// These could not be written: they wait for the next attempt. Past a bound the oldest go.
    pub(super) fn keep_gaps(&mut self, mut gaps: Vec<Gap>) {
        gaps.append(&mut self.gaps);
        let surplus = gaps.len().saturating_sub(GAPS);
        gaps.drain(..surplus);
        self.gaps = gaps;
    }

    /// Sinks that want batches of a source.
    pub(super) fn wanting(&self, source: &str) -> Vec<Arc<str>> {
        let wanting = self.cursors.iter().filter(|(_, cursor)| cursor.sources.contains(source));
        let mut sinks: Vec<Arc<str>> = wanting.map(|(sink, _)| Arc::clone(sink)).collect();
        sinks.sort();
        sinks
    }

    /// Takes a new batch in, and counts it for its sinks.
    pub(super) fn enter(&mut self, offset: Offset, slot: BatchSlot) {
        for cursor in slot.sinks.iter().filter_map(|sink| self.cursors.get(sink)) {
            cursor.counts.entered.fetch_add(slot.samples, Relaxed);
            cursor.counts.pending.fetch_add(slot.samples, Relaxed);
        }
        self.insert(offset, slot);
    }

    /// Takes a batch in.
    pub(super) fn insert(&mut self, offset: Offset, slot: BatchSlot) {
        self.samples += slot.samples;
        self.bytes += slot.bytes;
        if slot.batch.is_some() {
            self.resident.push_back(offset);
            self.resident_samples += slot.samples;
        }
        self.slots.insert(offset, slot);
        self.next = self.next.max(offset + 1);
        self.thin();
    }

    /// Lets go of old batches that can be read again.
    fn thin(&mut self) {
        let mut kept = VecDeque::new();
        while self.resident_samples > RESIDENT && self.resident.len() > 1 {
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

    /// Removes what nobody needs any more.
    pub(super) fn release(&mut self) -> Vec<Offset> {
        let needed = |(offset, slot): (&Offset, &BatchSlot)| {
            let needs = |sink: &Arc<str>| {
                self.cursors.get(sink).is_some_and(|cursor| {
                    cursor.at < *offset
                        || self.durable
                            && cursor.offset_trackers.emitted().min(cursor.saved) < *offset
                })
            };
            (!slot.sinks.iter().any(needs)).then_some(*offset)
        };
        let free: Vec<Offset> = self.slots.iter().filter_map(needed).collect();
        for offset in &free {
            self.remove(*offset);
        }
        free
    }

    /// Whether a batch would be too much: of what sinks have yet to work on.
    pub(super) fn is_full(&self, more: u64, bounds: JournalBounds) -> bool {
        let waiting = |(offset, slot): (&Offset, &BatchSlot)| {
            let waits = |sink| self.cursors.get(sink).is_some_and(|one| one.at < *offset);
            slot.sinks.iter().any(waits).then_some(slot.samples + 1)
        };
        let waiting: u64 = self.slots.iter().filter_map(waiting).sum();
        waiting > 0 && waiting + more > bounds.samples
    }

    /// Whether a batch is too much for a journal that keeps what is old. Counted for the sinks that
    /// want it.
    pub(super) fn refuses(&self, sinks: &[Arc<str>], samples: u64, bounds: JournalBounds) -> bool {
        let count = self.slots.len() as u64;
        let full = self.samples + count + samples >= bounds.samples || self.bytes >= bounds.bytes;
        if full {
            for cursor in sinks.iter().filter_map(|sink| self.cursors.get(sink)) {
                cursor.counts.entered.fetch_add(samples, Relaxed);
                cursor.counts.dropped.add(Dropped::JournalFull, samples);
            }
        }
        full
    }

    /// Makes room for a batch of this size at this time: the oldest go first, but none that is
    /// being worked on.
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

    /// Counts a batch as lost to all sinks that have not worked on it.
    pub(super) fn count_dropped(&self, offset: Offset, reason: Dropped) {
        let Some(slot) = self.slots.get(&offset) else { return };
        for sink in &slot.sinks {
            if let Some(cursor) = self.cursors.get(sink)
                && cursor.at.max(cursor.counted) < offset
            {
                cursor.counts.dropped.add(reason, slot.samples);
                cursor.counts.pending.fetch_sub(slot.samples, Relaxed);
            }
        }
    }

    /// The first batch behind a sink's cursor that it wants.
    pub(super) fn next_for(&self, sink: &str) -> Option<Offset> {
        let cursor = self.cursors.get(sink)?;
        let behind = self.slots.range(cursor.at + 1..);
        behind
            .filter(|(_, slot)| slot.sinks.iter().any(|one| **one == *sink))
            .map(|(p, _)| *p)
            .next()
    }

    /// Marks that have moved since they were written, with what was counted up to them.
    pub(super) fn moved_marks(&self) -> Vec<SinkOffset> {
        self.cursors
            .iter()
            .filter_map(|(sink, cursor)| cursor.offset_trackers.moved(sink))
            .collect()
    }

    /// They are on disk now.
    pub(super) fn marked(&mut self, offset_trackers: &[SinkOffset]) {
        for sink_offset in offset_trackers {
            if let Some(cursor) = self.cursors.get_mut(&sink_offset.sink) {
                cursor.offset_trackers.write(sink_offset);
            }
        }
    }

    /// Samples for a sink that it has not made into anything yet.
    pub(super) fn held_behind(&self, sink: &Arc<str>, emitted: Offset) -> u64 {
        let behind = self.slots.range(emitted + 1..);
        behind.filter(|(_, slot)| slot.sinks.contains(sink)).map(|(_, slot)| slot.samples).sum()
    }

    /// A sink that was not there before, or is there again.
    pub(super) fn register(&mut self, sink: &Arc<str>, cursor: Cursor) {
        self.cursors.insert(Arc::clone(sink), cursor);
    }
}
