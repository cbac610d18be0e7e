//! The series of `ceilometer/polling/prom_exporter.py` in release 27: names, labels and values.
//!
//! Everything is a gauge without help, unit and time. Two things differ, because there the exporter
//! fails: the labels of a series depend on its own sample, not on the first sample of the meter; and
//! series are replaced at once, not deleted before each poll.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::number::as_prometheus_client;
use super::series::{FamilyHead, Point, SeriesSet, cut};
use super::text::{FamilyKind, sanitised, write_labels};
use nephometer_model::Sample;

/// Adds the series of a sample.
pub(super) fn add(set: &mut SeriesSet, sample: &Sample) {
    let mut text = String::new();
    let labels = labels(sample);
    write_labels(&mut text, labels.iter().map(|(name, value)| (name.as_str(), cut(value))));
    let head = FamilyHead {
        name: format!("ceilometer_{}", sanitised(&sample.meter.name)),
        kind: FamilyKind::Gauge,
        unit: "",
        help: String::new(),
    };
    let value = as_prometheus_client(sample.volume.as_f64());
    set.add(head, text, Point { value, taken: sample.taken.wall.as_nanos() });
}

/// The labels of a sample, by name. Of two with one name, the later one in the code of the exporter
/// wins.
fn labels(sample: &Sample) -> BTreeMap<String, String> {
    let (meter, resource) = (&sample.meter, &sample.resource);
    let words: Vec<&str> = meter.name.split('.').collect();
    let first = words.first().copied().unwrap_or_default();
    let mut labels = BTreeMap::new();
    let mut put = |name: &str, value: &str| {
        labels.insert(name.to_owned(), value.to_owned());
    };
    put(&sanitised(first), words.get(2).copied().unwrap_or(&resource.id));
    put("publisher", "ceilometer");
    put("type", words.get(1).copied().unwrap_or(first));
    let owner = [
        ("counter", Some(&*meter.name)),
        ("project", resource.project_id.as_deref()),
        ("project_name", resource.project_name.as_deref()),
        ("user", resource.user_id.as_deref()),
        ("user_name", resource.user_name.as_deref()),
        ("unit", Some(&*meter.unit)),
        ("resource", Some(&*resource.id)),
    ];
    for (name, value) in owner {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            put(name, value);
        }
    }
    if !resource.metadata.is_empty() {
        metadata_labels(&resource.metadata, put);
    }
    labels
}

fn metadata_labels(metadata: &Map<String, Value>, mut put: impl FnMut(&str, &str)) {
    let text = |map: &Map<String, Value>, key: &str| -> Option<String> {
        let value = map.get(key)?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    if let Some(host) = text(metadata, "host") {
        put("vm_instance", &host);
    }
    match (text(metadata, "display_name"), text(metadata, "name")) {
        (Some(display), Some(name)) => put("resource_name", &format!("{display}:{name}")),
        (Some(name), None) | (None, Some(name)) => put("resource_name", &name),
        (None, None) => {}
    }
    let user = metadata.get("user_metadata").and_then(Value::as_object);
    let group = user.and_then(|user| text(user, "server_group"));
    put("server_group", group.as_deref().unwrap_or("none"));
    let Some(flavor) = metadata.get("flavor").and_then(Value::as_object) else { return };
    for key in ["id", "name"] {
        if let Some(value) = text(flavor, key) {
            put(&format!("flavor_{key}"), &value);
        }
    }
}
