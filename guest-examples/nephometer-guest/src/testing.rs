//! Batches for unit tests, without a host.

use crate::{
    Answer, Batch, Changes, Derived, Dictionary, ExactInteger, Meter, MeterType, NO_ORIGIN,
    NumberedMeter, NumberedResource, Outcome, Resource, Samples, Timestamp, Volume,
};

/// Own numbers start here.
const OWN: u32 = 1 << 31;

/// Builds batches and keeps their dictionary, as one instance would see them. Numbers are shuffled: a test
/// that depends on them fails.
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

/// One sample, as a test writes it or compares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What was measured.
    pub meter: Meter,
    /// The resource it belongs to.
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
    /// With numbers in an order that depends on `seed`. Results must not depend on it.
    pub fn shuffled(seed: u32) -> Self {
        Self {
            dictionary: Dictionary::default(),
            seed,
            meters: Vec::new(),
            resources: Vec::new(),
            own_meters: Vec::new(),
            own_resources: Vec::new(),
            samples: empty(),
        }
    }

    /// Adds a row of a gauge without a unit, of a resource without owner and metadata.
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

    /// The monotonic time of the last row.
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

    /// What numbers stand for.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Begins the next batch.
    pub fn next(&mut self) {
        self.samples = empty();
    }

    fn meter(&mut self, meter: &Meter) -> u32 {
        let (at, new) = place(&mut self.meters, meter);
        let number = shuffle(at, self.seed);
        if new {
            let entry = NumberedMeter { number, entry: meter.clone() };
            self.dictionary.learn(Changes { meters: vec![entry], ..changes() });
        }
        number
    }

    fn resource(&mut self, resource: &Resource) -> u32 {
        let (at, new) = place(&mut self.resources, resource);
        let number = shuffle(at, self.seed);
        if new {
            let entry = NumberedResource { number, entry: resource.clone() };
            self.dictionary.learn(Changes { resources: vec![entry], ..changes() });
        }
        number
    }

    /// The samples that an outcome makes of this batch.
    pub fn samples(&mut self, outcome: Outcome) -> Vec<Sample> {
        match outcome {
            Outcome::Unchanged => {
                (0..self.samples.volume.len()).map(|row| self.own_row(row)).collect()
            }
            Outcome::Keep(rows) => rows.iter().map(|row| self.own_row(*row as usize)).collect(),
            Outcome::Derive(derived) => {
                let Derived { origin, meter, volume, exact } = derived;
                let place =
                    |column: &[u32]| origin.iter().map(|row| column[*row as usize]).collect();
                let resource = place(&self.samples.resource);
                let time = origin.iter().map(|row| self.samples.time[*row as usize]).collect();
                self.flushed(Some(Answer { origin, meter, resource, time, volume, exact }))
            }
            Outcome::Replace(answer) => self.flushed(Some(answer)),
        }
    }

    /// The samples of an answer.
    pub fn flushed(&mut self, answer: Option<Answer>) -> Vec<Sample> {
        for new in self.dictionary.take_new_meters() {
            put(&mut self.own_meters, new.number, new.entry);
        }
        for new in self.dictionary.take_new_resources() {
            put(&mut self.own_resources, new.number, new.entry);
        }
        let Some(answer) = answer else { return Vec::new() };
        let sample = |row: usize| {
            let exact = answer.exact.iter().find(|exact| exact.row as usize == row);
            let (meter, resource) = (answer.meter[row], answer.resource[row]);
            let volume = answer.volume[row];
            Sample {
                meter: match meter.checked_sub(OWN) {
                    Some(own) => self.own_meters[own as usize].clone(),
                    None => self.dictionary.meter(meter).clone(),
                },
                resource: match resource.checked_sub(OWN) {
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

    fn own_row(&self, row: usize) -> Sample {
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

fn empty() -> Samples {
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

fn changes() -> Changes {
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

fn place<T: Clone + PartialEq>(all: &mut Vec<T>, wanted: &T) -> (u32, bool) {
    let known = all.iter().position(|one| one == wanted);
    let at = known.unwrap_or(all.len());
    if known.is_none() {
        all.push(wanted.clone());
    }
    (number(at), known.is_none())
}

/// A permutation within blocks of 64.
fn shuffle(at: u32, seed: u32) -> u32 {
    let step = seed.wrapping_mul(2).wrapping_add(1);
    at / 64 * 64 + (at % 64).wrapping_mul(step).wrapping_add(seed) % 64
}

fn put<T>(all: &mut Vec<T>, number: u32, entry: T) {
    let index = (number - OWN) as usize;
    if index < all.len() {
        all[index] = entry;
    } else {
        assert_eq!(index, all.len(), "numbers leave a gap");
        all.push(entry);
    }
}
