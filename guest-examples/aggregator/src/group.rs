//! Groups of samples, each of which becomes one sample.
//!
//! The groups are the saved state: the order of fields must not change.

use conversion::buffer::BufferedSample;
use nephometer_guest::{FxHashMap, Meter, MeterType, Row, Timestamp, Volume};
use serde::{Deserialize, Serialize};

use crate::options::{MetadataPolicy, Policies, SampleChoice};

/// All groups since they were last emitted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Groups<V = Volume> {
    /// The number of samples in all groups.
    pub(crate) samples: u64,
    /// The time of the first sample.
    pub(crate) begun: Timestamp,
    /// In the order of their first samples.
    pub(crate) all: Vec<Group<V>>,
    /// The index of each group in `all`; rebuilt after a restore.
    #[serde(skip)]
    index: FxHashMap<Key, usize>,
}

/// Meter name, resource id, project and user; `None` for one that groups are not separated by.
type Key = [Option<String>; 4];

/// Samples that are merged into one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group<V = Volume> {
    key: Key,
    /// Whether the input is cumulative: then the last value counts, otherwise the sum.
    cumulative: bool,
    count: u64,
    merged: BufferedSample<V>,
}

impl Group {
    /// A group of one row, with its converted meter and value.
    pub(crate) fn new(row: &Row<'_>, meter: Meter, volume: Volume, policies: &Policies) -> Self {
        let sample = BufferedSample::from_row(row);
        let key_part = |policy: Option<SampleChoice>, owner: &Option<String>| match policy {
            Some(_) => None,
            None => Some(owner.clone().unwrap_or_default()),
        };
        let key = [
            Some(sample.name.clone()),
            Some(sample.id.clone()),
            key_part(policies.project_id, &sample.project_id),
            key_part(policies.user_id, &sample.user_id),
        ];
        let metadata = match policies.metadata {
            MetadataPolicy::Drop => "{}".to_owned(),
            MetadataPolicy::Keep(_) => sample.metadata.clone(),
        };
        let cumulative = row.meter().type_ == MeterType::Cumulative;
        let merged = BufferedSample { metadata, volume, ..sample }.with_meter(meter);
        Self { key, cumulative, count: 1, merged }
    }

    /// Merges a group of one sample into this one.
    fn merge(&mut self, one: Self, policies: &Policies) {
        let next = one.merged;
        self.count += 1;
        self.merged.volume =
            if one.cumulative { next.volume } else { self.merged.volume.plus(next.volume) };
        if policies.project_id == Some(SampleChoice::Last) {
            self.merged.project_id = next.project_id;
        }
        if policies.user_id == Some(SampleChoice::Last) {
            self.merged.user_id = next.user_id;
        }
        if policies.metadata == MetadataPolicy::Keep(SampleChoice::Last) {
            self.merged.metadata = next.metadata;
        }
        if policies.timestamp == SampleChoice::Last {
            self.merged.time = next.time;
        }
    }

    /// The merged sample: the mean for gauges.
    pub(crate) fn into_sample(mut self) -> BufferedSample {
        if self.merged.kind == MeterType::Gauge {
            self.merged.volume = (self.merged.volume.as_f64() / self.count as f64).into();
        }
        self.merged
    }
}

// Not derived: that would require a default volume.
impl<V> Default for Groups<V> {
    fn default() -> Self {
        Self { samples: 0, begun: 0, all: Vec::new(), index: FxHashMap::default() }
    }
}

impl From<Groups<f64>> for Groups {
    fn from(old: Groups<f64>) -> Self {
        let Groups { samples, begun, all, index } = old;
        let upgrade = |Group { key, cumulative, count, merged }: Group<f64>| Group {
            key,
            cumulative,
            count,
            merged: merged.into(),
        };
        Self { samples, begun, all: all.into_iter().map(upgrade).collect(), index }
    }
}

impl Groups {
    /// Adds a sample to its group. `max` caps the first sample of a group only, as in Ceilometer.
    pub(crate) fn add(&mut self, mut one: Group, policies: &Policies, max: Option<f64>) {
        if self.samples == 0 {
            self.begun = one.merged.time;
        }
        self.samples += 1;
        if self.index.len() != self.all.len() {
            let groups = self.all.iter().enumerate();
            self.index = groups.map(|(place, group)| (group.key.clone(), place)).collect();
        }
        match self.index.get(&one.key) {
            Some(place) => self.all[*place].merge(one, policies),
            None => {
                if let Some(max) = max.filter(|max| one.merged.volume.as_f64() > *max) {
                    one.merged.volume = max.into();
                }
                self.index.insert(one.key.clone(), self.all.len());
                self.all.push(one);
            }
        }
    }
}
