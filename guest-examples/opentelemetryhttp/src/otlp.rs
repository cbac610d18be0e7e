//! OTLP 1: what both of its encodings have in common.
//!
//! Each meter is a metric, each sample a data point. Cumulative meters are monotonic sums with an
//! unknown start time, delta meters are sums with delta temporality, the others are gauges.

use nephometer_guest::{DeliveryBatch, FxHashMap, Meter, MeterType, Resource, Row, rows};
use posting::Post;

use crate::{binary, json};

/// The name and version of the scope, as in Ceilometer.
pub(crate) const SCOPE: (&str, &str) = ("ceilometer", "v1");

/// How requests are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Protocol Buffers.
    Protobuf,
    /// JSON.
    Json,
}

impl Encoding {
    /// The media type of requests and responses.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The request for a batch; `None` if it has no samples.
    pub fn post(self, batch: &DeliveryBatch) -> Option<Post> {
        let metrics = metrics(batch);
        if metrics.is_empty() {
            return None;
        }
        Some(match self {
            Self::Protobuf => Post::new(binary::request(&metrics)),
            Self::Json => Post::new(json::request(&metrics)),
        })
    }
}

/// A meter with its samples, in order.
pub(crate) struct Metric<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) rows: Vec<Row<'a>>,
}

fn metrics(batch: &DeliveryBatch) -> Vec<Metric<'_>> {
    let mut metrics: Vec<Metric<'_>> = Vec::new();
    let mut known: FxHashMap<u32, usize> = FxHashMap::default();
    for row in rows(batch) {
        let at = *known.entry(row.meter_number).or_insert_with(|| {
            metrics.push(Metric { meter: row.meter(), rows: Vec::new() });
            metrics.len() - 1
        });
        metrics[at].rows.push(row);
    }
    metrics
}

/// The form of a metric's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    Gauge,
    Sum { temporality: u8, is_monotonic: bool },
}

impl Data {
    /// A sum with delta temporality is not monotonic: its values may be negative.
    pub(crate) fn of(meter: &Meter) -> Self {
        // `AggregationTemporality` of OTLP.
        const DELTA: u8 = 1;
        const CUMULATIVE: u8 = 2;
        match meter.type_ {
            MeterType::Gauge => Self::Gauge,
            MeterType::Cumulative => Self::Sum { temporality: CUMULATIVE, is_monotonic: true },
            MeterType::Delta => Self::Sum { temporality: DELTA, is_monotonic: false },
        }
    }
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
