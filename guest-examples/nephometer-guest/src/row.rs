use crate::{Batch, Meter, Resource, Timestamp};

/// One row of a batch, its dictionary entries looked up.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its number in the batch: the origin of what is made of it.
    pub number: u32,
    /// The index of its meter.
    pub meter_index: u32,
    /// The index of its resource.
    pub resource_index: u32,
    /// What was measured.
    pub meter: &'a Meter,
    /// Of what.
    pub resource: &'a Resource,
    /// When the value was true, in nanoseconds since the epoch.
    pub time: Timestamp,
    /// Nanoseconds of a clock that never goes back.
    pub monotonic: Option<u64>,
    /// The value, in the meter's unit.
    pub volume: f64,
}

/// The rows of a batch, in order.
///
/// The host only sends columns of equal length and indexes in range; iteration would end at the
/// first row for which that is not so.
pub fn rows(batch: &Batch) -> impl Iterator<Item = Row<'_>> {
    let clocks = batch.time.iter().zip(&batch.monotonic).zip(&batch.volume);
    (0u32..).zip(batch.meter.iter().zip(&batch.resource)).zip(clocks).map_while(
        |((number, (&meter, &resource)), ((&time, &monotonic), &volume))| {
            Some(Row {
                number,
                meter_index: meter,
                resource_index: resource,
                meter: batch.meters.get(meter as usize)?,
                resource: batch.resources.get(resource as usize)?,
                time,
                monotonic: (monotonic != 0).then_some(monotonic),
                volume,
            })
        },
    )
}
