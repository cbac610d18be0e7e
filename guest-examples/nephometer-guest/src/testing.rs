//! Batches for unit tests, without a host.

use crate::{
    Answer, Batch, Changes, Derived, Dictionary, ExactInteger, Meter, MeterType, NO_ORIGIN,
    NumberedMeter, NumberedResource, Outcome, Resource, Samples, Timestamp, Volume,
};

/// The first of the component's own numbers.
const FIRST_OWN: u32 = 1 << 31;

/// Builds batches and their dictionary, as one instance would see them. Numbers are shuffled, so a
/// test whose result depends on them fails.
#[derive(Debug)]
pub struct Input {
    dictionary: Dictionary,
    seed: u32,
    meters: Vec<Meter>,
    resources: Vec<Resource>,
    own_meters: Vec<Meter>,
    own_resources: Vec<Resource>,
    samples: Samples,
}

/// One sample, to build batches from and to compare results with.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The meter.
    pub meter: Meter,
    /// The resource.
    pub resource: Resource,
    /// When the value was true.
    pub time: Timestamp,
    /// The value.
    pub volume: Volume,
}

impl Default for Input {
    fn default() -> Self {
        Self::shuffled(1)
    }
}

impl Input {
    /// Numbers entries in an order that depends on `seed`. Results must not depend on it.
    pub fn shuffled(seed: u32) -> Self {
        Self {
            dictionary: Dictionary::default(),
            seed,
            meters: Vec::new(),
            resources: Vec::new(),
            own_meters: Vec::new(),
            own_resources: Vec::new(),
            samples: no_samples(),
        }
    }

    /// Adds a row: a gauge without unit, of a resource without owner and metadata.
    pub fn row(&mut self, meter: &str, resource: &str, time: Timestamp, volume: impl Into<Volume>) {
        let meter = Meter { name: meter.to_owned(), unit: String::new(), type_: MeterType::Gauge };
        let volume = volume.into();
        self.sample(&Sample { meter, resource: plain_resource(resource), time, volume });
    }

    /// Adds a row.
    pub fn sample(&mut self, sample: &Sample) {
        let Sample { meter, resource, time, volume } = sample;
        let (meter, resource) = (self.meter(meter), self.resource(resource));
        if let Volume::Integer(value) = *volume {
            let row = number(self.samples.volume.len());
            self.samples.exact.push(ExactInteger { row, value });
        }
        self.samples.meter.push(meter);
        self.samples.resource.push(resource);
        self.samples.time.push(*time);
        self.samples.monotonic.push(0);
        self.samples.volume.push(volume.as_f64());
    }

    /// Sets the monotonic time of the last row, in nanoseconds.
    pub fn monotonic(&mut self, nanoseconds: u64) {
        if let Some(last) = self.samples.monotonic.last_mut() {
            *last = nanoseconds;
        }
    }

    /// Reports a resource as removed.
    pub fn remove(&mut self, resource: &str) {
        self.samples.removed.push(resource.to_owned());
    }

