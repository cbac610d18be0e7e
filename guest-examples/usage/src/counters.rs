//! All counters by resource and meter: the state of the transformer.
//!
//! Everything here is saved state: the order of fields must not change.

use std::collections::BTreeMap;

use nephometer_guest::{Row, Timestamp};
use serde::{Deserialize, Serialize};

use crate::options::Policies;
use crate::segment::Reading;
use crate::series::{ClosedWindow, CounterSeries, Taken};

/// Counters in all. Samples of further ones are dropped.
const MAX_COUNTERS: usize = 50_000;
/// Samples that are kept for late ones, of all counters together: 16 MB or less of state. With more,
/// samples may be late for a shorter time than configured.
const MAX_READINGS: usize = 1_000_000;

/// The saved state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Which windows these are: a state with others cannot be used.
    windows: String,
    by_resource: BTreeMap<String, MeteredResource>,
    /// How many there are.
    count: usize,
    /// Windows that end here or before are closed.
    closed: Timestamp,
    /// The time of the last flush; 0 before the first one.
    now: Timestamp,
}

/// A resource with its counters.
#[derive(Debug, Default, Serialize, Deserialize)]
struct MeteredResource {
    latest: Description,
    counters: BTreeMap<String, Counter>,
}

/// Owner and metadata of a resource, as of its newest sample.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Description {
    time: Timestamp,
    pub(crate) source: String,
    pub(crate) project_id: Option<String>,
    pub(crate) user_id: Option<String>,
    /// A JSON object as text.
    pub(crate) metadata: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Counter {
    unit: String,
    series: CounterSeries,
}

/// A window of a counter.
#[derive(Debug)]
pub(crate) struct CountedWindow<'a> {
    pub(crate) id: &'a str,
    pub(crate) latest: &'a Description,
    pub(crate) meter: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) window: ClosedWindow,
}

impl Description {
    fn update(&mut self, row: &Row<'_>) {
        if row.time < self.time {
            return;
        }
        self.time = row.time;
        let resource = row.resource();
        let copy = |ours: &mut String, theirs: &str| {
            if ours != theirs {
                theirs.clone_into(ours);
            }
        };
        copy(&mut self.metadata, &resource.metadata);
        copy(&mut self.source, &resource.source);
        if self.project_id != resource.project_id || self.user_id != resource.user_id {
            self.project_id.clone_from(&resource.project_id);
            self.user_id.clone_from(&resource.user_id);
        }
    }
}

impl Counters {
    /// None yet.
    pub(crate) fn new(policies: &Policies) -> Self {
        let windows = format!("{} in {}", policies.calendar.kind.as_str(), policies.zone);
        Self { windows, ..Self::default() }
    }

    /// Takes the place of this one.
    ///
    /// # Errors
    /// If the windows are others.
    pub(crate) fn replace(&mut self, saved: Self) -> Result<(), String> {
        let Self { windows, .. } = &saved;
        if *windows != self.windows {
            return Err(format!(
                "the state has windows of one {windows}, the options ask for one {}: either keep the \
                 options or begin without the state, and without what it has of open windows",
                self.windows
            ));
        }
        *self = saved;
        Ok(())
    }

    /// Adds a sample. `None` if there are too many counters already.
    pub(crate) fn add(&mut self, row: &Row<'_>, value: i64, policies: &Policies) -> Option<Taken> {
        let (id, meter) = (&row.resource().id, row.meter());
        let known = self.by_resource.get(id).and_then(|one| one.counters.get(&meter.name));
        if known.is_none() {
            if self.count >= MAX_COUNTERS {
                return None;
            }
            self.count += 1;
            let since = self.now.saturating_sub(policies.late);
            // What was there before this transformer has grown for nobody knows how long.
            let from_zero = policies.includes_initial && self.now > 0;
            let series = CounterSeries::new(self.closed, since, from_zero);
            let counter = Counter { unit: meter.unit.clone(), series };
            let resource = self.by_resource.entry(id.clone()).or_default();
            resource.counters.insert(meter.name.clone(), counter);
        }
        let resource = self.by_resource.get_mut(id)?;
        let counter = resource.counters.get_mut(&meter.name)?;
        let taken = counter.series.add(Reading { time: row.time, value }, policies);
        if taken == Taken::Counted {
            resource.latest.update(row);
        }
        Some(taken)
    }

    /// Ends the counters of a resource that was removed.
    pub(crate) fn end(&mut self, resource: &str, policies: &Policies) {
        let counters = self.by_resource.get_mut(resource).into_iter();
        for counter in counters.flat_map(|one| one.counters.values_mut()) {
            counter.series.end(policies);
        }
    }

    /// Closes windows, and passes them to `emit` until it returns `false`; the rest follows with the
    /// next call. Returns whether samples were forgotten that late ones could still follow.
    pub(crate) fn close(
        &mut self,
        now: Timestamp,
        policies: &Policies,
        mut emit: impl FnMut(CountedWindow<'_>) -> bool,
    ) -> bool {
        let most = MAX_READINGS / self.count.max(1);
        let (mut has_room, mut is_shortened) = (true, false);
        for (id, MeteredResource { latest, counters }) in &mut self.by_resource {
            for (meter, Counter { unit, series }) in counters {
                while has_room && let Some(window) = series.close_next(now, policies) {
                    has_room = emit(CountedWindow { id, latest, meter, unit, window });
                }
                is_shortened |= series.trim(now, most, policies);
            }
        }
        self.by_resource.retain(|_, resource| {
            resource.counters.retain(|_, counter| !counter.series.is_over(now, policies));
            !resource.counters.is_empty()
        });
        self.count = self.by_resource.values().map(|resource| resource.counters.len()).sum();
        self.closed = self.closed.max(now.saturating_sub(policies.grace));
        self.now = self.now.max(now);
        is_shortened
    }
}
