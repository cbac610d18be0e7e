//! The measures of an envelope, and the resources that they belong to.

use nephometer_guest::{DeliveryBatch, Failure, FxHashMap, Row, rows};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::definitions::{Definitions, Metric, ResourceType};
use crate::ordered::Ordered;
use crate::reported::Reported;

/// The part of a sample's text that is sent as it is: Gnocchi gets the digits and the form of times
/// that it gets from Ceilometer.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
struct Measure<'a> {
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(rename(serialize = "value"), borrow)]
    volume: &'a RawValue,
}

#[derive(Debug, Default, Serialize)]
struct MetricMeasures<'a> {
    measures: Vec<Measure<'a>>,
    archive_policy_name: &'a str,
    unit: &'a str,
}

/// A resource of this envelope.
#[derive(Debug)]
pub(crate) struct ResourceInfo<'a> {
    pub(crate) type_: &'static ResourceType,
    user_id: Option<&'a str>,
    /// The attributes that are updated when they change.
    pub(crate) extra: Ordered<Value>,
    metrics: Ordered<MetricMeasures<'a>>,
}

impl<'a> ResourceInfo<'a> {
    fn new(row: &Row<'a>, metric: &Metric) -> Self {
        let user_id = row.resource().user_id.as_deref();
        let (extra, metrics) = (Ordered::default(), Ordered::default());
        Self { type_: metric.resource_type, user_id, extra, metrics }
    }

    /// The body of the request that creates it.
    pub(crate) fn creation(&self, id: &str) -> Vec<u8> {
        let mut whole = Ordered::default();
        whole.set("id", Value::from(id));
        whole.set("user_id", Value::from(self.user_id));
        for (name, value) in &self.extra.0 {
            whole.set(name, value.clone());
        }
        bytes(&whole)
    }

    /// The body of the request that updates it.
    pub(crate) fn update(&self) -> Vec<u8> {
        bytes(&self.extra)
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys, texts and numbers can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}

/// What an envelope sends: resources by id, in the order of their ids.
#[derive(Debug, Default)]
pub struct Measures<'a> {
    pub(crate) resources: Vec<(String, ResourceInfo<'a>)>,
}

impl<'a> Measures<'a> {
    /// The measures of a batch, resources in order of their ids.
    ///
    /// Samples of the project `filtered` are left out. Meters that Gnocchi does not get are logged
    /// once.
    ///
    /// # Errors
    /// If a text is not a sample.
    pub fn of(
        batch: &'a DeliveryBatch,
        texts: &'a [String],
        definitions: &'a Definitions,
        filtered: Option<&str>,
        reported: &mut Reported,
    ) -> Result<Self, Failure> {
        let mut sorted: Vec<(Row<'a>, &'a String)> = rows(batch).zip(texts).collect();
        // Stable: the samples of one resource keep their order.
        sorted.sort_by(|one, other| one.0.resource().id.cmp(&other.0.resource().id));
        let mut metadata: FxHashMap<u32, Value> = FxHashMap::default();
        let mut known: FxHashMap<String, usize> = FxHashMap::default();
        let mut measures = Self::default();
        for (row, text) in sorted {
            let (meter, resource) = (row.meter(), row.resource());
            if filtered.is_some() && resource.project_id.as_deref() == filtered {
                continue;
            }
            let Some(metric) = definitions.metric(&meter.name) else {
                let reason = format!("metric {} is not handled by Gnocchi", meter.name);
                reported.warn(&meter.name, &reason);
                continue;
            };
            let malformed = |error| Failure::Permanent(format!("malformed sample text: {error}"));
            let measure: Measure<'a> = serde_json::from_str(text).map_err(malformed)?;
            // Gnocchi forbids slashes.
            let id = resource.id.replace('/', "_");
            let at = *known.entry(id).or_insert_with_key(|id| {
                measures.resources.push((id.clone(), ResourceInfo::new(&row, metric)));
                measures.resources.len() - 1
            });
            let info = &mut measures.resources[at].1;
            info.extra.set("project_id", Value::from(resource.project_id.as_deref()));
            let parsed = metadata
                .entry(row.resource_number)
                .or_insert_with(|| serde_json::from_str(&resource.metadata).unwrap_or(Value::Null));
            metric.resource_type.set_attributes(parsed, &mut info.extra);
            let entry = info.metrics.entry(&meter.name);
            if entry.measures.is_empty() {
                (entry.archive_policy_name, entry.unit) = (&metric.archive_policy, &meter.unit);
            }
            entry.measures.push(measure);
        }
        Ok(measures)
    }

    /// Leaves out a resource that cannot be created.
    pub(crate) fn remove(&mut self, id: &str) {
        self.resources.retain(|(one, _)| one != id);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// The body of the request with all measures.
    pub fn body(&self) -> Vec<u8> {
        bytes(self)
    }
}

impl Serialize for Measures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.resources.iter().map(|(id, info)| (id, &info.metrics)))
    }
}
