//! The numbers under which an instance knows the host's meters and resources.
//!
//! An entry is sent once and keeps its number until it is forgotten. A number is reused only in the same
//! `learn` that reports it as forgotten: until then the guest may still answer with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_address::{ByAddress, ByNumber};
use nephometer_model::{Meter, Resource};

/// New entries after which the table is searched for those that are no longer used, at least.
const SWEEP: usize = 1_024;
/// Forgotten entries after which the guest is notified although there is nothing new.
const FORGOTTEN: usize = 1_024;
/// Numbers that are shuffled together.
const BLOCK: u32 = 64;

/// How numbers are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// In ascending order.
    #[default]
    Ascending,
    /// In an order that depends on this seed, and anew for each batch: finds components whose results
    /// depend on numbers.
    Shuffled(u64),
}

/// What can be in the dictionary: equal content, equal entry.
pub(super) trait Entry: PartialEq {
    /// What equal entries have in common, and few others have.
    fn key(&self) -> &str;
}

impl Entry for Meter {
    fn key(&self) -> &str {
        &self.name
    }
}

impl Entry for Resource {
    fn key(&self) -> &str {
        &self.id
    }
}

/// The entries of one kind that an instance knows.
pub(super) struct Numbers<T> {
    slots: Vec<KnownEntry<T>>,
    by_address: ByAddress<u32>,
    by_key: HashMap<String, Vec<u32>>,
    free: Vec<u32>,
    numbering: Numbering,
    /// The number that was looked up last.
    last: u32,
    /// Counts batches.
    now: u32,
    /// The batch of the last sweep, the entries that it left, and how many were added since.
    swept: u32,
    left: usize,
    added: usize,
    news: Vec<u32>,
    forgotten: Vec<u32>,
    /// Forgotten here, but still known to the guest.
    limbo: ByNumber<Arc<T>>,
}

struct KnownEntry<T> {
    entry: Option<Arc<T>>,
    /// The number that followed it in the last batch: nearly always the one that follows it now.
    next: u32,
    seen: u32,
}

impl<T> KnownEntry<T> {
    #[inline]
    fn is(&self, entry: &Arc<T>) -> bool {
        self.entry.as_ref().is_some_and(|own| Arc::ptr_eq(own, entry))
    }
}

impl<T: Entry> Numbers<T> {
    pub(super) fn new(numbering: Numbering) -> Self {
        Self {
            slots: Vec::new(),
            by_address: ByAddress::default(),
            by_key: HashMap::new(),
            free: Vec::new(),
            numbering,
            last: 0,
            now: 1,
            swept: 0,
            left: 0,
            added: 0,
            news: Vec::new(),
            forgotten: Vec::new(),
            limbo: ByNumber::default(),
        }
    }

    /// A batch begins: entries that have not been used for long are forgotten.
    pub(super) fn begin(&mut self) {
        self.now += 1;
        if let Numbering::Shuffled(_) = self.numbering {
            return self.forget_all();
        }
        // The row that ended a batch may begin the next one, where it is found without a look-up.
        if let Some(last) = self.slots.get_mut(self.last as usize) {
            last.seen = self.now;
        }
        if self.added < self.left.max(SWEEP) {
            return;
        }
        for number in 0..self.slots.len() {
            if self.slots[number].entry.is_some() && self.slots[number].seen < self.swept {
                self.forget(number);
            }
        }
        self.swept = self.now;
        self.left = self.slots.len() - self.free.len();
        self.added = 0;
    }

    /// The number of an entry. `None` if the guest does not know it and `wanted` refuses it.
    #[inline]
    pub(super) fn number(
        &mut self,
        entry: &Arc<T>,
        wanted: impl FnOnce(&Arc<T>) -> bool,
    ) -> Option<u32> {
        if let Some(last) = self.slots.get(self.last as usize) {
            if last.is(entry) {
                return Some(self.last);
            }
            let (next, now) = (last.next, self.now);
            if let Some(slot) = self.slots.get_mut(next as usize)
                && slot.is(entry)
            {
                slot.seen = now;
                self.last = next;
                return Some(next);
            }
        }
        self.search(entry, wanted)
    }

