//! Converts samples to lines of StatsD, and keeps the readings that growths are computed from.

use nephometer_guest::{DeliveryBatch, FxHashMap, FxHashSet, MeterType, Row, rows};

use crate::name;
use crate::options::{Cumulative, Options};

/// The last readings of at most this many series are kept; further series have no growth.
const MAX_SERIES: usize = 100_000;

/// The name of a meter and the id of a resource.
type Key = (String, String);

/// The last readings of cumulative meters.
#[derive(Debug, Default)]
pub struct Series(FxHashMap<Key, f64>);

impl Series {
    /// Stores the readings of an envelope that was sent, and drops those of removed resources.
    pub fn commit(&mut self, readings: FxHashMap<Key, f64>, removed: &[String]) {
        for (key, reading) in readings {
            if self.0.len() < MAX_SERIES || self.0.contains_key(&key) {
                self.0.insert(key, reading);
            }
        }
        if !removed.is_empty() {
            let removed: FxHashSet<&str> = removed.iter().map(String::as_str).collect();
            self.0.retain(|(_, resource), _| !removed.contains(resource.as_str()));
        }
    }
}

/// The entries of a batch, one or two lines each, and the last readings of its cumulative meters.
pub(crate) fn entries(
    options: &Options,
    series: &Series,
    batch: &DeliveryBatch,
) -> (Vec<String>, FxHashMap<Key, f64>) {
    let meters: Vec<String> = batch.meters.iter().map(|one| name::levels(&one.name)).collect();
    let resources: Vec<String> = batch.resources.iter().map(|one| name::level(&one.id)).collect();
    let mut readings = FxHashMap::default();
    let mut entries = Vec::with_capacity(batch.volume.len());
    for row in rows(batch).filter(|row| row.volume.is_finite()) {
        let mut name = format!("{}{}", options.prefix, meters[row.meter_number as usize]);
        if options.resource {
            name.push('.');
            name.push_str(&resources[row.resource_number as usize]);
        }
        let entry = match (row.meter().type_, options.cumulative) {
            (MeterType::Gauge, _) | (MeterType::Cumulative, Cumulative::Gauge) => {
                Some(gauge(&name, row.volume))
            }
            (MeterType::Delta, _) => Some(counter(&name, row.volume)),
            (MeterType::Cumulative, Cumulative::Counter) => {
                growth(series, &mut readings, &row).map(|growth| counter(&name, growth))
            }
            (MeterType::Cumulative, Cumulative::Skip) => None,
        };
        entries.extend(entry);
    }
    (entries, readings)
}

/// A gauge. StatsD interprets a sign as a change, so a negative value is set in two steps, from 0.
/// Negative zero would be a change as well.
fn gauge(name: &str, value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if value < 0.0 { format!("{name}:0|g\n{name}:{value}|g") } else { format!("{name}:{value}|g") }
}

fn counter(name: &str, value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    format!("{name}:{value}|c")
}

/// The growth since the last reading; `None` for the first one. A smaller reading was reset to 0
/// and is growth as a whole.
fn growth(series: &Series, readings: &mut FxHashMap<Key, f64>, row: &Row<'_>) -> Option<f64> {
    let key = (row.meter().name.clone(), row.resource().id.clone());
    let before = readings.get(&key).or_else(|| series.0.get(&key)).copied();
    readings.insert(key, row.volume);
    let before = before?;
    Some(if row.volume < before { row.volume } else { row.volume - before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::{Meter, Resource};

    fn options(cumulative: Cumulative) -> Options {
        Options {
            host: "h".to_owned(),
            port: 1,
            prefix: "p.".to_owned(),
            resource: true,
            cumulative,
        }
    }

    fn batch(type_: MeterType, volumes: &[f64]) -> DeliveryBatch {
        let rows = volumes.len();
        DeliveryBatch {
            meters: vec![Meter { name: "a.m".into(), unit: String::new(), type_ }],
            resources: vec![Resource {
                id: "r.1".into(),
                source: "openstack".into(),
                project_id: None,
                user_id: None,
                metadata: "{}".into(),
            }],
            meter: vec![0; rows],
            resource: vec![0; rows],
            time: vec![1; rows],
            monotonic: vec![0; rows],
            volume: volumes.to_vec(),
            exact: vec![],
            removed: vec![],
        }
    }

    #[test]
    fn negative_gauges_are_set_from_zero() {
        let batch = batch(MeterType::Gauge, &[1.5, -2.0, -0.0, 1e21, f64::INFINITY]);
        let (lines, _) = entries(&options(Cumulative::Gauge), &Series::default(), &batch);
        let wanted = [
            "p.a.m.r_1:1.5|g",
            "p.a.m.r_1:0|g\np.a.m.r_1:-2|g",
            "p.a.m.r_1:0|g",
            "p.a.m.r_1:1000000000000000000000|g",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn deltas_are_counters_and_cumulative_meters_follow_the_option() {
        let none = Series::default();
        let of = |type_, cumulative| entries(&options(cumulative), &none, &batch(type_, &[7.0])).0;
        assert_eq!(of(MeterType::Delta, Cumulative::Gauge), ["p.a.m.r_1:7|c"]);
        assert_eq!(of(MeterType::Cumulative, Cumulative::Gauge), ["p.a.m.r_1:7|g"]);
        assert!(of(MeterType::Cumulative, Cumulative::Skip).is_empty());
        let mut short = options(Cumulative::Gauge);
        short.resource = false;
        assert_eq!(entries(&short, &none, &batch(MeterType::Delta, &[7.0])).0, ["p.a.m:7|c"]);
    }

    #[test]
    fn repeated_attempts_count_growth_once() {
        let options = options(Cumulative::Counter);
        let mut series = Series::default();
        let first = batch(MeterType::Cumulative, &[10.0, 15.0]);
        let (lines, _) = entries(&options, &series, &first);
        let (again, readings) = entries(&options, &series, &first);
        assert_eq!((&lines, lines.len()), (&again, 1));
        assert_eq!(lines[0], "p.a.m.r_1:5|c");
        series.commit(readings, &[]);
        let (lines, readings) =
            entries(&options, &series, &batch(MeterType::Cumulative, &[18.0, 2.0]));
        assert_eq!(lines, ["p.a.m.r_1:3|c", "p.a.m.r_1:2|c"]);
        series.commit(readings, &["r.1".to_owned()]);
        let (lines, _) = entries(&options, &series, &batch(MeterType::Cumulative, &[20.0]));
        assert!(lines.is_empty());
    }
}
