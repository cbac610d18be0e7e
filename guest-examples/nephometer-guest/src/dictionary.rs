//! The meters and resources that the numbers in batches and answers stand for.

use std::cell::RefCell;
use std::rc::Rc;

use crate::own::OwnEntries;
use crate::{Changes, Meter, NumberedMeter, NumberedResource, Resource};

/// Meters and resources by number: those of the host, and the component's own.
///
/// The exported component updates it; in tests, [`crate::testing::Input`] does.
#[derive(Debug, Default)]
pub struct Dictionary {
    meters: HostEntries<Meter>,
    resources: HostEntries<Resource>,
    pub(crate) own: RefCell<OwnEntries>,
}

/// Identifies an entry for [`EntryCache`]: its number, and a serial that differs for each entry
/// that had this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey {
    pub(crate) number: u32,
    pub(crate) serial: u32,
}

#[derive(Debug)]
struct HostEntries<T> {
    /// By number: the serial and the entry. The serial is 0 where the number is unused.
    known: Vec<(u32, Option<Rc<T>>)>,
    serial: u32,
}

impl<T> Default for HostEntries<T> {
    fn default() -> Self {
        Self { known: Vec::new(), serial: 0 }
    }
}

impl<T> HostEntries<T> {
    fn forget(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(entry) = self.known.get_mut(*number as usize) {
                *entry = (0, None);
            }
        }
    }

    fn insert(&mut self, number: u32, entry: T) {
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
        entry.expect("the host sends only known numbers")
    }

    #[inline]
    fn key(&self, number: u32) -> EntryKey {
        EntryKey { number, serial: self.known[number as usize].0 }
    }
}

impl Dictionary {
    /// Applies changes from the host: removes entries, then adds entries.
    pub fn learn(&mut self, changes: Changes) {
        let Changes { forgotten_meters, forgotten_resources, meters, resources } = changes;
        self.meters.forget(&forgotten_meters);
        self.resources.forget(&forgotten_resources);
        for NumberedMeter { number, entry } in meters {
            self.meters.insert(number, entry);
        }
        for NumberedResource { number, entry } in resources {
            self.resources.insert(number, entry);
        }
    }

    /// One more than the largest meter number so far: the length of an array indexed by number.
    pub fn meters(&self) -> usize {
        self.meters.known.len()
    }

    /// One more than the largest resource number so far.
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

    /// Takes the component's own meters that the host does not have yet. They count as sent.
    #[doc(hidden)]
    pub fn take_new_meters(&self) -> Vec<NumberedMeter> {
        let meter = |(number, entry)| NumberedMeter { number, entry };
        self.own.borrow_mut().meters.take_new().map(meter).collect()
    }

    /// Takes the component's own resources that the host does not have yet. They count as sent.
    #[doc(hidden)]
    pub fn take_new_resources(&self) -> Vec<NumberedResource> {
        let resource = |(number, entry)| NumberedResource { number, entry };
        self.own.borrow_mut().resources.take_new().map(resource).collect()
    }
}

/// Caches one value per entry of the dictionary. The value is computed again when a number stands
/// for another entry.
#[derive(Debug)]
pub struct EntryCache<T>(Vec<(u32, Option<T>)>);

impl<T> Default for EntryCache<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> EntryCache<T> {
    /// The value for an entry; `compute` is called if there is none.
    #[inline]
    pub fn get(&mut self, key: EntryKey, compute: impl FnOnce() -> T) -> &mut T {
        let index = key.number as usize;
        if self.0.get(index).is_none_or(|(serial, _)| *serial != key.serial) {
            self.set(key, compute());
        }
        self.0[index].1.as_mut().expect("set above")
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