    /// The batch so far.
    pub fn batch(&self) -> Batch<'_> {
        Batch { dictionary: &self.dictionary, samples: &self.samples }
    }

    /// The dictionary, for `flush`.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Begins the next batch.
    pub fn next(&mut self) {
        self.samples = no_samples();
    }

    fn meter(&mut self, meter: &Meter) -> u32 {
        let (index, new) = index_of(&mut self.meters, meter);
        let number = shuffle(index, self.seed);
        if new {
            let entry = NumberedMeter { number, entry: meter.clone() };
            self.dictionary.learn(Changes { meters: vec![entry], ..no_changes() });
        }
        number
    }

    fn resource(&mut self, resource: &Resource) -> u32 {
        let (index, new) = index_of(&mut self.resources, resource);
        let number = shuffle(index, self.seed);
        if new {
            let entry = NumberedResource { number, entry: resource.clone() };
            self.dictionary.learn(Changes { resources: vec![entry], ..no_changes() });
        }
        number
    }

    /// The samples that an outcome stands for, as an answer to this batch.
    pub fn samples(&mut self, outcome: Outcome) -> Vec<Sample> {
        match outcome {
            Outcome::Unchanged => {
                (0..self.samples.volume.len()).map(|row| self.input_row(row)).collect()
            }
            Outcome::Keep(rows) => rows.iter().map(|row| self.input_row(*row as usize)).collect(),
            Outcome::Derive(derived) => {
                let Derived { origin, meter, volume, exact } = derived;
                let of_origin = |row: &u32| self.samples.resource[*row as usize];
                let resource = origin.iter().map(of_origin).collect();
                let time = origin.iter().map(|row| self.samples.time[*row as usize]).collect();
                self.flushed(Some(Answer { origin, meter, resource, time, volume, exact }))
            }
            Outcome::Replace(answer) => self.flushed(Some(answer)),
        }
    }

    /// The samples of an answer to a flush.
    pub fn flushed(&mut self, answer: Option<Answer>) -> Vec<Sample> {
        for new in self.dictionary.take_new_meters() {
            set_own(&mut self.own_meters, new.number, new.entry);
        }
        for new in self.dictionary.take_new_resources() {
            set_own(&mut self.own_resources, new.number, new.entry);
        }
        let Some(answer) = answer else { return Vec::new() };
        let sample = |row: usize| {
            let exact = answer.exact.iter().find(|exact| exact.row as usize == row);
            let (meter, resource) = (answer.meter[row], answer.resource[row]);
            let volume = answer.volume[row];
            Sample {
                meter: match meter.checked_sub(FIRST_OWN) {
                    Some(own) => self.own_meters[own as usize].clone(),
                    None => self.dictionary.meter(meter).clone(),
                },
                resource: match resource.checked_sub(FIRST_OWN) {
                    Some(own) => self.own_resources[own as usize].clone(),
                    None => self.dictionary.resource(resource).clone(),
                },
                time: answer.time[row],
                volume: match exact {
                    Some(exact) => Volume::Integer(exact.value),
                    None => self.exact(answer.origin[row], volume),
                },
            }
        };
        (0..answer.volume.len()).map(sample).collect()
    }

    /// A row with the volume of its origin keeps its exact value.
    fn exact(&self, origin: u32, volume: f64) -> Volume {
        let of_origin = self.samples.exact.iter().find(|exact| exact.row == origin);
        match of_origin {
            Some(exact) if origin != NO_ORIGIN && exact.value as f64 == volume => {
                Volume::Integer(exact.value)
            }
            _ => Volume::Float(volume),
        }
    }

    fn input_row(&self, row: usize) -> Sample {
        Sample {
            meter: self.dictionary.meter(self.samples.meter[row]).clone(),
            resource: self.dictionary.resource(self.samples.resource[row]).clone(),
            time: self.samples.time[row],
            volume: self.exact(number(row), self.samples.volume[row]),
        }
    }
}

/// A resource without owner and metadata.
pub fn plain_resource(id: &str) -> Resource {
    Resource {
        id: id.to_owned(),
        source: "openstack".to_owned(),
        project_id: None,
        user_id: None,
        metadata: "{}".to_owned(),
    }
}

fn no_samples() -> Samples {
    Samples {
        meter: Vec::new(),
        resource: Vec::new(),
        time: Vec::new(),
        monotonic: Vec::new(),
        volume: Vec::new(),
        exact: Vec::new(),
        removed: Vec::new(),
    }
}

fn no_changes() -> Changes {
    Changes {
        forgotten_meters: Vec::new(),
        forgotten_resources: Vec::new(),
        meters: Vec::new(),
        resources: Vec::new(),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("tests have fewer")
}

/// The index of an entry, and whether it was added.
fn index_of<T: Clone + PartialEq>(entries: &mut Vec<T>, wanted: &T) -> (u32, bool) {
    let known = entries.iter().position(|entry| entry == wanted);
    let index = known.unwrap_or(entries.len());
    if known.is_none() {
        entries.push(wanted.clone());
    }
    (number(index), known.is_none())
}

/// A permutation within blocks of 64.
fn shuffle(index: u32, seed: u32) -> u32 {
    let step = seed.wrapping_mul(2).wrapping_add(1);
    index / 64 * 64 + (index % 64).wrapping_mul(step).wrapping_add(seed) % 64
}

fn set_own<T>(all: &mut Vec<T>, number: u32, entry: T) {
    let index = (number - FIRST_OWN) as usize;
    if index < all.len() {
        all[index] = entry;
    } else {
        assert_eq!(index, all.len(), "numbers leave a gap");
        all.push(entry);
    }
}
