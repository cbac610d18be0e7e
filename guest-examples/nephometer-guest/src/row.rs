use crate::dictionary::EntryKey;
use crate::{DeliveryBatch, Dictionary, ExactInteger, Meter, Resource, Samples, Timestamp, Volume};

/// A batch of samples, with what its numbers stand for.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// What the numbers stand for.
    pub dictionary: &'a Dictionary,
    /// The columns.
    pub samples: &'a Samples,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its number in the batch: the origin of what is computed from it.
    pub number: u32,
    /// The number of its meter.
    pub meter_number: u32,
    /// The number of its resource.
    pub resource_number: u32,
    /// When the value was read, in nanoseconds since the epoch.
    pub time: Timestamp,
    /// Nanoseconds of a clock that never goes back.
    pub monotonic: Option<u64>,
    /// The value, in the unit of the meter.
    pub volume: f64,
    /// The value if it is an integer of 2^53 or more, where `f64` loses digits.
    pub exact: Option<i64>,
    entries: Entries<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Entries<'a> {
    Known(&'a Dictionary),
    Listed(&'a [Meter], &'a [Resource]),
}

impl<'a> Row<'a> {
    /// What was measured.
    #[inline]
    pub fn meter(&self) -> &'a Meter {
        match self.entries {
            Entries::Known(dictionary) => dictionary.meter(self.meter_number),
            Entries::Listed(meters, _) => &meters[self.meter_number as usize],
        }
    }

    /// The resource it belongs to.
    #[inline]
    pub fn resource(&self) -> &'a Resource {
        match self.entries {
            Entries::Known(dictionary) => dictionary.resource(self.resource_number),
            Entries::Listed(_, resources) => &resources[self.resource_number as usize],
        }
    }

    /// The meter, for an [`crate::EntryCache`]. In a delivery, numbers are valid for its batch alone.
    #[inline]
    pub fn meter_key(&self) -> EntryKey {
        match self.entries {
            Entries::Known(dictionary) => dictionary.meter_key(self.meter_number),
            Entries::Listed(..) => EntryKey { number: self.meter_number, serial: 1 },
        }
    }

    /// The resource, for an [`crate::EntryCache`], likewise.
    #[inline]
    pub fn resource_key(&self) -> EntryKey {
        match self.entries {
            Entries::Known(dictionary) => dictionary.resource_key(self.resource_number),
            Entries::Listed(..) => EntryKey { number: self.resource_number, serial: 1 },
        }
    }

    /// The value, exact if it is a large integer.
    #[inline]
    pub fn value(&self) -> Volume {
        self.exact.map_or(Volume::Float(self.volume), Volume::Integer)
    }
}

/// What has rows: a [`Batch`] of a transformer, or the batch of a [`crate::Delivery`].
pub trait Columns {
    #[doc(hidden)]
    fn columns(&self) -> AllColumns<'_>;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct AllColumns<'a> {
    meter: &'a [u32],
    resource: &'a [u32],
    time: &'a [Timestamp],
    monotonic: &'a [u64],
    volume: &'a [f64],
    exact: &'a [ExactInteger],
    entries: Entries<'a>,
}

impl Columns for Batch<'_> {
    #[inline]
    fn columns(&self) -> AllColumns<'_> {
        let Samples { meter, resource, time, monotonic, volume, exact, removed: _ } = self.samples;
        let entries = Entries::Known(self.dictionary);
        AllColumns { meter, resource, time, monotonic, volume, exact, entries }
    }
}

impl Columns for DeliveryBatch {
    fn columns(&self) -> AllColumns<'_> {
        let Self { meters, resources, meter, resource, time, monotonic, volume, exact, removed: _ } =
            self;
        let entries = Entries::Listed(meters, resources);
        AllColumns { meter, resource, time, monotonic, volume, exact, entries }
    }
}

/// The rows of a batch, in order.
///
/// The host sends columns of equal length only; iteration ends with the shortest.
#[inline]
pub fn rows<B: Columns>(batch: &B) -> impl Iterator<Item = Row<'_>> {
    let AllColumns { meter, resource, time, monotonic, volume, exact, entries } = batch.columns();
    let clocks = time.iter().zip(monotonic).zip(volume);
    let mut exact = exact.iter().peekable();
    (0u32..).zip(meter.iter().zip(resource)).zip(clocks).map(
        move |((number, (&meter_number, &resource_number)), ((&time, &monotonic), &volume))| Row {
            number,
            meter_number,
            resource_number,
            time,
            monotonic: (monotonic != 0).then_some(monotonic),
            volume,
            exact: exact.next_if(|next| next.row == number).map(|found| found.value),
            entries,
        },
    )
}
