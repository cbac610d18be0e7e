use std::collections::HashMap;

use serde_json::Value;

/// The keys of a sample in `once --format ndjson`, files and standard input, in their order.
pub(crate) const AS_DICT: [&str; 14] = [
    "name",
    "type",
    "unit",
    "volume",
    "user_id",
    "user_name",
    "project_id",
    "project_name",
    "resource_id",
    "timestamp",
    "resource_metadata",
    "source",
    "id",
    "monotonic_time",
];

/// The keys of a metering message, in their order.
pub(crate) const MESSAGE: [&str; 15] = [
    "source",
    "counter_name",
    "counter_type",
    "counter_unit",
    "counter_volume",
    "user_id",
    "user_name",
    "project_id",
    "project_name",
    "resource_id",
    "timestamp",
    "resource_metadata",
    "message_id",
    "monotonic_time",
    "message_signature",
];

/// Name, type and unit of every meter of the current release.
pub(crate) const CATALOGUE: [(&str, &str, &str); 30] = [
    ("cpu", "cumulative", "ns"),
    ("vcpus", "gauge", "vcpu"),
    ("memory", "gauge", "MiB"),
    ("memory.available", "gauge", "MiB"),
    ("memory.usage", "gauge", "MiB"),
    ("memory.resident", "gauge", "MiB"),
    ("memory.swap.in", "cumulative", "MiB"),
    ("memory.swap.out", "cumulative", "MiB"),
    ("power.state", "gauge", ""),
    ("disk.device.read.bytes", "cumulative", "B"),
    ("disk.device.read.requests", "cumulative", "request"),
    ("disk.device.read.latency", "cumulative", "ns"),
    ("disk.device.write.bytes", "cumulative", "B"),
    ("disk.device.write.requests", "cumulative", "request"),
    ("disk.device.write.latency", "cumulative", "ns"),
    ("disk.device.capacity", "gauge", "B"),
    ("disk.device.allocation", "gauge", "B"),
    ("disk.device.usage", "gauge", "B"),
    ("disk.root.size", "gauge", "GiB"),
    ("disk.ephemeral.size", "gauge", "GiB"),
    ("network.incoming.bytes", "cumulative", "B"),
    ("network.incoming.bytes.delta", "delta", "B"),
    ("network.incoming.packets", "cumulative", "packet"),
    ("network.incoming.packets.error", "cumulative", "packet"),
    ("network.incoming.packets.drop", "cumulative", "packet"),
    ("network.outgoing.bytes", "cumulative", "B"),
    ("network.outgoing.bytes.delta", "delta", "B"),
    ("network.outgoing.packets", "cumulative", "packet"),
    ("network.outgoing.packets.error", "cumulative", "packet"),
    ("network.outgoing.packets.drop", "cumulative", "packet"),
];

/// Parses one JSON object per line.
pub(crate) fn ndjson(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A field of a sample by its short name. The sample may have long names (`counter_volume`).
pub(crate) fn field<'a>(sample: &'a Value, name: &str) -> &'a Value {
    let long = match name {
        "name" | "type" | "unit" | "volume" => format!("counter_{name}"),
        "id" => "message_id".to_owned(),
        other => other.to_owned(),
    };
    sample
        .get(&long)
        .or_else(|| sample.get(name))
        .unwrap_or_else(|| panic!("no {name} in {sample}"))
}

pub(crate) fn text<'a>(sample: &'a Value, name: &str) -> &'a str {
    field(sample, name).as_str().unwrap_or_else(|| panic!("{name} is not text in {sample}"))
}

pub(crate) fn number(sample: &Value) -> f64 {
    field(sample, "volume").as_f64().unwrap_or_else(|| panic!("volume is not a number in {sample}"))
}

/// The keys of an object, in their order.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {object}"))
        .keys()
        .map(String::as_str)
        .collect()
}

/// Asserts that timestamps never go back within a series; returns the number of series (meter and
/// resource).
pub(crate) fn sorted_by_time<'a>(samples: impl IntoIterator<Item = &'a Value>) -> usize {
    let mut newest: HashMap<(String, String), String> = HashMap::new();
    for sample in samples {
        let key = (text(sample, "name").to_owned(), text(sample, "resource_id").to_owned());
        let time = text(sample, "timestamp").to_owned();
        if let Some(before) = newest.get(&key) {
            assert!(*before <= time, "{key:?} goes back from {before} to {time}");
        }
        newest.insert(key, time);
    }
    newest.len()
}
