//! The last reading of each meter and resource.
//!
//! Names and ids have numbers of their own here, because numbers of the dictionary mean nothing to
//! another instance.
//!
//! The saved state is, in little-endian order: the meter names, the resource ids (each list: its
//! length, then per text its length and UTF-8), the number of series, and per series the index of
//! the meter (u32) and the resource (u32), the kind of the volume (u8: 0 f64, 1 s64), the volume,
//! time (u64) and monotonic time (u64). Version 1 had no kind, and volumes as f64 only.

use nephometer_guest::{EntryCache, FxHashMap, Row, Timestamp, Volume};

/// The version of the saved state.
pub const VERSION: u32 = 2;

/// One reading of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The value.
    pub volume: Volume,
    time: Timestamp,
    /// 0 if unknown.
    monotonic: u64,
}

impl Reading {
    /// The reading of a row.
    #[inline]
    pub fn from_row(row: &Row<'_>) -> Self {
        Self { volume: row.value(), time: row.time, monotonic: row.monotonic.unwrap_or(0) }
    }

    /// Whether this reading is older than another, by timestamp.
    pub fn is_before(&self, other: &Self) -> bool {
        self.time < other.time
    }

    /// The seconds since an earlier reading, by the monotonic clock if both have it; `None` if that
    /// reading is later.
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
    meters: Interner,
    resources: Interner,
    /// By the number of a resource.
    by_resource: Vec<ResourceSeries>,
    /// The numbers here of the entries of the dictionary.
    meter_cache: EntryCache<u32>,
    resource_cache: EntryCache<ResourceSlot>,
}

/// The series of one resource: few, so they are searched by meter.
#[derive(Debug, Default)]
struct ResourceSeries {
    /// How many resources had this number before.
    reuses: u32,
    readings: Vec<(u32, Reading)>,
}

/// The number of a resource, with a reuse count that distinguishes it from earlier resources with
/// that number.
#[derive(Debug, Clone, Copy)]
struct ResourceSlot {
    number: u32,
    reuses: u32,
}

/// Identifies a series.
#[derive(Debug, Clone, Copy)]
pub struct SeriesKey {
    meter: u32,
    resource: u32,
}

impl Series {
    /// The series of a row.
    #[inline]
    pub fn key(&mut self, row: &Row<'_>) -> SeriesKey {
        let Self { meters, resources, by_resource, meter_cache, resource_cache } = self;
        let meter = *meter_cache.get(row.meter_key(), || meters.number(&row.meter().name));
        let slot =
            resource_cache.get(row.resource_key(), || resource_slot(resources, by_resource, row));
        // The number may belong to another resource by now.
        if by_resource[slot.number as usize].reuses != slot.reuses {
            *slot = resource_slot(resources, by_resource, row);
        }
        SeriesKey { meter, resource: slot.number }
    }

    /// Stores the last reading of a series and returns the previous one.
    #[inline]
    pub fn replace(&mut self, key: SeriesKey, reading: Reading) -> Option<Reading> {
        let readings = &mut self.by_resource[key.resource as usize].readings;
        if let Some((_, last)) = readings.iter_mut().find(|(meter, _)| *meter == key.meter) {
            return Some(std::mem::replace(last, reading));
        }
        readings.push((key.meter, reading));
        None
    }

    /// Drops all series of resources that were removed.
    pub fn forget(&mut self, resources: &[String]) {
        for id in resources {
            let Some(resource) = self.resources.take(id) else { continue };
            let series = &mut self.by_resource[resource as usize];
            series.reuses += 1;
            series.readings = Vec::new();
        }
    }

    /// Encodes the state.
    ///
    /// # Errors
    /// If it is too large.
    pub fn save(&self) -> Result<Vec<u8>, String> {
        let texts =
            |interner: &Interner| interner.numbers.keys().map(|text| 4 + text.len()).sum::<usize>();
        let count = self.by_resource.iter().map(|series| series.readings.len()).sum::<usize>();
        let size = 12 + texts(&self.meters) + texts(&self.resources) + 33 * count;
        let mut state = Vec::with_capacity(size);
        let meters = self.meters.save(&mut state)?;
        let resources = self.resources.save(&mut state)?;
        write_length(&mut state, count)?;
        for (series, resource) in self.by_resource.iter().zip(&resources) {
            for (meter, reading) in &series.readings {
                state.extend(meters[*meter as usize].to_le_bytes());
                state.extend(resource.to_le_bytes());
                match reading.volume {
                    Volume::Float(value) => {
                        state.push(0);
                        state.extend(value.to_le_bytes());
                    }
                    Volume::Integer(value) => {
                        state.push(1);
                        state.extend(value.to_le_bytes());
                    }
                }
                state.extend(reading.time.to_le_bytes());
                state.extend(reading.monotonic.to_le_bytes());
            }
        }
        Ok(state)
    }

    /// Decodes a state that [`Self::save`] encoded.
    ///
    /// # Errors
    /// If the version is unknown, or the state is damaged.
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
fn resource_slot(
    resources: &mut Interner,
    by_resource: &mut Vec<ResourceSeries>,
    row: &Row<'_>,
) -> ResourceSlot {
    let number = resources.number(&row.resource().id);
    if number as usize >= by_resource.len() {
        by_resource.resize_with(number as usize + 1, ResourceSeries::default);
    }
    ResourceSlot { number, reuses: by_resource[number as usize].reuses }
}

/// Assigns small numbers to texts. The number of a removed text is reused.
#[derive(Debug, Default)]
struct Interner {
    numbers: FxHashMap<String, u32>,
    free: Vec<u32>,
    /// One more than the largest number assigned so far.
    next: u32,
}

impl Interner {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn take(&mut self, text: &str) -> Option<u32> {
        let number = self.numbers.remove(text)?;
        self.free.push(number);
        Some(number)
    }

    /// Writes the texts. Returns the index of each number's text among them.
    fn save(&self, state: &mut Vec<u8>) -> Result<Vec<u32>, String> {
        write_length(state, self.numbers.len())?;
        let mut indexes = vec![0; self.next as usize];
        for (index, (text, &number)) in (0..).zip(&self.numbers) {
            write_length(state, text.len())?;
            state.extend(text.as_bytes());
            indexes[number as usize] = index;
        }
        Ok(indexes)
    }
}

fn write_length(state: &mut Vec<u8>, length: usize) -> Result<(), String> {
    let length = u32::try_from(length).map_err(|_| "the state is too large".to_owned())?;
    state.extend(length.to_le_bytes());
    Ok(())
}

/// Decodes a saved state; `None` where it is truncated or malformed.
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

    fn interner(&mut self) -> Option<Interner> {
        let mut interner = Interner::default();
        for index in 0..self.u32()? {
            // A duplicate text would shift all that follow.
            if interner.number(self.text()?) != index {
                return None;
            }
        }
        Some(interner)
    }

    fn series(&mut self, version: u32) -> Option<Series> {
        let meters = self.interner()?;
        let resources = self.interner()?;
        let count = usize::try_from(self.u32()?).ok()?;
        let size = if version == 1 { 32 } else { 33 };
        if self.0.len() != count.checked_mul(size)? {
            return None;
        }
        let mut by_resource = Vec::new();
        by_resource.resize_with(resources.next as usize, ResourceSeries::default);
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
            let reading = Reading { volume, time: self.u64()?, monotonic: self.u64()? };
            by_resource.get_mut(resource as usize)?.readings.push((meter, reading));
        }
        Some(Series { meters, resources, by_resource, ..Series::default() })
    }
}
