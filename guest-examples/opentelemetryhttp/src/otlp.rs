//! OTLP 1 in its JSON encoding: `ExportMetricsServiceRequest`, with 64-bit integers as strings.

use nephometer_guest::{DeliveryBatch, FxHashMap, MeterType, Resource, Row, rows};
use nephometer_guest_http::Response;
use posting::Post;
use serde_json::{Value, json};

/// `AggregationTemporality` of OTLP.
const DELTA: u8 = 1;
const CUMULATIVE: u8 = 2;

/// The request for a batch; `None` if it has no samples.
///
/// Each meter is a metric, each sample a data point. Cumulative meters are monotonic sums with an
/// unknown start time, delta meters are sums with delta temporality, the others are gauges.
pub fn post(batch: &DeliveryBatch) -> Option<Post> {
    let mut metrics: Vec<(u32, Vec<Value>)> = Vec::new();
    let mut known: FxHashMap<u32, usize> = FxHashMap::default();
    for row in rows(batch) {
        let at = *known.entry(row.meter_number).or_insert_with(|| {
            metrics.push((row.meter_number, Vec::new()));
            metrics.len() - 1
        });
        metrics[at].1.push(data_point(&row));
    }
    if metrics.is_empty() {
        return None;
    }
    let metrics: Vec<Value> = metrics
        .into_iter()
        .map(|(index, points)| {
            let meter = &batch.meters[index as usize];
            let mut metric = json!({
                "name": name(&meter.name),
                "description": description(&meter.name, &meter.unit),
                "unit": meter.unit,
            });
            let (kind, data) = match meter.type_ {
                MeterType::Gauge => ("gauge", json!({ "dataPoints": points })),
                MeterType::Cumulative => ("sum", sum(&points, CUMULATIVE)),
                MeterType::Delta => ("sum", sum(&points, DELTA)),
            };
            metric[kind] = data;
            metric
        })
        .collect();
    let scope = json!({"name": "ceilometer", "version": "v1"});
    let body = json!({
        "resourceMetrics": [{"scopeMetrics": [{"scope": scope, "metrics": metrics}]}],
    });
    Some(Post::new(body.to_string()))
}

/// A sum. One with delta temporality is not monotonic: its values may be negative.
fn sum(points: &[Value], temporality: u8) -> Value {
    json!({
        "dataPoints": points,
        "aggregationTemporality": temporality,
        "isMonotonic": temporality == CUMULATIVE,
    })
}

fn data_point(row: &Row<'_>) -> Value {
    let attributes: Vec<Value> = attributes(row.resource())
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect();
    json!({
        "attributes": attributes,
        "timeUnixNano": row.time.to_string(),
        "asDouble": row.volume,
    })
}

/// The name of a metric, as in Ceilometer.
pub(crate) fn name(meter: &str) -> String {
    meter.replace('.', "_")
}

/// The description of a metric, as in Ceilometer.
pub(crate) fn description(meter: &str, unit: &str) -> String {
    format!("{meter} unit:{unit}")
}

/// The attributes of a data point, as in Ceilometer; unknown values are left out.
pub(crate) fn attributes(resource: &Resource) -> Vec<(&'static str, &str)> {
    let all = [
        ("resource_id", Some(resource.id.as_str())),
        ("user_id", resource.user_id.as_deref()),
        ("project_id", resource.project_id.as_deref()),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Checks a 2xx response for a partial success, which rejects some of the data points.
///
/// # Errors
/// How many data points were rejected, and message. OTLP forbids sending them again.
pub fn accepted(response: &Response) -> Result<(), String> {
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else { return Ok(()) };
    let partial = &body["partialSuccess"];
    let rejected = match &partial["rejectedDataPoints"] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    };
    if rejected == 0 {
        return Ok(());
    }
    let message: String =
        partial["errorMessage"].as_str().unwrap_or("no reason").chars().take(200).collect();
    Err(format!("{rejected} data points of this envelope were rejected: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_an_error() {
        let of = |body: &str| {
            accepted(&Response {
                status: 200,
                body: body.as_bytes().to_vec(),
                ..Response::default()
            })
        };
        for good in ["", "{}", "ok", "{\"partialSuccess\":{\"rejectedDataPoints\":\"0\"}}"] {
            assert_eq!(of(good), Ok(()), "{good}");
        }
        let bad =
            "{\"partialSuccess\":{\"rejectedDataPoints\":\"3\",\"errorMessage\":\"too old\"}}";
        let reason = "3 data points of this envelope were rejected: too old";
        assert_eq!(of(bad), Err(reason.to_owned()));
        assert!(of("{\"partialSuccess\":{\"rejectedDataPoints\":3}}").is_err());
    }
}
