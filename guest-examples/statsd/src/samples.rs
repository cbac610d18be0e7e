//! Samples as lines of StatsD.

use nephometer_guest::{DeliveryBatch, FxHashMap, FxHashSet, MeterType, Row, rows};

use crate::name;
use crate::options::{Cumulative, Options};

/// The most series that are remembered for growths; further ones give none.
const SERIES: usize = 100_000;

/// A meter and a resource.
type Key = (String, String);

/// The last readings of cumulative meters, for their growths.
#[derive(Debug, Default)]
pub struct Series(FxHashMap<Key, f64>);

impl Series {
    /// Takes up what an envelope held that is settled now.
    pub fn note(&mut self, seen: FxHashMap<Key, f64>, gone: &[String]) {
        for (key, reading) in seen {
            if self.0.len() < SERIES || self.0.contains_key(&key) {
                self.0.insert(key, reading);
            }
        }
        if !gone.is_empty() {
            let gone: FxHashSet<&str> = gone.iter().map(String::as_str).collect();
            self.0.retain(|(_, resource), _| !gone.contains(resource.as_str()));
        }
    }
}

/// The entries of a batch, one or two lines each, and the readings of its cumulative meters.
pub(crate) fn entries(
    options: &Options,
    series: &Series,
    batch: &DeliveryBatch,
) -> (Vec<String>, FxHashMap<Key, f64>) {
    let meters: Vec<String> = batch.meters.iter().map(|one| name::levels(&one.name)).collect();
    let resources: Vec<String> = batch.resources.iter().map(|one| name::level(&one.id)).collect();
    let mut seen = FxHashMap::default();
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
                growth(series, &mut seen, &row).map(|growth| counter(&name, growth))
            }
            (MeterType::Cumulative, Cumulative::Skip) => None,
        };
        entries.extend(entry);
    }
    (entries, seen)
}

/// A sign means a change to StatsD, so that a gauge can only get below 0 from 0. Negative zero
/// would be such a change as well.
fn gauge(name: &str, value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if value < 0.0 { format!("{name}:0|g\n{name}:{value}|g") } else { format!("{name}:{value}|g") }
}

fn counter(name: &str, value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    format!("{name}:{value}|c")
}

/// The growth since the last reading; a smaller reading is a reset, and all of it growth. The first
/// reading gives none.
fn growth(series: &Series, seen: &mut FxHashMap<Key, f64>, row: &Row<'_>) -> Option<f64> {
    let key = (row.meter().name.clone(), row.resource().id.clone());
    let before = seen.get(&key).or_else(|| series.0.get(&key)).copied();
    seen.insert(key, row.volume);
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
    fn gauges_below_zero_are_set_from_zero() {
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
    fn deltas_are_counters_and_cumulative_meters_what_was_asked() {
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
    fn growths_are_counted_once_however_often_an_envelope_is_tried() {
        let options = options(Cumulative::Counter);
        let mut series = Series::default();
        let first = batch(MeterType::Cumulative, &[10.0, 15.0]);
        let (lines, _) = entries(&options, &series, &first);
        let (again, seen) = entries(&options, &series, &first);
        assert_eq!((&lines, lines.len()), (&again, 1));
        assert_eq!(lines[0], "p.a.m.r_1:5|c");
        series.note(seen, &[]);
        let (lines, seen) = entries(&options, &series, &batch(MeterType::Cumulative, &[18.0, 2.0]));
        assert_eq!(lines, ["p.a.m.r_1:3|c", "p.a.m.r_1:2|c"]);
        series.note(seen, &["r.1".to_owned()]);
        let (lines, _) = entries(&options, &series, &batch(MeterType::Cumulative, &[20.0]));
        assert!(lines.is_empty());
    }
}
