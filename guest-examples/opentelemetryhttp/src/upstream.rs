//! The form of Ceilometer's own publisher, for receivers that expect it: one request per sample,
//! times in seconds, `counter` instead of `sum`.

use nephometer_guest::{DeliveryBatch, Failure, MeterType, Row, rows};
use posting::{Post, SampleText};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::otlp::{attributes, description, name};

/// The requests for a batch, one per sample. `texts` are the samples as the host writes them.
///
/// # Errors
/// If a text is not a sample.
pub fn posts(batch: &DeliveryBatch, texts: &[String]) -> Result<Vec<Post>, Failure> {
    rows(batch).zip(texts).map(|(row, text)| body(&row, text).map(Post::new)).collect()
}

fn body(row: &Row<'_>, text: &str) -> Result<String, Failure> {
    // Times are UTC. Ceilometer interprets them in the time zone of its host.
    let seconds = row.time / 1_000_000_000;
    let points = DataPoints {
        data_points: [DataPoint {
            attributes: attributes(row.resource())
                .into_iter()
                .map(|(key, value)| json!({"key": key, "value": {"string_value": value}}))
                .collect(),
            start_time_unix_nano: seconds,
            time_unix_nano: seconds,
            as_double: SampleText::volume(text)?,
            flags: 0,
        }],
    };
    let (counter, gauge) = match row.meter().type_ {
        MeterType::Cumulative => (Some(points), None),
        MeterType::Gauge | MeterType::Delta => (None, Some(points)),
    };
    let metric = Metric {
        name: name(&row.meter().name),
        description: description(&row.meter().name, &row.meter().unit),
        unit: &row.meter().unit,
        counter,
        gauge,
    };
    let scope = json!({"name": "ceilometer", "version": "v1"});
    let request = Request {
        resource_metrics: [ResourceMetrics {
            scope_metrics: [ScopeMetrics { scope, metrics: [metric] }],
        }],
    };
    serde_json::to_string(&request).map_err(|error| Failure::Permanent(error.to_string()))
}

#[derive(Serialize)]
struct Request<'a> {
    resource_metrics: [ResourceMetrics<'a>; 1],
}

#[derive(Serialize)]
struct ResourceMetrics<'a> {
    scope_metrics: [ScopeMetrics<'a>; 1],
}

#[derive(Serialize)]
struct ScopeMetrics<'a> {
    scope: Value,
    metrics: [Metric<'a>; 1],
}

#[derive(Serialize)]
struct Metric<'a> {
    name: String,
    description: String,
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<DataPoints<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauge: Option<DataPoints<'a>>,
}

#[derive(Serialize)]
struct DataPoints<'a> {
    data_points: [DataPoint<'a>; 1],
}

#[derive(Serialize)]
struct DataPoint<'a> {
    attributes: Vec<Value>,
    start_time_unix_nano: u64,
    time_unix_nano: u64,
    as_double: &'a RawValue,
    flags: u8,
}
