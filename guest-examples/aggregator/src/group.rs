use conversion::held::Held;
use nephometer_guest::{FxHashMap, Meter, MeterType, Row, Timestamp, Volume};
use serde::{Deserialize, Serialize};

use crate::options::{Metadata, Policies, Which};

/// What has come since groups were last given out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Groups<V = Volume> {
    /// Samples of all groups.
    pub(crate) samples: u64,
    /// The time of the first one.
    pub(crate) begun: Timestamp,
    /// In the order in which they began.
    pub(crate) all: Vec<Group<V>>,
    /// Where each is in `all`; made anew after a restore.
    #[serde(skip)]
    places: FxHashMap<Key, usize>,
}

/// Name and resource, and what else tells groups apart.
type Key = [Option<String>; 4];

/// Samples that become one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group<V = Volume> {
    key: Key,
    /// Whether the samples that come are cumulative.
    cumulative: bool,
    count: u64,
    made: Held<V>,
}

impl Group {
    /// Of one sample, which has become of this meter and value.
    pub(crate) fn new(row: &Row<'_>, meter: Meter, volume: Volume, policies: &Policies) -> Self {
        let held = Held::of(row);
        let own = |policy: Option<Which>, of: &Option<String>| match policy {
            Some(_) => None,
            None => Some(of.clone().unwrap_or_default()),
        };
        let key = [
            Some(held.name.clone()),
            Some(held.id.clone()),
            own(policies.project_id, &held.project_id),
            own(policies.user_id, &held.user_id),
        ];
        let metadata = match policies.metadata {
            Metadata::Drop => "{}".to_owned(),
            Metadata::Of(_) => held.metadata.clone(),
        };
        let cumulative = row.meter().type_ == MeterType::Cumulative;
        let made = Held { metadata, volume, ..held }.with_meter(meter);
        Self { key, cumulative, count: 1, made }
    }

    /// One more sample.
    fn take(&mut self, one: Self, policies: &Policies) {
        let next = one.made;
        self.count += 1;
        self.made.volume =
            if one.cumulative { next.volume } else { self.made.volume.plus(next.volume) };
        if policies.project_id == Some(Which::Last) {
            self.made.project_id = next.project_id;
        }
        if policies.user_id == Some(Which::Last) {
            self.made.user_id = next.user_id;
        }
        if policies.metadata == Metadata::Of(Which::Last) {
            self.made.metadata = next.metadata;
        }
        if policies.timestamp == Which::Last {
            self.made.time = next.time;
        }
    }

    /// The sample that all have become: of gauges the mean.
    pub(crate) fn whole(mut self) -> Held {
        if self.made.kind == MeterType::Gauge {
            self.made.volume = (self.made.volume.as_f64() / self.count as f64).into();
        }
        self.made
    }
}

// Not derived: that would ask for a default volume.
impl<V> Default for Groups<V> {
    fn default() -> Self {
        Self { samples: 0, begun: 0, all: Vec::new(), places: FxHashMap::default() }
    }
}

impl From<Groups<f64>> for Groups {
    fn from(old: Groups<f64>) -> Self {
        let Groups { samples, begun, all, places } = old;
        let upgraded = |Group { key, cumulative, count, made }: Group<f64>| Group {
            key,
            cumulative,
            count,
            made: made.into(),
        };
        Self { samples, begun, all: all.into_iter().map(upgraded).collect(), places }
    }
}

impl Groups {
    /// Adds a sample to its group. The cap is for the first one, as upstream has it.
    pub(crate) fn add(&mut self, mut one: Group, policies: &Policies, max: Option<f64>) {
        if self.samples == 0 {
            self.begun = one.made.time;
        }
        self.samples += 1;
        if self.places.len() != self.all.len() {
            let places = self.all.iter().enumerate();
            self.places = places.map(|(place, group)| (group.key.clone(), place)).collect();
        }
        match self.places.get(&one.key) {
            Some(place) => self.all[*place].take(one, policies),
            None => {
                if let Some(max) = max.filter(|max| one.made.volume.as_f64() > *max) {
                    one.made.volume = max.into();
                }
                self.places.insert(one.key.clone(), self.all.len());
                self.all.push(one);
            }
        }
    }
}
