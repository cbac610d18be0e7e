//! Sizes of an answer's entries and of the messages that its rows become. Checked before any sample
//! is created: a small answer can refer to one large resource in many rows, and every message
//! repeats it.

use std::io;

use super::by_address::ByNumber;
use crate::bindings::exports::nephometer::metering::dictionary::{
    NumberedMeterResult, NumberedResourceResult,
};
use nephometer_model::{Bound, Exceeded, Meter, Resource};

/// Bytes of a message besides meter and resource: id, time, volume, signature and their names.
pub(super) const ROW_BYTES: usize = 256;

/// Refuses too many or too large new entries.
pub(super) fn check_entries(
    meters: &[NumberedMeterResult],
    resources: &[NumberedResourceResult],
) -> Result<(), Exceeded> {
    Bound::NewMeters.check(meters.len())?;
    Bound::NewResources.check(resources.len())?;
    let of_meters = meters.iter().flat_map(|meter| [&meter.entry.name, &meter.entry.unit]);
    let of_resources = resources.iter().flat_map(|resource| {
        let owner = [&resource.entry.project_id, &resource.entry.user_id].into_iter().flatten();
        [&resource.entry.id, &resource.entry.source].into_iter().chain(owner)
    });
    of_meters.chain(of_resources).try_for_each(|text| Bound::IdBytes.check(text.len()))?;
    let mut all = 0;
    for resource in resources {
        Bound::MetadataBytes.check(resource.entry.metadata.len())?;
        all += count_values(&resource.entry.metadata);
    }
    Bound::MetadataValues.check(all)
}

/// Numbers that `rows` refer to more often than `input_rows` did, each with the difference.
pub(super) fn added_references(
    rows: &[u32],
    input_rows: &[u32],
) -> impl Iterator<Item = (usize, u32)> {
    let mut counts: ByNumber<i64> = ByNumber::default();
    for (column, step) in [(rows, 1), (input_rows, -1)] {
        for number in column {
            *counts.entry(*number).or_insert(0) += step;
        }
    }
    let added =
        |(number, count)| Some((usize::try_from(count).ok().filter(|added| *added > 0)?, number));
    counts.into_iter().filter_map(added)
}

/// Bytes of a meter in a message.
#[inline]
pub(super) fn meter_bytes(meter: &Meter) -> usize {
    meter.name.len() + meter.unit.len()
}

/// Bytes of a resource in a message.
pub(super) fn resource_bytes(resource: &Resource) -> usize {
    let owner = [&resource.project_id, &resource.user_id].into_iter().flatten();
    let owner: usize = owner.map(|id| id.len()).sum();
    let mut metadata = ByteCounter(0);
    serde_json::to_writer(&mut metadata, &resource.metadata)
        .expect("a map of JSON values has text keys, and counting cannot fail");
    resource.id.len() + resource.source.len() + owner + metadata.0
}

/// A writer that counts bytes.
struct ByteCounter(usize);

impl io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Upper limit on the number of values in a JSON text, without parsing: a parsed value takes many
/// times its bytes.
pub(super) fn count_values(text: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(count_values("{}"), 2);
        assert_eq!(count_values(r#"{"a,\"[": 1, "b": [1, 2]}"#), 5);
    }
}
