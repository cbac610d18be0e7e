//! The last values of each meter of each resource.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::domains::instance;
use nephometer_model::{Meter, Sample, Timestamp};

/// Series that are kept. Those of further domains are not shown, and the page states it.
const SERIES: usize = 4096;
/// Values that are kept of each.
const POINTS: usize = 60;
/// A series without a value for this long, in seconds, makes room for others.
const FORGOTTEN_AFTER: f64 = 900.0;

/// The values of one meter of one resource.
struct Series {
    meter: Arc<Meter>,
    resource: Arc<str>,
    /// The instance that the resource is part of.
    domain: Arc<str>,
    /// Seconds since the epoch and values, oldest first.
    points: VecDeque<(f64, f64)>,
}

/// All series.
#[derive(Default)]
pub(super) struct ValueTable {
    /// By resource, then by meter: most look-ups are of one resource.
    series: HashMap<Arc<str>, Vec<Series>>,
    count: usize,
    /// Whether samples found no room since the last cycle ended.
    full: bool,
}

impl ValueTable {
    pub(super) fn add(&mut self, sample: &Sample) {
        let point = (seconds(sample.taken.wall), sample.volume.as_f64());
        let of_resource = match self.series.get_mut(&sample.resource.id) {
            Some(known) => known,
            None if self.count < SERIES => {
                self.series.entry(Arc::clone(&sample.resource.id)).or_default()
            }
            None => {
                self.full = true;
                return;
            }
        };
        let known = of_resource.iter_mut().find(|one| one.meter.name == sample.meter.name);
        let series = match known {
            Some(series) => series,
            None if self.count < SERIES => {
                self.count += 1;
                let points = VecDeque::new();
                let (meter, resource) =
                    (Arc::clone(&sample.meter), Arc::clone(&sample.resource.id));
                of_resource.push(Series {
                    meter,
                    resource,
                    domain: instance(sample).into(),
                    points,
                });
                let Some(series) = of_resource.last_mut() else { return };
                series
            }
            None => {
                self.full = true;
                return;
            }
        };
        // Several sources may poll the same value.
        if series.points.back().is_some_and(|(newest, _)| *newest >= point.0) {
            return;
        }
        if series.points.len() == POINTS {
            series.points.pop_front();
        }
        series.points.push_back(point);
    }

    /// Makes room when there was none: series that have ended are forgotten.
    pub(super) fn end_cycle(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.full) {
            return;
        }
        let since = seconds(now) - FORGOTTEN_AFTER;
        self.series.retain(|_, of_resource| {
            of_resource.retain(|one| one.points.back().is_some_and(|(newest, _)| *newest > since));
            !of_resource.is_empty()
        });
        self.count = self.series.values().map(Vec::len).sum();
    }

    /// The series of a domain by meter and resource, with their newest values.
    pub(super) fn series(&self, domain: &str) -> Value {
        let mut found: Vec<&Series> =
            self.series.values().flatten().filter(|one| *one.domain == *domain).collect();
        found.sort_by_key(|one| (&one.meter.name, &one.resource));
        let series = found.into_iter().map(|one| {
            let newest = one.points.back();
            json!({
                "meter": *one.meter.name,
                "unit": *one.meter.unit,
                "type": one.meter.kind.as_str(),
                "resource": *one.resource,
                "time": newest.map(|(time, _)| time),
                "value": newest.map(|(_, value)| value),
            })
        });
        json!({ "series": series.collect::<Vec<_>>(), "full": self.count >= SERIES })
    }

    /// The points of a series; none if it is not known.
    pub(super) fn points(&self, meter: &str, resource: &str) -> Value {
        let known = self.series.get(resource).into_iter().flatten();
        let Some(series) = known.into_iter().find(|one| *one.meter.name == *meter) else {
            return json!({ "meter": meter, "resource": resource, "points": [] });
        };
        json!({
            "meter": meter,
            "resource": resource,
            "unit": *series.meter.unit,
            "type": series.meter.kind.as_str(),
            "points": series.points.iter().map(|(time, value)| json!([time, value])).collect::<Vec<_>>(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are enough for a plot")]
fn seconds(time: Timestamp) -> f64 {
    (time.as_nanos() / 1_000_000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use nephometer_model::{MeterType, Moment, Resource, Volume};
    use uuid::Uuid;

    use super::*;

    fn sample(resource: &str, at: u64, value: i128) -> Sample {
        let wall = Timestamp::from_nanos(at * 1_000_000_000);
        Sample {
            id: Uuid::nil(),
            meter: Arc::new(Meter::new("cpu", MeterType::Cumulative, "ns")),
            resource: Arc::new(Resource { id: resource.into(), ..Resource::default() }),
            volume: Volume::Integer(value),
            taken: Moment { wall, continuous: None, monotonic: None },
        }
    }

    #[test]
    fn the_last_values_are_kept_once() {
        let mut table = ValueTable::default();
        for at in 0..100 {
            table.add(&sample("a", at, i128::from(at)));
            // Another source.
            table.add(&sample("a", at, 7));
        }
        let points = table.points("cpu", "a")["points"].as_array().unwrap().clone();
        assert_eq!(points.len(), POINTS);
        assert_eq!((&points[0], &points[POINTS - 1]), (&json!([40.0, 40.0]), &json!([99.0, 99.0])));
        assert_eq!(table.series("a")["series"][0]["value"], 99.0);
        assert_eq!(table.points("cpu", "b")["points"], json!([]));
    }

    #[test]
    fn series_that_have_ended_make_room() {
        let mut table = ValueTable::default();
        for number in 0..SERIES {
            table.add(&sample(&number.to_string(), 1, 1));
        }
        table.add(&sample("new", 2000, 1));
        assert_eq!(table.series("new")["full"], true);
        table.end_cycle(Timestamp::from_nanos(2_000_000_000_000));
        table.add(&sample("new", 2010, 1));
        assert_eq!(table.series("new")["series"].as_array().unwrap().len(), 1);
        assert_eq!(table.count, 1);
    }
}
