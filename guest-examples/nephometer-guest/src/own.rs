//! Meters and resources that a component has made, with the numbers that it gave them.

use crate::{FxHashMap, Meter, Resource};

/// Own numbers start here.
const FIRST: u32 = 1 << 31;
/// Entries and bytes beyond which numbering starts again. The host accepts more: one more answer, and old
/// entries as long as they are not replaced.
const METERS: usize = 8_000;
const RESOURCES: usize = 25_000;
const BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) meters: Entries<Meter>,
    pub(crate) resources: Entries<Resource>,
}

impl Own {
    /// Starts numbering again where there are too many entries. Between answers only: numbers that were
    /// returned before are void.
    pub(crate) fn tidy(&mut self) {
        let Self { meters, resources } = self;
        let many = meters.count() > METERS || resources.count() > RESOURCES;
        if many || meters.bytes + resources.bytes > BYTES {
            *self = Self::default();
        }
    }
}

/// Entries of one kind, found by a text that few of them share.
#[derive(Debug)]
pub(crate) struct Entries<T> {
    numbers: FxHashMap<String, Vec<(T, u32)>>,
    next: u32,
    bytes: usize,
    /// Not sent to the host yet.
    new: Vec<(u32, T)>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), next: FIRST, bytes: 0, new: Vec::new() }
    }
}

/// What can be numbered.
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

impl<T> Entries<T> {
    fn count(&self) -> usize {
        (self.next - FIRST) as usize
    }

    pub(crate) fn take_new(&mut self) -> impl Iterator<Item = (u32, T)> {
        self.new.drain(..)
    }
}

impl<T: Entry> Entries<T> {
    pub(crate) fn number(&mut self, wanted: &T) -> u32 {
        let known = self.numbers.get(wanted.key());
        if let Some(&(_, number)) = known.and_then(|of| of.iter().find(|(one, _)| one == wanted)) {
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
    fn numbering_starts_again_where_there_are_too_many() {
        let meter = |nth: usize| Meter {
            name: format!("m{nth}"),
            unit: String::new(),
            type_: MeterType::Gauge,
        };
        let mut own = Own::default();
        for nth in 0..=METERS {
            assert_eq!(own.meters.number(&meter(nth)), FIRST + u32::try_from(nth).unwrap());
            own.meters.take_new().for_each(drop);
        }
        assert_eq!(own.meters.number(&meter(7)), FIRST + 7, "known already");
        own.tidy();
        assert_eq!(own.meters.number(&meter(7)), FIRST);
        assert_eq!(own.meters.take_new().count(), 1, "sent again");
    }
}
