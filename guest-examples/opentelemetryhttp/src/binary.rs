//! OTLP as Protocol Buffers: `ExportMetricsServiceRequest`. Field numbers are those of
//! `opentelemetry/proto/metrics/v1/metrics.proto` and the files that it imports.

use nephometer_guest::Row;
use protobuf::Message;

use crate::otlp::{Data, Metric, SCOPE, attributes, description, name};

/// The body of a request.
pub(crate) fn request(metrics: &[Metric<'_>]) -> Vec<u8> {
    let mut scope = Message::new();
    scope.text(1, SCOPE.0);
    scope.text(2, SCOPE.1);
    let mut scope_metrics = Message::new();
    scope_metrics.message(1, &scope);
    for one in metrics {
        scope_metrics.message(2, &metric(one));
    }
    let mut resource_metrics = Message::new();
    resource_metrics.message(2, &scope_metrics);
    let mut request = Message::new();
    request.message(1, &resource_metrics);
    request.into_bytes()
}

fn metric(metric: &Metric<'_>) -> Message {
    let meter = metric.meter;
    let mut message = Message::new();
    message.text(1, &name(&meter.name));
    message.text(2, &description(&meter.name, &meter.unit));
    message.text(3, &meter.unit);
    let mut data = Message::new();
    for row in &metric.rows {
        data.message(1, &data_point(row));
    }
    match Data::of(meter) {
        Data::Gauge => message.message(5, &data),
        Data::Sum { temporality, is_monotonic } => {
            data.choice(2, temporality);
            data.flag(3, is_monotonic);
            message.message(7, &data);
        }
    }
    message
}

fn data_point(row: &Row<'_>) -> Message {
    let mut point = Message::new();
    point.fixed64(3, row.time);
    match row.exact {
        Some(integer) => point.sfixed64_always(6, integer),
        None => point.double_always(4, row.volume),
    }
    for (key, value) in attributes(row.resource()) {
        let mut any = Message::new();
        any.text_always(1, value);
        let mut attribute = Message::new();
        attribute.text(1, key);
        attribute.message(2, &any);
        point.message(7, &attribute);
    }
    point
}
