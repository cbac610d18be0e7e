//! Assigns dictionary numbers to the host's meters and resources, per instance.
//!
//! An entry is sent once and keeps its number until it is forgotten. A number is reused no earlier
//! than in the `learn` that reports it as forgotten: until then the guest may still answer with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_address::{ByAddress, ByNumber};
use nephometer_model::{Meter, Resource};

/// Minimum number of new entries between two sweeps for unused ones.
const SWEEP_INTERVAL: usize = 1_024;
/// Forgotten entries after which the guest is notified even without new ones.
const MAX_UNREPORTED: usize = 1_024;
/// Numbers that are shuffled together.
const BLOCK: u32 = 64;

/// How numbers are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// In ascending order.
    #[default]
    Ascending,
    /// In an order that depends on this seed and changes with each batch: reveals components whose
    /// results depend on numbers.
    Shuffled(u64),
}

/// A dictionary entry. Entries with equal content are the same entry.
pub(super) trait DictionaryEntry: PartialEq {
    /// A key that equal entries share, and few others do.
    fn key(&self) -> &str;
}

impl DictionaryEntry for Meter {
    fn key(&self) -> &str {
        &self.name
    }
}

impl DictionaryEntry for Resource {
    fn key(&self) -> &str {
        &self.id
    }
}

/// The entries of one kind that an instance knows.
pub(super) struct NumberTable<T> {
    slots: Vec<NumberSlot<T>>,
    by_address: ByAddress<u32>,
    by_key: HashMap<String, Vec<u32>>,
    free: Vec<u32>,
    numbering: Numbering,
    /// The number that was looked up last.
    last: u32,
    /// Counter of batches.
    batch: u32,
    /// The batch of the last sweep.
    last_sweep: u32,
    /// Entries after the last sweep.
    left_by_sweep: usize,
    /// Entries added since the last sweep.
    added_since: usize,
    new_entries: Vec<u32>,
    forgotten: Vec<u32>,
    /// Entries of `forgotten`, which the guest still knows.
    forgotten_entries: ByNumber<Arc<T>>,
}

struct NumberSlot<T> {
    entry: Option<Arc<T>>,
    /// The number that followed in the last batch: almost always the one that follows now.
    next: u32,
    /// The batch of the last use.
    last_used: u32,
}

impl<T> NumberSlot<T> {
    #[inline]
    fn is(&self, entry: &Arc<T>) -> bool {
        self.entry.as_ref().is_some_and(|own| Arc::ptr_eq(own, entry))
    }
}

impl<T: DictionaryEntry> NumberTable<T> {
    pub(super) fn new(numbering: Numbering) -> Self {
        Self {
            slots: Vec::new(),
            by_address: ByAddress::default(),
            by_key: HashMap::new(),
            free: Vec::new(),
            numbering,
            last: 0,
            batch: 1,
            last_sweep: 0,
            left_by_sweep: 0,
            added_since: 0,
            new_entries: Vec::new(),
            forgotten: Vec::new(),
            forgotten_entries: ByNumber::default(),
        }
    }

    /// Starts a batch, and forgets entries that have long been unused.
    pub(super) fn begin_batch(&mut self) {
        self.batch += 1;
        if let Numbering::Shuffled(_) = self.numbering {
            return self.forget_all();
        }
        // The last entry of a batch is found without a search if it begins the next one.
        if let Some(last) = self.slots.get_mut(self.last as usize) {
            last.last_used = self.batch;
        }
        if self.added_since < self.left_by_sweep.max(SWEEP_INTERVAL) {
            return;
        }
        for number in 0..self.slots.len() {
            if self.slots[number].entry.is_some() && self.slots[number].last_used < self.last_sweep
            {
                self.forget(number);
            }
        }
        self.last_sweep = self.batch;
        self.left_by_sweep = self.slots.len() - self.free.len();
        self.added_since = 0;
    }

