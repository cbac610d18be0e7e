//! Series in the conventions of Prometheus: counters as counters, base units, the time of each value,
//! and labels from the metadata of the instance.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::number::{Scale, scaled};
use super::series::{FamilyHead, Point, SeriesSet, cut};
use super::text::{FamilyKind, sanitised, write_labels};
use nephometer_model::{Bound, Meter, MeterType, Sample};

/// The prefix of all families.
const PREFIX: &str = "nephometer_guest_";

/// Adds the series of a sample.
pub(super) fn add(set: &mut SeriesSet, sample: &Sample) {
    let mut text = String::new();
    let labels = labels(sample);
    write_labels(&mut text, labels.iter().map(|(name, value)| (name.as_str(), cut(value))));
    let (head, scale) = family(&sample.meter);
    let value = scaled(sample.volume, scale);
    set.add(head, text, Point { value, taken: sample.taken.wall.as_nanos() });
}

/// The family of a meter, and the scale of its values.
fn family(meter: &Meter) -> (FamilyHead, Scale) {
    let (unit, scale) = base_unit(&meter.unit);
    let mut name = format!("{PREFIX}{}", sanitised(&meter.name));
    // `disk.device.read.bytes` has its unit in the name already, as has `...bytes.delta`.
    if !unit.is_empty() && !name.split('_').any(|word| word == unit) {
        name = format!("{name}_{unit}");
    }
    let kind = match meter.kind {
        MeterType::Cumulative => FamilyKind::Counter,
        MeterType::Gauge | MeterType::Delta => FamilyKind::Gauge,
    };
    // OpenMetrics names a unit only if the name ends with it.
    let suffix = name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
    let help = match &*meter.unit {
        "" => format!("The meter {}.", meter.name),
        unit => format!("The meter {}, there in {unit}.", meter.name),
    };
    let unit = if suffix { unit } else { "" };
    (FamilyHead { name, kind, unit, help }, scale)
}

/// The base unit of a unit of Ceilometer or libvirt, as a word in the name of a family.
fn base_unit(unit: &str) -> (&'static str, Scale) {
    match unit {
        "ns" => ("seconds", Scale::Nano),
        "ms" => ("seconds", Scale::Milli),
        "s" => ("seconds", Scale::One),
        "B" => ("bytes", Scale::One),
        "KiB" => ("bytes", Scale::Times(1 << 10)),
        // Ceilometer's MB were always MiB.
        "MiB" | "MB" => ("bytes", Scale::Times(1 << 20)),
        "GiB" | "GB" => ("bytes", Scale::Times(1 << 30)),
        "request" => ("requests", Scale::One),
        "packet" => ("packets", Scale::One),
        "MiB/s" => ("bytes_per_second", Scale::Times(1 << 20)),
        "B/s" => ("bytes_per_second", Scale::One),
        _ => ("", Scale::One),
    }
}

/// The labels of a sample, by name.
pub(super) fn labels(sample: &Sample) -> BTreeMap<String, String> {
    let resource = &sample.resource;
    let metadata = &resource.metadata;
    let mut labels = BTreeMap::new();
    let text = |key: &str| metadata.get(key).and_then(Value::as_str);
    let device = text("disk_name").or_else(|| text("mac").and(text("name"))).or(text("part"));
    let flavor = metadata.get("flavor").and_then(|flavor| flavor.get("name"));
    for (name, value) in [
        ("resource", Some(&*resource.id)),
        ("vm", text("instance_id")),
        ("vm_name", text("display_name")),
        ("project", resource.project_id.as_deref()),
        ("project_name", resource.project_name.as_deref()),
        ("user", resource.user_id.as_deref()),
        ("user_name", resource.user_name.as_deref()),
        ("device", device),
        ("flavor", flavor.and_then(Value::as_str)),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(user) = metadata.get("user_metadata").and_then(Value::as_object) {
        user_labels(user, &mut labels);
    }
    labels
}

/// What the owner of an instance has set as `metering.KEY`. Of two keys that become one label, the
/// first one by name counts.
fn user_labels(user: &Map<String, Value>, labels: &mut BTreeMap<String, String>) {
    let sorted: BTreeMap<&String, &Value> = user.iter().collect();
    for (key, value) in sorted.into_iter().take(Bound::ScrapeUserLabels.size()) {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        let name = format!("metering_{}", sanitised(cut(key)));
        labels.entry(name).or_insert(value);
    }
}
