//! Entries of answers, with the keys and their order of the real API.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value, json};

use super::flat::flat;
use crate::store::{MeterEntry, ResourceEntry, StoredSample};

/// What is escaped in paths and queries of links.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `/v2/meters/NAME`
pub(super) fn old_sample(sample: &StoredSample) -> Value {
    json!({
        "source": &*sample.owner.source,
        "counter_name": &*sample.meter.name,
        "counter_type": sample.meter.kind,
        "counter_unit": &*sample.meter.unit,
        "counter_volume": volume(sample),
        "user_id": sample.owner.user_id.as_deref(),
        "project_id": sample.owner.project_id.as_deref(),
        "resource_id": &*sample.owner.resource_id,
        "timestamp": sample.time.iso(),
        "recorded_at": sample.recorded.iso(),
        "resource_metadata": flat(&sample.metadata),
        "message_id": sample.id.to_string(),
    })
}

/// `/v2/samples` and `/v2/query/samples`
pub(super) fn sample(sample: &StoredSample) -> Value {
    json!({
        "id": sample.id.to_string(),
        "meter": &*sample.meter.name,
        "type": sample.meter.kind,
        "unit": &*sample.meter.unit,
        "volume": volume(sample),
        "user_id": sample.owner.user_id.as_deref(),
        "project_id": sample.owner.project_id.as_deref(),
        "resource_id": &*sample.owner.resource_id,
        "source": &*sample.owner.source,
        "timestamp": sample.time.iso(),
        "recorded_at": sample.recorded.iso(),
        "metadata": flat(&sample.metadata),
    })
}

/// The API has floats only.
fn volume(sample: &StoredSample) -> Option<f64> {
    sample.volume.map(nephometer_model::Volume::as_f64)
}

/// `/v2/meters`
pub(super) fn meter(entry: &MeterEntry) -> Value {
    let (meter, owner) = (&entry.meter, &entry.owner);
    json!({
        "name": &*meter.name,
        "type": meter.kind,
        "unit": &*meter.unit,
        "resource_id": &*owner.resource_id,
        "project_id": owner.project_id.as_deref(),
        "user_id": owner.user_id.as_deref(),
        "source": &*owner.source,
        "meter_id": base64(format!("{}+{}", owner.resource_id, meter.name).as_bytes()),
    })
}

/// `/v2/meters?unique=True`
pub(super) fn unique_meter(entry: &MeterEntry) -> Value {
    let meter = &entry.meter;
    json!({
        "name": &*meter.name,
        "type": meter.kind,
        "unit": &*meter.unit,
        "resource_id": null,
        "project_id": null,
        "user_id": null,
        "source": null,
        "meter_id": base64(format!("None+{}", meter.name).as_bytes()),
    })
}

/// `/v2/resources`; `links` begins with the resource itself.
pub(super) fn resource(entry: &ResourceEntry, links: &[Value]) -> Value {
    json!({
        "resource_id": &*entry.owner.resource_id,
        "project_id": entry.owner.project_id.as_deref(),
        "user_id": entry.owner.user_id.as_deref(),
        "first_sample_timestamp": entry.first.iso(),
        "last_sample_timestamp": entry.last.iso(),
        "metadata": flat(&entry.metadata),
        "links": links,
        "source": &*entry.owner.source,
    })
}

/// The link of a resource to itself.
pub(super) fn own_link(base: &str, resource: &str) -> Value {
    json!({"href": format!("{base}/v2/resources/{}", encoded(resource)), "rel": "self"})
}

/// The link of a resource to a meter.
pub(super) fn meter_link(base: &str, resource: &str, meter: &str) -> Value {
    let (meter_path, resource) = (encoded(meter), encoded(resource));
    let href = format!("{base}/v2/meters/{meter_path}?q.field=resource_id&q.value={resource}");
    json!({"href": href, "rel": meter})
}

/// Leaves what resource ids and meters usually have.
fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes(), ENCODED).to_string()
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// The capabilities of this program, flattened as the real API has them.
pub(super) fn capabilities() -> Value {
    let yes = |names: &[&str]| {
        let pairs = names.iter().map(|name| ((*name).to_owned(), Value::Bool(true)));
        pairs.collect::<Map<String, Value>>()
    };
    let aggregates = ["max", "min", "sum", "avg", "count", "stddev", "cardinality"];
    let mut api = yes(&[
        "meters:query:simple",
        "meters:query:metadata",
        "resources:query:simple",
        "resources:query:metadata",
        "samples:query:simple",
        "samples:query:metadata",
        "samples:query:complex",
        "statistics:groupby",
        "statistics:query:simple",
        "statistics:query:metadata",
        "statistics:aggregation:standard",
    ]);
    for name in aggregates {
        api.insert(format!("statistics:aggregation:selectable:{name}"), Value::Bool(true));
    }
    for name in [
        "meters:pagination",
        "resources:pagination",
        "samples:pagination",
        "samples:groupby",
        "statistics:pagination",
        "meters:query:complex",
        "resources:query:complex",
        "statistics:query:complex",
        "statistics:aggregation:selectable:quartile",
    ] {
        api.insert(name.to_owned(), Value::Bool(false));
    }
    json!({
        "api": api,
        "storage": {"storage:production_ready": true},
        "event_storage": {"storage:production_ready": false},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (text, expected) in
            [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("None+cpu", "Tm9uZStjcHU=")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn links_escape_what_is_no_part_of_a_path() {
        let link = meter_link("http://h", "a/b c", "cpu");
        assert_eq!(link["href"], "http://h/v2/meters/cpu?q.field=resource_id&q.value=a%2Fb%20c");
    }
}
