//! What the numbers in batches and answers stand for.

use std::cell::RefCell;
use std::rc::Rc;

use crate::own::Own;
use crate::{Changes, Meter, NumberedMeter, NumberedResource, Resource};

/// Meters and resources by number: those that the host has sent, and the component's own.
///
/// The exported component keeps it up to date. In tests, [`crate::testing::Input`] does.
#[derive(Debug, Default)]
pub struct Dictionary {
    meters: Entries<Meter>,
    resources: Entries<Resource>,
    pub(crate) own: RefCell<Own>,
}

/// A number, and which of the entries that had this number is meant. For [`EntryCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey {
    pub(crate) number: u32,
    pub(crate) serial: u32,
}

#[derive(Debug)]
struct Entries<T> {
    /// By number: the serial and the entry. The serial is 0 where the number stands for nothing.
    known: Vec<(u32, Option<Rc<T>>)>,
    serial: u32,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { known: Vec::new(), serial: 0 }
    }
}

impl<T> Entries<T> {
    fn forget(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(entry) = self.known.get_mut(*number as usize) {
                *entry = (0, None);
            }
        }
    }

    fn put(&mut self, number: u32, entry: T) {
        let index = number as usize;
        if index >= self.known.len() {
            self.known.resize_with(index + 1, || (0, None));
        }
        self.serial += 1;
        self.known[index] = (self.serial, Some(Rc::new(entry)));
    }

    #[inline]
    fn get(&self, number: u32) -> &T {
        let entry = self.known[number as usize].1.as_deref();
        entry.expect("the host sends only numbers that stand for something")
    }

    #[inline]
    fn key(&self, number: u32) -> EntryKey {
        EntryKey { number, serial: self.known[number as usize].0 }
    }
}

impl Dictionary {
    /// Takes changes from the host: removes entries, then adds entries.
    pub fn learn(&mut self, changes: Changes) {
        let Changes { forgotten_meters, forgotten_resources, meters, resources } = changes;
        self.meters.forget(&forgotten_meters);
        self.resources.forget(&forgotten_resources);
        for NumberedMeter { number, entry } in meters {
            self.meters.put(number, entry);
        }
        for NumberedResource { number, entry } in resources {
            self.resources.put(number, entry);
        }
    }

    /// One more than the largest number of a meter so far: the length of an array with a place for
    /// each.
    pub fn meters(&self) -> usize {
        self.meters.known.len()
    }

    /// One more than the largest number of a resource so far.
    pub fn resources(&self) -> usize {
        self.resources.known.len()
    }

    #[inline]
    pub(crate) fn meter(&self, number: u32) -> &Meter {
        self.meters.get(number)
    }

    #[inline]
    pub(crate) fn resource(&self, number: u32) -> &Resource {
        self.resources.get(number)
    }

    #[inline]
    pub(crate) fn meter_key(&self, number: u32) -> EntryKey {
        self.meters.key(number)
    }

    #[inline]
    pub(crate) fn resource_key(&self, number: u32) -> EntryKey {
        self.resources.key(number)
    }

    /// The component's own meters that the host does not know yet. They count as sent.
    #[doc(hidden)]
    pub fn take_new_meters(&self) -> Vec<NumberedMeter> {
        let meter = |(number, entry)| NumberedMeter { number, entry };
        self.own.borrow_mut().meters.take_new().map(meter).collect()
    }

    /// The component's own resources that the host does not know yet. They count as sent.
    #[doc(hidden)]
    pub fn take_new_resources(&self) -> Vec<NumberedResource> {
        let resource = |(number, entry)| NumberedResource { number, entry };
        self.own.borrow_mut().resources.take_new().map(resource).collect()
    }
}

/// A value for each entry of the dictionary, computed once. A number that stands for another entry
/// later gets a value of its own.
#[derive(Debug)]
pub struct EntryCache<T>(Vec<(u32, Option<T>)>);

impl<T> Default for EntryCache<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> EntryCache<T> {
    /// The value for an entry; `make` computes it if there is none.
    #[inline]
    pub fn get(&mut self, key: EntryKey, make: impl FnOnce() -> T) -> &mut T {
        let index = key.number as usize;
        if self.0.get(index).is_none_or(|(serial, _)| *serial != key.serial) {
            self.set(key, make());
        }
        self.0[index].1.as_mut().expect("it has just been set")
    }

    #[cold]
    fn set(&mut self, key: EntryKey, value: T) {
        let index = key.number as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || (0, None));
        }
        self.0[index] = (key.serial, Some(value));
    }
}
