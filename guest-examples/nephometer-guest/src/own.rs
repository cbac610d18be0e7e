//! The component's own meters and resources, numbered by content and sent to the host once.

use crate::{FxHashMap, Meter, Resource};

/// The first of the component's own numbers.
const FIRST: u32 = 1 << 31;
/// Numbering starts again beyond these limits. Those of the contract are higher: there is room for
/// one more answer, and for old entries until they are replaced.
const MAX_METERS: usize = 8_000;
const MAX_RESOURCES: usize = 25_000;
const MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(crate) struct OwnEntries {
    pub(crate) meters: Numbering<Meter>,
    pub(crate) resources: Numbering<Resource>,
}

impl OwnEntries {
    /// Starts numbering again if there are too many entries. Call it between answers only: it
    /// invalidates the numbers returned before.
    pub(crate) fn reset_if_full(&mut self) {
        let Self { meters, resources } = self;
        let too_many = meters.count() > MAX_METERS || resources.count() > MAX_RESOURCES;
        if too_many || meters.bytes + resources.bytes > MAX_BYTES {
            *self = Self::default();
        }
    }
}

/// Numbers entries of one kind. Entries are looked up by name or id, then compared.
#[derive(Debug)]
pub(crate) struct Numbering<T> {
    numbers: FxHashMap<String, Vec<(T, u32)>>,
    next: u32,
    bytes: usize,
    /// Not sent to the host yet.
    new: Vec<(u32, T)>,
}

impl<T> Default for Numbering<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), next: FIRST, bytes: 0, new: Vec::new() }
    }
}

/// A meter or a resource.
pub(crate) trait Entry: Clone + PartialEq {
    fn key(&self) -> &str;
    fn bytes(&self) -> usize;
}

impl Entry for Meter {
    fn key(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.unit.len()
    }
}

impl Entry for Resource {
    fn key(&self) -> &str {
        &self.id
    }

    fn bytes(&self) -> usize {
        self.id.len() + self.source.len() + self.metadata.len()
    }
}

impl<T> Numbering<T> {
    fn count(&self) -> usize {
        (self.next - FIRST) as usize
    }

    pub(crate) fn take_new(&mut self) -> impl Iterator<Item = (u32, T)> {
        self.new.drain(..)
    }
}

impl<T: Entry> Numbering<T> {
    pub(crate) fn number(&mut self, wanted: &T) -> u32 {
        let known = self.numbers.get(wanted.key());
        let equal = known.and_then(|entries| entries.iter().find(|(entry, _)| entry == wanted));
        if let Some(&(_, number)) = equal {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += wanted.bytes();
        self.new.push((number, wanted.clone()));
        let same_key = self.numbers.entry(wanted.key().to_owned()).or_default();
        same_key.push((wanted.clone(), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MeterType;

    #[test]
    fn numbering_starts_again_beyond_the_limit() {
        let meter = |nth: usize| Meter {
            name: format!("m{nth}"),
            unit: String::new(),
            type_: MeterType::Gauge,
        };
        let mut own = OwnEntries::default();
        for nth in 0..=MAX_METERS {
            assert_eq!(own.meters.number(&meter(nth)), FIRST + u32::try_from(nth).unwrap());
            own.meters.take_new().for_each(drop);
        }
        assert_eq!(own.meters.number(&meter(7)), FIRST + 7, "known already");
        own.reset_if_full();
        assert_eq!(own.meters.number(&meter(7)), FIRST);
        assert_eq!(own.meters.take_new().count(), 1, "sent again");
    }
}