    /// The number of an entry. `None` if the guest does not know it and `selected` refuses it.
    #[inline]
    pub(super) fn number(
        &mut self,
        entry: &Arc<T>,
        selected: impl FnOnce(&Arc<T>) -> bool,
    ) -> Option<u32> {
        if let Some(last) = self.slots.get(self.last as usize) {
            if last.is(entry) {
                return Some(self.last);
            }
            let (next, batch) = (last.next, self.batch);
            if let Some(slot) = self.slots.get_mut(next as usize)
                && slot.is(entry)
            {
                slot.last_used = batch;
                self.last = next;
                return Some(next);
            }
        }
        self.search(entry, selected)
    }

    #[inline(never)]
    fn search(&mut self, entry: &Arc<T>, selected: impl FnOnce(&Arc<T>) -> bool) -> Option<u32> {
        let address = Arc::as_ptr(entry).addr();
        let number = if let Some(number) = self.by_address.get(&address) {
            *number
        } else if !selected(entry) {
            return None;
        } else if let Some(number) = self.find(entry) {
            // Equal content at a new address: the slot moves to it.
            let previous = self.slots[number as usize].entry.replace(Arc::clone(entry));
            if let Some(previous) = previous {
                self.by_address.remove(&Arc::as_ptr(&previous).addr());
            }
            self.by_address.insert(address, number);
            number
        } else {
            self.add(entry)
        };
        if let Some(last) = self.slots.get_mut(self.last as usize) {
            last.next = number;
        }
        self.last = number;
        self.slots[number as usize].last_used = self.batch;
        Some(number)
    }

    fn find(&self, content: &T) -> Option<u32> {
        let known = self.by_key.get(content.key())?;
        known.iter().copied().find(|number| {
            self.slots[*number as usize].entry.as_ref().is_some_and(|one| **one == *content)
        })
    }

    fn add(&mut self, entry: &Arc<T>) -> u32 {
        if self.free.is_empty() {
            self.grow();
        }
        let number = self.free.pop().expect("grow adds free numbers");
        let slot = NumberSlot { entry: Some(Arc::clone(entry)), next: 0, last_used: self.batch };
        self.slots[number as usize] = slot;
        self.by_address.insert(Arc::as_ptr(entry).addr(), number);
        self.by_key.entry(entry.key().to_owned()).or_default().push(number);
        self.new_entries.push(number);
        self.added_since += 1;
        number
    }

    fn grow(&mut self) {
        let first = u32::try_from(self.slots.len()).expect("no more entries than rows, as u32");
        let added = if self.numbering == Numbering::Ascending { 1 } else { BLOCK };
        self.slots.resize_with(self.slots.len() + added as usize, || NumberSlot {
            entry: None,
            next: 0,
            last_used: 0,
        });
        self.free.extend((first..first + added).rev());
        self.shuffle();
    }

    fn forget(&mut self, index: usize) {
        let Some(entry) = self.slots[index].entry.take() else { return };
        let number = u32::try_from(index).expect("numbers are u32");
        self.by_address.remove(&Arc::as_ptr(&entry).addr());
        if let Some(same) = self.by_key.get_mut(entry.key()) {
            same.retain(|one| *one != number);
            if same.is_empty() {
                self.by_key.remove(entry.key());
            }
        }
        self.free.push(number);
        self.forgotten.push(number);
        self.forgotten_entries.insert(number, entry);
    }

    fn forget_all(&mut self) {
        (0..self.slots.len()).for_each(|number| self.forget(number));
        self.shuffle();
    }

    fn shuffle(&mut self) {
        let Numbering::Shuffled(seed) = &mut self.numbering else { return };
        for at in (1..self.free.len()).rev() {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = (*seed >> 33) as usize % (at + 1);
            self.free.swap(at, other);
        }
    }

    /// Forgets all entries with this key, such as those of a removed resource.
    pub(super) fn forget_key(&mut self, key: &str) {
        for number in self.by_key.get(key).cloned().unwrap_or_default() {
            self.forget(number as usize);
        }
    }

    /// Whether the guest must learn changes before it receives the batch.
    pub(super) fn has_new_entries(&self) -> bool {
        !self.new_entries.is_empty() || self.forgotten.len() >= MAX_UNREPORTED
    }

    /// New entries with their numbers, in order of arrival.
    pub(super) fn new_entries(&self) -> impl Iterator<Item = (u32, &Arc<T>)> {
        let slot = |number: &u32| Some((*number, self.slots[*number as usize].entry.as_ref()?));
        self.new_entries.iter().filter_map(slot)
    }

