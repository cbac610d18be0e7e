//! The last sample of each meter and resource.
//!
//! Names and ids have numbers of their own here, because the host's mean nothing to another instance.
//!
//! The saved state is, in little-endian order: the meter names, the resource ids (each list: its
//! length, then per text its length and UTF-8), the number of series, and per series the index
//! of the meter (u32) and the resource (u32), the kind of the volume (u8: 0 f64, 1 s64), the volume, time
//! (u64) and monotonic time (u64). Version 1 had no kind, and volumes as f64 only.

use nephometer_guest::{EntryCache, FxHashMap, Row, Timestamp, Volume};

/// The version of the saved state.
pub const VERSION: u32 = 2;

/// The last sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Last {
    /// Its value.
    pub volume: Volume,
    time: Timestamp,
    /// 0 if not known.
    monotonic: u64,
}

impl Last {
    /// What is kept of a row.
    #[inline]
    pub fn of(row: &Row<'_>) -> Self {
        Self { volume: row.value(), time: row.time, monotonic: row.monotonic.unwrap_or(0) }
    }

    /// Whether this one is from before another, by their timestamps.
    pub fn is_before(&self, other: &Self) -> bool {
        self.time < other.time
    }

    /// The seconds from an earlier sample to this one; `None` if that one is later.
    #[inline]
    pub fn seconds_since(&self, before: &Self) -> Option<f64> {
        let monotonic = self.monotonic != 0 && before.monotonic != 0;
        let nanos = if monotonic {
            self.monotonic.checked_sub(before.monotonic)?
        } else {
            self.time.checked_sub(before.time)?
        };
        Some(nanos as f64 / 1e9)
    }
}

/// All series.
#[derive(Debug, Default)]
pub struct Series {
    meters: Numbers,
    resources: Numbers,
    /// By the number of a resource.
    last: Vec<OfResource>,
    /// The numbers here of the dictionary's entries.
    meter_of: EntryCache<u32>,
    resource_of: EntryCache<Place>,
}

/// The series of one resource, by meter. They are few.
#[derive(Debug, Default)]
struct OfResource {
    /// How many resources have had this number before.
    reuses: u32,
    last: Vec<(u32, Last)>,
}

/// The number of a resource, and which of those that had it.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u32,
    reuses: u32,
}

/// A series.
#[derive(Debug, Clone, Copy)]
pub struct SeriesKey {
    meter: u32,
    resource: u32,
}

impl Series {
    /// The series of a row.
    #[inline]
    pub fn key(&mut self, row: &Row<'_>) -> SeriesKey {
        let Self { meters, resources, last, meter_of, resource_of } = self;
        let meter = *meter_of.get(row.meter_key(), || meters.number(&row.meter().name));
        let place = resource_of.get(row.resource_key(), || place(resources, last, row));
        // The number may belong to another resource by now.
        if last[place.number as usize].reuses != place.reuses {
            *place = self::place(resources, last, row);
        }
        SeriesKey { meter, resource: place.number }
    }

    /// Keeps the last sample of a series; returns the one before.
    #[inline]
    pub fn replace(&mut self, key: SeriesKey, last: Last) -> Option<Last> {
        let of = &mut self.last[key.resource as usize].last;
        if let Some((_, known)) = of.iter_mut().find(|(meter, _)| *meter == key.meter) {
            return Some(std::mem::replace(known, last));
        }
        of.push((key.meter, last));
        None
    }

    /// Drops all series of resources that were removed.
    pub fn forget(&mut self, resources: &[String]) {
        for id in resources {
            let Some(resource) = self.resources.take(id) else { continue };
            let of = &mut self.last[resource as usize];
            of.reuses += 1;
            of.last = Vec::new();
        }
    }

