//! What is remembered per meter and resource.
//!
//! Names and ids are numbered once per batch, so that a row costs one look-up with an integer.
//!
//! The saved state is, in little-endian order: the meter names, the resource ids (each list: its
//! length, then per text its length and UTF-8), the number of series, and per series the index
//! of the meter (u32) and the resource (u32), volume (f64), time (u64) and monotonic time (u64).

use nephometer_guest::{Batch, FxHashMap, Row, Timestamp};

/// The version of the saved state.
pub const VERSION: u32 = 1;

/// The last sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Last {
    /// Its value.
    pub volume: f64,
    time: Timestamp,
    /// 0 if not known.
    monotonic: u64,
}

impl Last {
    /// What is remembered of a row.
    #[inline]
    pub fn of(row: &Row<'_>) -> Self {
        Self { volume: row.volume, time: row.time, monotonic: row.monotonic.unwrap_or(0) }
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

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Series {
    meters: Numbers,
    resources: Numbers,
    last: FxHashMap<u64, Last>,
}

/// The numbers of a batch's dictionary entries.
#[derive(Debug)]
pub struct Keys {
    meters: Vec<u32>,
    resources: Vec<u32>,
}

impl Keys {
    /// The series of a row.
    #[inline]
    pub fn of(&self, row: &Row<'_>) -> u64 {
        key(self.meters[row.meter_index as usize], self.resources[row.resource_index as usize])
    }
}

#[inline]
fn key(meter: u32, resource: u32) -> u64 {
    u64::from(meter) << 32 | u64::from(resource)
}

impl Series {
    /// Numbers the entries of a batch.
    pub fn keys(&mut self, batch: &Batch) -> Keys {
        Keys {
            meters: batch.meters.iter().map(|meter| self.meters.number(&meter.name)).collect(),
            resources: batch.resources.iter().map(|one| self.resources.number(&one.id)).collect(),
        }
    }

    /// Remembers the last sample of a series; gives the one before.
    #[inline]
    pub fn replace(&mut self, key: u64, last: Last) -> Option<Last> {
        self.last.insert(key, last)
    }

    /// Drops all series of resources that will not come again.
    pub fn forget(&mut self, resources: &[String]) {
        for id in resources {
            let Some(resource) = self.resources.take(id) else { continue };
            for meter in 0..self.meters.next {
                self.last.remove(&key(meter, resource));
            }
        }
    }

    /// The whole of it, as bytes.
    pub fn save(&self) -> Result<Vec<u8>, String> {
        let texts = |numbers: &Numbers| numbers.of.keys().map(|text| 4 + text.len()).sum::<usize>();
        let room = 12 + texts(&self.meters) + texts(&self.resources) + 32 * self.last.len();
        let mut state = Vec::with_capacity(room);
        let meters = self.meters.save(&mut state)?;
        let resources = self.resources.save(&mut state)?;
        write_length(&mut state, self.last.len())?;
        for (key, last) in &self.last {
            let (meter, resource) = ((key >> 32) as u32, (key & 0xffff_ffff) as u32);
            state.extend(meters[meter as usize].to_le_bytes());
            state.extend(resources[resource as usize].to_le_bytes());
            state.extend(last.volume.to_le_bytes());
            state.extend(last.time.to_le_bytes());
            state.extend(last.monotonic.to_le_bytes());
        }
        Ok(state)
    }

    /// What [`Self::save`] made.
    pub fn restore(version: u32, state: &[u8]) -> Result<Self, String> {
        if version != VERSION {
            return Err(format!("state of version {version}; this component reads {VERSION}"));
        }
        let mut reader = Reader(state);
        reader
            .series()
            .filter(|_| reader.0.is_empty())
            .ok_or_else(|| "the state is damaged".to_owned())
    }
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

    fn series(&mut self) -> Option<Series> {
        let meters = self.numbers()?;
        let resources = self.numbers()?;
        let count = usize::try_from(self.u32()?).ok()?;
        if self.0.len() != count.checked_mul(32)? {
            return None;
        }
        let mut last = FxHashMap::with_capacity_and_hasher(count, Default::default());
        for _ in 0..count {
            let (meter, resource) = (self.u32()?, self.u32()?);
            if meter >= meters.next || resource >= resources.next {
                return None;
            }
            let volume = f64::from_bits(self.u64()?);
            let one = Last { volume, time: self.u64()?, monotonic: self.u64()? };
            last.insert(key(meter, resource), one);
        }
        Some(Series { meters, resources, last })
    }
}
