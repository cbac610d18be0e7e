//! OTLP in its JSON encoding: `ExportMetricsServiceRequest`, with 64-bit integers as strings.

use nephometer_guest::Row;
use serde_json::{Value, json};

use crate::otlp::{Data, Metric, SCOPE, attributes, description, name};

/// The body of a request.
pub(crate) fn request(metrics: &[Metric<'_>]) -> String {
    let metrics: Vec<Value> = metrics.iter().map(metric).collect();
    let scope = json!({"name": SCOPE.0, "version": SCOPE.1});
    let body = json!({
        "resourceMetrics": [{"scopeMetrics": [{"scope": scope, "metrics": metrics}]}],
    });
    body.to_string()
}

fn metric(metric: &Metric<'_>) -> Value {
    let meter = metric.meter;
    let points: Vec<Value> = metric.rows.iter().map(data_point).collect();
    let mut value = json!({
        "name": name(&meter.name),
        "description": description(&meter.name, &meter.unit),
        "unit": meter.unit,
    });
    match Data::of(meter) {
        Data::Gauge => value["gauge"] = json!({ "dataPoints": points }),
        Data::Sum { temporality, is_monotonic } => {
            value["sum"] = json!({
                "dataPoints": points,
                "aggregationTemporality": temporality,
                "isMonotonic": is_monotonic,
            });
        }
    }
    value
}

fn data_point(row: &Row<'_>) -> Value {
    let attributes: Vec<Value> = attributes(row.resource())
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect();
    let mut point = json!({"attributes": attributes, "timeUnixNano": row.time.to_string()});
    match row.exact {
        Some(integer) => point["asInt"] = integer.to_string().into(),
        None => point["asDouble"] = row.volume.into(),
    }
    point
}