    /// The whole of it, as bytes.
    pub fn save(&self) -> Result<Vec<u8>, String> {
        let texts = |numbers: &Numbers| numbers.of.keys().map(|text| 4 + text.len()).sum::<usize>();
        let count = self.last.iter().map(|of| of.last.len()).sum::<usize>();
        let room = 12 + texts(&self.meters) + texts(&self.resources) + 33 * count;
        let mut state = Vec::with_capacity(room);
        let meters = self.meters.save(&mut state)?;
        let resources = self.resources.save(&mut state)?;
        write_length(&mut state, count)?;
        for (of, resource) in self.last.iter().zip(&resources) {
            for (meter, last) in &of.last {
                state.extend(meters[*meter as usize].to_le_bytes());
                state.extend(resource.to_le_bytes());
                match last.volume {
                    Volume::Float(value) => {
                        state.push(0);
                        state.extend(value.to_le_bytes());
                    }
                    Volume::Integer(value) => {
                        state.push(1);
                        state.extend(value.to_le_bytes());
                    }
                }
                state.extend(last.time.to_le_bytes());
                state.extend(last.monotonic.to_le_bytes());
            }
        }
        Ok(state)
    }

    /// What [`Self::save`] made.
    pub fn restore(version: u32, state: &[u8]) -> Result<Self, String> {
        if !(1..=VERSION).contains(&version) {
            return Err(format!("state of version {version}; this component reads 1 to {VERSION}"));
        }
        let mut reader = Reader(state);
        reader
            .series(version)
            .filter(|_| reader.0.is_empty())
            .ok_or_else(|| "the state is damaged".to_owned())
    }
}

#[cold]
fn place(resources: &mut Numbers, last: &mut Vec<OfResource>, row: &Row<'_>) -> Place {
    let number = resources.number(&row.resource().id);
    if number as usize >= last.len() {
        last.resize_with(number as usize + 1, OfResource::default);
    }
    Place { number, reuses: last[number as usize].reuses }
}

/// Texts by small numbers. A number is used again once its text is gone.
#[derive(Debug, Default)]
struct Numbers {
    of: FxHashMap<String, u32>,
    free: Vec<u32>,
    /// Above all numbers ever given.
    next: u32,
}

impl Numbers {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.of.get(text) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.of.insert(text.to_owned(), number);
        number
    }

    fn take(&mut self, text: &str) -> Option<u32> {
        let number = self.of.remove(text)?;
        self.free.push(number);
        Some(number)
    }

    /// Writes the texts; gives the place of each number among them.
    fn save(&self, state: &mut Vec<u8>) -> Result<Vec<u32>, String> {
        write_length(state, self.of.len())?;
        let mut places = vec![0; self.next as usize];
        for (place, (text, &number)) in (0..).zip(&self.of) {
            write_length(state, text.len())?;
            state.extend(text.as_bytes());
            places[number as usize] = place;
        }
        Ok(places)
    }
}

fn write_length(state: &mut Vec<u8>, length: usize) -> Result<(), String> {
    let length = u32::try_from(length).map_err(|_| "the state is too large".to_owned())?;
    state.extend(length.to_le_bytes());
    Ok(())
}

/// Reads a saved state; `None` wherever it ends too soon or makes no sense.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn numbers(&mut self) -> Option<Numbers> {
        let mut numbers = Numbers::default();
        for place in 0..self.u32()? {
            // A text that is there twice would shift all that follow.
            if numbers.number(self.text()?) != place {
                return None;
            }
        }
        Some(numbers)
    }

    fn series(&mut self, version: u32) -> Option<Series> {
        let meters = self.numbers()?;
        let resources = self.numbers()?;
        let count = usize::try_from(self.u32()?).ok()?;
        let size = if version == 1 { 32 } else { 33 };
        if self.0.len() != count.checked_mul(size)? {
            return None;
        }
        let mut last = Vec::new();
        last.resize_with(resources.next as usize, OfResource::default);
        for _ in 0..count {
            let (meter, resource) = (self.u32()?, self.u32()?);
            if meter >= meters.next {
                return None;
            }
            let [kind] = if version == 1 { [0] } else { self.array()? };
            let volume = match kind {
                0 => Volume::Float(f64::from_bits(self.u64()?)),
                1 => Volume::Integer(self.array().map(i64::from_le_bytes)?),
                _ => return None,
            };
            let one = Last { volume, time: self.u64()?, monotonic: self.u64()? };
            last.get_mut(resource as usize)?.last.push((meter, one));
        }
        Some(Series { meters, resources, last, ..Series::default() })
    }
}