    #[inline(never)]
    fn search(&mut self, entry: &Arc<T>, wanted: impl FnOnce(&Arc<T>) -> bool) -> Option<u32> {
        let address = Arc::as_ptr(entry).addr();
        let number = if let Some(number) = self.by_address.get(&address) {
            *number
        } else if !wanted(entry) {
            return None;
        } else if let Some(number) = self.find(entry) {
            // The same content at another address: the slot follows it.
            let before = self.slots[number as usize].entry.replace(Arc::clone(entry));
            if let Some(before) = before {
                self.by_address.remove(&Arc::as_ptr(&before).addr());
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
        self.slots[number as usize].seen = self.now;
        Some(number)
    }

    fn find(&self, wanted: &T) -> Option<u32> {
        let known = self.by_key.get(wanted.key())?;
        known.iter().copied().find(|number| {
            self.slots[*number as usize].entry.as_ref().is_some_and(|one| **one == *wanted)
        })
    }

    fn add(&mut self, entry: &Arc<T>) -> u32 {
        if self.free.is_empty() {
            self.grow();
        }
        let number = self.free.pop().expect("it has just grown");
        let slot = KnownEntry { entry: Some(Arc::clone(entry)), next: 0, seen: self.now };
        self.slots[number as usize] = slot;
        self.by_address.insert(Arc::as_ptr(entry).addr(), number);
        self.by_key.entry(entry.key().to_owned()).or_default().push(number);
        self.news.push(number);
        self.added += 1;
        number
    }

    fn grow(&mut self) {
        let first = u32::try_from(self.slots.len()).expect("no more entries than rows, as u32");
        let more = if self.numbering == Numbering::Ascending { 1 } else { BLOCK };
        self.slots.resize_with(self.slots.len() + more as usize, || KnownEntry {
            entry: None,
            next: 0,
            seen: 0,
        });
        self.free.extend((first..first + more).rev());
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
        self.limbo.insert(number, entry);
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

    /// Forgets the entries of a resource that was removed.
    pub(super) fn forget_key(&mut self, key: &str) {
        for number in self.by_key.get(key).cloned().unwrap_or_default() {
            self.forget(number as usize);
        }
    }

    /// Whether the guest has to be notified before it gets the batch.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty() || self.forgotten.len() >= FORGOTTEN
    }

    /// New entries with their numbers, in the order in which they came.
    pub(super) fn news(&self) -> impl Iterator<Item = (u32, &Arc<T>)> {
        let slot = |number: &u32| Some((*number, self.slots[*number as usize].entry.as_ref()?));
        self.news.iter().filter_map(slot)
    }

    /// Numbers that are no longer valid.
    pub(super) fn forgotten(&self) -> &[u32] {
        &self.forgotten
    }

    /// The guest has learned the news.
    pub(super) fn learned(&mut self) {
        self.news.clear();
        self.forgotten.clear();
        self.limbo.clear();
    }

    /// What the guest means by a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<T>> {
        let held = self.slots.get(number as usize)?.entry.as_ref();
        held.or_else(|| self.limbo.get(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::MeterType;

    fn meter(name: &str) -> Arc<Meter> {
        Arc::new(Meter::new(name, MeterType::Gauge, "B"))
    }

    fn number(numbers: &mut Numbers<Meter>, entry: &Arc<Meter>) -> u32 {
        numbers.number(entry, |_| true).unwrap()
    }

    #[test]
    fn numbers_count_up_and_follow_content() {
        let mut numbers = Numbers::new(Numbering::Ascending);
        numbers.begin();
        let all: Vec<Arc<Meter>> = (0..5).map(|nth| meter(&nth.to_string())).collect();
        let given: Vec<u32> = all.iter().map(|one| number(&mut numbers, one)).collect();
        assert_eq!(given, [0, 1, 2, 3, 4]);
        assert_eq!(number(&mut numbers, &meter("3")), 3, "an equal entry at another address");
        assert_eq!(numbers.news().count(), 5);
        numbers.learned();
        numbers.begin();
        assert_eq!(number(&mut numbers, &all[2]), 2);
        assert!(!numbers.has_news());
    }

    #[test]
    fn a_number_is_reused_with_the_notice_that_it_was_forgotten_and_valid_until_then() {
        let mut numbers = Numbers::new(Numbering::Ascending);
        numbers.begin();
        let (a, b) = (meter("a"), meter("b"));
        assert_eq!((number(&mut numbers, &a), number(&mut numbers, &b)), (0, 1));
        numbers.learned();
        numbers.forget_key("a");
        assert_eq!(numbers.get(0), Some(&a), "the guest does not know yet");
        assert!(!numbers.has_news(), "it can wait for the next entry");
        numbers.begin();
        let c = meter("c");
        assert_eq!(number(&mut numbers, &c), 0);
        assert_eq!(numbers.forgotten(), [0]);
        assert_eq!(numbers.news().collect::<Vec<_>>(), [(0, &c)]);
        numbers.learned();
        assert_eq!(numbers.get(0), Some(&c));
        assert_eq!(numbers.get(2), None);
    }

    #[test]
    fn entries_that_are_not_used_are_forgotten() {
        let mut numbers = Numbers::new(Numbering::Ascending);
        let kept = meter("kept");
        for round in 0..20 {
            for nth in 0..SWEEP {
                numbers.begin();
                assert_eq!(number(&mut numbers, &kept), 0);
                number(&mut numbers, &meter(&format!("{round}-{nth}")));
                numbers.learned();
            }
        }
        assert!(numbers.slots.len() < 4 * SWEEP, "{} slots", numbers.slots.len());
        assert_eq!(numbers.by_address.len(), numbers.slots.len() - numbers.free.len());
    }

    #[test]
    fn shuffled_numbers_are_dense_and_differ_from_batch_to_batch() {
        let mut numbers = Numbers::new(Numbering::Shuffled(7));
        let all: Vec<Arc<Meter>> = (0..100).map(|nth| meter(&nth.to_string())).collect();
        let mut before = Vec::new();
        for _ in 0..3 {
            numbers.begin();
            let given: Vec<u32> = all.iter().map(|one| number(&mut numbers, one)).collect();
            assert!(given.iter().all(|number| *number < 2 * BLOCK));
            assert_ne!(given, before);
            numbers.learned();
            before = given;
        }
    }
}