    /// Numbers that are no longer valid, not yet reported to the guest.
    pub(super) fn forgotten(&self) -> &[u32] {
        &self.forgotten
    }

    /// Called when the guest has learned the changes.
    pub(super) fn mark_learned(&mut self) {
        self.new_entries.clear();
        self.forgotten.clear();
        self.forgotten_entries.clear();
    }

    /// The entry that the guest refers to by a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<T>> {
        let current = self.slots.get(number as usize)?.entry.as_ref();
        current.or_else(|| self.forgotten_entries.get(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::MeterType;

    fn meter(name: &str) -> Arc<Meter> {
        Arc::new(Meter::new(name, MeterType::Gauge, "B"))
    }

    fn number(numbers: &mut NumberTable<Meter>, entry: &Arc<Meter>) -> u32 {
        numbers.number(entry, |_| true).unwrap()
    }

    #[test]
    fn numbers_ascend_and_follow_content() {
        let mut numbers = NumberTable::new(Numbering::Ascending);
        numbers.begin_batch();
        let all: Vec<Arc<Meter>> = (0..5).map(|nth| meter(&nth.to_string())).collect();
        let assigned: Vec<u32> = all.iter().map(|one| number(&mut numbers, one)).collect();
        assert_eq!(assigned, [0, 1, 2, 3, 4]);
        assert_eq!(number(&mut numbers, &meter("3")), 3, "an equal entry at another address");
        assert_eq!(numbers.new_entries().count(), 5);
        numbers.mark_learned();
        numbers.begin_batch();
        assert_eq!(number(&mut numbers, &all[2]), 2);
        assert!(!numbers.has_new_entries());
    }

    #[test]
    fn forgotten_number_is_valid_until_reported_and_reused_then() {
        let mut numbers = NumberTable::new(Numbering::Ascending);
        numbers.begin_batch();
        let (a, b) = (meter("a"), meter("b"));
        assert_eq!((number(&mut numbers, &a), number(&mut numbers, &b)), (0, 1));
        numbers.mark_learned();
        numbers.forget_key("a");
        assert_eq!(numbers.get(0), Some(&a), "the guest does not know yet");
        assert!(!numbers.has_new_entries(), "the report waits for the next entry");
        numbers.begin_batch();
        let c = meter("c");
        assert_eq!(number(&mut numbers, &c), 0);
        assert_eq!(numbers.forgotten(), [0]);
        assert_eq!(numbers.new_entries().collect::<Vec<_>>(), [(0, &c)]);
        numbers.mark_learned();
        assert_eq!(numbers.get(0), Some(&c));
        assert_eq!(numbers.get(2), None);
    }

    #[test]
    fn unused_entries_are_forgotten() {
        let mut numbers = NumberTable::new(Numbering::Ascending);
        let kept = meter("kept");
        for round in 0..20 {
            for nth in 0..SWEEP_INTERVAL {
                numbers.begin_batch();
                assert_eq!(number(&mut numbers, &kept), 0);
                number(&mut numbers, &meter(&format!("{round}-{nth}")));
                numbers.mark_learned();
            }
        }
        assert!(numbers.slots.len() < 4 * SWEEP_INTERVAL, "{} slots", numbers.slots.len());
        assert_eq!(numbers.by_address.len(), numbers.slots.len() - numbers.free.len());
    }

    #[test]
    fn shuffled_numbers_are_dense_and_differ_from_batch_to_batch() {
        let mut numbers = NumberTable::new(Numbering::Shuffled(7));
        let all: Vec<Arc<Meter>> = (0..100).map(|nth| meter(&nth.to_string())).collect();
        let mut previous = Vec::new();
        for _ in 0..3 {
            numbers.begin_batch();
            let assigned: Vec<u32> = all.iter().map(|one| number(&mut numbers, one)).collect();
            assert!(assigned.iter().all(|number| *number < 2 * BLOCK));
            assert_ne!(assigned, previous);
            numbers.mark_learned();
            previous = assigned;
        }
    }
}
