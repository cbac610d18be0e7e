//! How large an answer is, and what it represents once each row stands alone: checked before any row is
//! made. A small answer can name one large resource in many rows, and every message repeats it.

use std::io;
use std::sync::Arc;

use super::batch::Columns;
use crate::bindings::nephometer::metering::types::{MeterResult, ResourceResult};
use nephometer_model::{Bound, Exceeded, Meter, Resource};

/// Bytes of a row in a message besides its meter and resource: id, time, volume, signature and their names.
const ROW: usize = 256;

/// Entries of a dictionary: each with the number of the first one that equals it.
type Entries<T> = [(u32, Arc<T>)];

/// The columns of an answer, of equal length.
pub(super) struct Columned {
    pub(super) origin: Vec<u32>,
    pub(super) meter: Vec<u32>,
    pub(super) resource: Vec<u32>,
    pub(super) time: Vec<u64>,
    pub(super) volume: Vec<f64>,
}

/// Refuses too many or too large new entries.
pub(super) fn entries(
    meters: &[MeterResult],
    resources: &[ResourceResult],
) -> Result<(), Exceeded> {
    Bound::NewMeters.check(meters.len())?;
    Bound::NewResources.check(resources.len())?;
    let of_meters = meters.iter().flat_map(|meter| [&meter.name, &meter.unit]);
    let of_resources = resources.iter().flat_map(|resource| {
        let owner = [&resource.project_id, &resource.user_id].into_iter().flatten();
        [&resource.id, &resource.source].into_iter().chain(owner)
    });
    of_meters.chain(of_resources).try_for_each(|text| Bound::IdBytes.check(text.len()))?;
    let mut all = 0;
    for resource in resources {
        Bound::MetadataBytes.check(resource.metadata.len())?;
        all += values(&resource.metadata);
    }
    Bound::MetadataValues.check(all)
}

/// Refuses rows that represent much more than those of the input: `entries` are the input's, then the new
/// ones.
pub(super) fn rows(
    answer: &Columned,
    input: Option<&Columns<'_>>,
    (meters, resources): (&Entries<Meter>, &Entries<Resource>),
) -> Result<(), Exceeded> {
    let given = |column: fn(&Columned) -> &Vec<u32>| column(answer).as_slice();
    let had = input.map_or((&[][..], &[][..]), |input| (&input.meter[..], &input.resource[..]));
    let more = answer.meter.len().saturating_sub(had.0.len());
    Bound::AnswerRows.check(more)?;
    let of_meters = beyond(given(|answer| &answer.meter), had.0, meters, |meter| {
        meter.name.len() + meter.unit.len()
    });
    let of_resources = beyond(given(|answer| &answer.resource), had.1, resources, weight);
    let bytes = more.saturating_mul(ROW).saturating_add(of_meters).saturating_add(of_resources);
    Bound::AnswerBytes.check(bytes)
}

/// The weight of the entries that rows name more often than the input's rows do.
fn beyond<T>(
    rows: &[u32],
    had: &[u32],
    entries: &Entries<T>,
    weight: impl Fn(&T) -> usize,
) -> usize {
    let mut counts = vec![0_i64; entries.len()];
    for (column, step) in [(rows, 1), (had, -1)] {
        for index in column {
            // A number without an entry is refused with its row.
            if let Some((same, _)) = entries.get(*index as usize)
                && let Some(count) = counts.get_mut(*same as usize)
            {
                *count += step;
            }
        }
    }
    let more = counts.iter().zip(entries).filter_map(|(count, (_, entry))| {
        let count = usize::try_from(*count).ok().filter(|count| *count > 0)?;
        Some(count.saturating_mul(weight(entry)))
    });
    more.fold(0, usize::saturating_add)
}

/// Bytes of a resource in a message.
fn weight(resource: &Resource) -> usize {
    let owner = [&resource.project_id, &resource.user_id].into_iter().flatten();
    let owner: usize = owner.map(|id| id.len()).sum();
    let mut metadata = Count(0);
    serde_json::to_writer(&mut metadata, &resource.metadata)
        .expect("a map of JSON values has text keys, and counting cannot fail");
    resource.id.len() + resource.source.len() + owner + metadata.0
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many values a text of JSON has at the most, without reading it: reading makes many bytes of each.
fn values(text: &str) -> usize {
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
    fn values_are_counted_outside_of_texts() {
        assert_eq!(values("{}"), 2);
        assert_eq!(values(r#"{"a,\"[": 1, "b": [1, 2]}"#), 5);
    }
}
