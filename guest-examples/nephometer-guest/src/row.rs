//! Batches, and their rows with meters and resources looked up.

use crate::dictionary::EntryKey;
use crate::{DeliveryBatch, Dictionary, ExactInteger, Meter, Resource, Samples, Timestamp, Volume};

/// A batch of samples with the dictionary of its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The meters and resources that the numbers stand for.
    pub dictionary: &'a Dictionary,
    /// The columns.
    pub samples: &'a Samples,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The position in the batch: the origin of rows computed from this one.
    pub number: u32,
    /// The number of the meter.
    pub meter_number: u32,
    /// The number of the resource.
    pub resource_number: u32,
    /// When the value was read, in nanoseconds since the epoch.
    pub time: Timestamp,
    /// Nanoseconds of a clock that never goes back, if known.
    pub monotonic: Option<u64>,
    /// The value, in the unit of the meter.
    pub volume: f64,
    /// The exact value, if it is an integer of 2^53 or more; `volume` is the nearest `f64`.
    pub exact: Option<i64>,
    entries: EntrySource<'a>,
}

/// Where a row looks up its entries: a transformer has a dictionary, a delivery has lists.
#[derive(Debug, Clone, Copy)]
enum EntrySource<'a> {
    Dictionary(&'a Dictionary),
    Lists(&'a [Meter], &'a [Resource]),
}

impl<'a> Row<'a> {
    /// The meter.
    #[inline]
    pub fn meter(&self) -> &'a Meter {
        match self.entries {
            EntrySource::Dictionary(dictionary) => dictionary.meter(self.meter_number),
            EntrySource::Lists(meters, _) => &meters[self.meter_number as usize],
        }
    }

    /// The resource.
    #[inline]
    pub fn resource(&self) -> &'a Resource {
        match self.entries {
            EntrySource::Dictionary(dictionary) => dictionary.resource(self.resource_number),
            EntrySource::Lists(_, resources) => &resources[self.resource_number as usize],
        }
    }

    /// The key of the meter in an [`crate::EntryCache`]. Keys of a delivery are valid for that
    /// delivery only.
    #[inline]
    pub fn meter_key(&self) -> EntryKey {
        match self.entries {
            EntrySource::Dictionary(dictionary) => dictionary.meter_key(self.meter_number),
            EntrySource::Lists(..) => EntryKey { number: self.meter_number, serial: 1 },
        }
    }

    /// The key of the resource in an [`crate::EntryCache`], likewise.
    #[inline]
    pub fn resource_key(&self) -> EntryKey {
        match self.entries {
            EntrySource::Dictionary(dictionary) => dictionary.resource_key(self.resource_number),
            EntrySource::Lists(..) => EntryKey { number: self.resource_number, serial: 1 },
        }
    }

    /// The value, exact if it is a large integer.
    #[inline]
    pub fn value(&self) -> Volume {
        self.exact.map_or(Volume::Float(self.volume), Volume::Integer)
    }
}

/// Has rows: a [`Batch`] of a transformer, or the batch of a [`crate::Delivery`].
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
    entries: EntrySource<'a>,
}

impl Columns for Batch<'_> {
    #[inline]
    fn columns(&self) -> AllColumns<'_> {
        let Samples { meter, resource, time, monotonic, volume, exact, removed: _ } = self.samples;
        let entries = EntrySource::Dictionary(self.dictionary);
        AllColumns { meter, resource, time, monotonic, volume, exact, entries }
    }
}

impl Columns for DeliveryBatch {
    fn columns(&self) -> AllColumns<'_> {
        let Self { meters, resources, meter, resource, time, monotonic, volume, exact, removed: _ } =
            self;
        let entries = EntrySource::Lists(meters, resources);
        AllColumns { meter, resource, time, monotonic, volume, exact, entries }
    }
}

/// Iterates over the rows of a batch, in order.
///
/// The host sends columns of equal length; otherwise iteration ends with the shortest.
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
