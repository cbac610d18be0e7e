//! Samples as series: a metric and labels, with values by time.

use nephometer_guest::{DeliveryBatch, FxHashMap, Meter, MeterType, Resource, metadata_text, rows};
use serde_json::Value;

use crate::Options;

/// The name of the label that holds the metric's name.
pub(crate) const NAME: &str = "__name__";

/// The bits of the value that ends a series: a NaN of Prometheus's own (`value.StaleNaN`).
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A series with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The resource that it belongs to.
    pub resource: String,
    /// Names and values by ascending name, as the protocol requires.
    pub labels: Vec<(String, String)>,
    /// Milliseconds since the epoch and values, by ascending time.
    pub samples: Vec<(i64, f64)>,
}

impl Series {
    /// Appends a sample that ends the series, not before `earliest`.
    pub(crate) fn end(&mut self, earliest: i64) {
        let after = self.samples.last().map_or(earliest, |(time, _)| time.saturating_add(1));
        self.samples.push((after.max(earliest), f64::from_bits(STALE)));
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.samples.last().is_some_and(|(_, value)| value.to_bits() == STALE)
    }
}

/// A metric, for the descriptions that go with its series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The meter.
    pub meter: String,
    /// The type of the meter.
    pub type_: MeterType,
}

/// What an envelope has to write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// All series, in the order of their first samples.
    pub series: Vec<Series>,
    /// The metrics of these series, by name.
    pub families: FxHashMap<String, Family>,
}

impl Written {
    /// The series of a batch.
    ///
    /// Of several samples of one series at one millisecond, the last is written: receivers refuse
    /// more than one.
    pub fn of(batch: &DeliveryBatch, options: &Options) -> Self {
        let families: Vec<Family> =
            batch.meters.iter().map(|meter| family(meter, &options.prefix)).collect();
        let resources: Vec<_> =
            batch.resources.iter().map(|resource| labels(resource, options)).collect();
        let mut written = Self::default();
        let mut known: FxHashMap<Vec<(String, String)>, usize> = FxHashMap::default();
        for row in rows(batch) {
            let family = &families[row.meter_number as usize];
            let mut labels = vec![(NAME.to_owned(), family.name.clone())];
            labels.extend(resources[row.resource_number as usize].iter().cloned());
            labels.sort_unstable();
            let series = &mut written.series;
            let at = *known.entry(labels).or_insert_with_key(|labels| {
                let (resource, labels) = (row.resource().id.clone(), labels.clone());
                series.push(Series { resource, labels, samples: Vec::new() });
                series.len() - 1
            });
            let time = i64::try_from(row.time / 1_000_000).unwrap_or(i64::MAX);
            series[at].samples.push((time, row.volume));
            if !written.families.contains_key(&family.name) {
                written.families.insert(family.name.clone(), family.clone());
            }
        }
        for series in &mut written.series {
            // Stable sorting and reversing puts the last of equal times first, which is kept.
            series.samples.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
            series.samples.reverse();
            series.samples.dedup_by_key(|(time, _)| *time);
        }
        written
    }

    /// The newest time; `None` without samples.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.series.iter().filter_map(|series| Some(series.samples.last()?.0)).max()
    }
}

fn family(meter: &Meter, prefix: &str) -> Family {
    Family {
        name: metric_name(prefix, &meter.name),
        unit: meter.unit.clone(),
        meter: meter.name.clone(),
        type_: meter.type_,
    }
}

/// Replaces all characters that are not allowed in the name of a metric, as `prometheus` does.
fn metric_name(prefix: &str, meter: &str) -> String {
    let fits = |one: char| one.is_ascii_alphanumeric() || one == ':';
    let mut name = prefix.to_owned();
    name.extend(meter.chars().map(|one| if fits(one) { one } else { '_' }));
    if name.is_empty() || name.starts_with(|one: char| one.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// The labels of a resource. One with an empty value means the same as none, and is left out.
fn labels(resource: &Resource, options: &Options) -> Vec<(String, String)> {
    let own = [
        ("resource_id", Some(&resource.id)),
        ("user_id", resource.user_id.as_ref()),
        ("project_id", resource.project_id.as_ref()),
    ];
    let mut labels: Vec<(String, String)> = own
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
        .collect();
    if !options.labels.is_empty() {
        let metadata = serde_json::from_str(&resource.metadata).unwrap_or(Value::Null);
        labels.extend(
            options
                .labels
                .iter()
                .filter_map(|(name, path)| Some((name.clone(), metadata_text(&metadata, path)?))),
        );
    }
    labels.extend(options.fixed_labels.iter().cloned());
    labels.retain(|(_, value)| !value.is_empty());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use posting::golden;

    fn options() -> Options {
        Options {
            prefix: "ceilometer_".to_owned(),
            labels: vec![("host".to_owned(), "host".to_owned())],
            fixed_labels: vec![("region".to_owned(), "north".to_owned())],
            stale_markers: true,
        }
    }

    #[test]
    fn each_meter_of_a_resource_is_a_series() {
        let (batch, _) = golden::samples();
        let written = Written::of(&batch, &options());
        assert_eq!(written.series.len(), batch.meter.len());
        let cpu = &written.series[1];
        let names: Vec<_> = cpu.labels.iter().map(|(name, _)| name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted, "names have to ascend");
        assert_eq!(cpu.labels[0], (NAME.to_owned(), "ceilometer_cpu".to_owned()));
        assert!(cpu.labels.contains(&("region".to_owned(), "north".to_owned())));
        assert_eq!(cpu.samples, [(1_795_380_806_199, 9_740_000_000.0)]);
        assert_eq!(written.families["ceilometer_cpu"].unit, "ns");
    }

    #[test]
    fn samples_are_in_order_and_one_for_each_time() {
        let (mut batch, _) = golden::samples();
        let millisecond = 1_000_000;
        batch.meter = vec![0; 4];
        batch.resource = vec![0; 4];
        batch.monotonic = vec![0; 4];
        batch.time = vec![5 * millisecond, 3 * millisecond, 5 * millisecond + 1, 4 * millisecond];
        batch.volume = vec![1.0, 2.0, 3.0, 4.0];
        let written = Written::of(&batch, &options());
        assert_eq!(written.series.len(), 1);
        assert_eq!(written.series[0].samples, [(3, 2.0), (4, 4.0), (5, 3.0)]);
        assert_eq!(written.newest(), Some(5));
    }

    #[test]
    fn names_are_those_that_prometheus_allows() {
        assert_eq!(metric_name("", "disk.device.read-x"), "disk_device_read_x");
        assert_eq!(metric_name("", "9ü"), "_9_");
        assert_eq!(metric_name("a:", "9"), "a:9");
    }
}
