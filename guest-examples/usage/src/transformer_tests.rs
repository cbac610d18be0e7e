//! The transformer as the host calls it.

use nephometer_guest::testing::{Input, Sample};
use nephometer_guest::{Meter, MeterType, Resource, Stateful, Timestamp, Transformer, Volume};
use serde_json::{Value, json};

use super::{FLUSHED_BYTES, FLUSHED_SAMPLES, Usage};

const SECOND: Timestamp = 1_000_000_000;
const HOUR: Timestamp = 3_600 * SECOND;
/// 2026-03-28T00:00:00Z.
const BEGIN: Timestamp = 1_774_656_000 * SECOND;

fn configured(options: &Value) -> Usage {
    Usage::configure(options).unwrap().0
}

fn counter(resource: &str, time: Timestamp, volume: impl Into<Volume>, size: &str) -> Sample {
    Sample {
        meter: Meter {
            name: "cpu".to_owned(),
            unit: "ns".to_owned(),
            type_: MeterType::Cumulative,
        },
        resource: Resource {
            id: resource.to_owned(),
            source: "openstack".to_owned(),
            project_id: Some("p".to_owned()),
            user_id: None,
            metadata: json!({ "flavor": size }).to_string(),
        },
        time,
        volume: volume.into(),
    }
}

/// One polling cycle: these samples, and what the flush at `now` returns.
fn cycle(usage: &mut Usage, input: &mut Input, samples: &[Sample], now: Timestamp) -> Vec<Sample> {
    input.next();
    samples.iter().for_each(|sample| input.sample(sample));
    usage.transform(&input.batch()).unwrap();
    let answer = usage.flush(input.dictionary(), now).unwrap();
    input.flushed(answer)
}

fn window(sample: &Sample) -> Value {
    let metadata: Value = serde_json::from_str(&sample.resource.metadata).unwrap();
    metadata["window"].clone()
}

#[test]
fn a_window_is_one_sample_and_each_correction_another() {
    let options = json!({"meters": ["cpu"], "window": "hour", "grace": 600, "gap": 4_000});
    let (mut usage, mut input) = (configured(&options), Input::default());
    let large = 1_i64 << 60;
    let first = counter("r", BEGIN + 60 * SECOND, large, "small");
    assert!(cycle(&mut usage, &mut input, &[first], BEGIN + 60 * SECOND).is_empty());
    let second = counter("r", BEGIN + HOUR - 60 * SECOND, large + 3, "large");
    assert!(cycle(&mut usage, &mut input, &[second], BEGIN + HOUR).is_empty());
    let closed = cycle(&mut usage, &mut input, &[], BEGIN + HOUR + 600 * SECOND);
    let [sample] = &closed[..] else { panic!("{closed:?}") };
    assert_eq!((&*sample.meter.name, sample.meter.type_), ("cpu.usage", MeterType::Delta));
    assert_eq!((sample.volume, sample.time), (Volume::from(3), BEGIN + HOUR - 1_000));
    assert_eq!(sample.resource.project_id.as_deref(), Some("p"));
    let metadata: Value = serde_json::from_str(&sample.resource.metadata).unwrap();
    assert_eq!(metadata["flavor"], "large");
    let expected = json!({
        "kind": "hour", "timezone": "UTC", "correction": 0,
        "start": "2026-03-28T00:00:00+00:00", "end": "2026-03-28T01:00:00+00:00",
        "samples": 2, "first": "2026-03-28T00:01:00+00:00", "last": "2026-03-28T00:59:00+00:00",
        "begun": 1, "ended": 0, "resets": 0,
        "gap_seconds": 0.0, "gaps": "interpolate", "excluded": 0,
    });
    assert_eq!(metadata["window"], expected);
    // Data for it come one after the other: two corrections, at different times of the window.
    let mut corrections = Vec::new();
    for (at, value) in [(HOUR - 30 * SECOND, 10), (HOUR - 10 * SECOND, 21)] {
        let late = counter("r", BEGIN + at, large + value, "large");
        corrections.extend(cycle(&mut usage, &mut input, &[late], BEGIN + HOUR + 700 * SECOND));
        let state = usage.save().unwrap();
        usage = configured(&options);
        usage.restore(1, &state).unwrap();
        input = Input::shuffled(3);
    }
    let names = corrections.iter().map(|one| (&*one.meter.name, one.volume, one.time));
    let correction = |volume: i64, nth: Timestamp| {
        ("cpu.usage.correction", Volume::from(volume), BEGIN + HOUR - 1_000 * (1 + nth))
    };
    assert_eq!(names.collect::<Vec<_>>(), [correction(7, 1), correction(11, 2)]);
    assert_eq!(window(&corrections[1])["correction"], 2);
    assert_eq!(window(&corrections[1])["start"], "2026-03-28T00:00:00+00:00");
}

#[test]
fn what_a_new_counter_shows_counts_if_it_began_while_this_ran() {
    for (initial, expected) in [("exclude", [0, 0, 0]), ("include", [0, 70, 5])] {
        let options = json!({"meters": ["*"], "window": "day", "grace": 0, "initial": initial});
        let (mut usage, mut input) = (configured(&options), Input::default());
        let known = counter("old", BEGIN + SECOND, 1_000_000, "s");
        assert!(cycle(&mut usage, &mut input, &[known], BEGIN + SECOND).is_empty());
        let new = counter("new", BEGIN + 60 * SECOND, 70, "s");
        assert!(cycle(&mut usage, &mut input, &[new], BEGIN + 60 * SECOND).is_empty());
        input.next();
        input.remove("old");
        usage.transform(&input.batch()).unwrap();
        let again = counter("old", BEGIN + 90 * SECOND, 5, "s");
        let closed = cycle(&mut usage, &mut input, &[again], BEGIN + 24 * HOUR);
        let volumes: Vec<(&str, Volume)> =
            closed.iter().map(|one| (&*one.resource.id, one.volume)).collect();
        let [_, new, old] = expected.map(Volume::from);
        assert_eq!(volumes, [("new", new), ("old", old)], "{initial}");
        assert_eq!(window(&closed[1])["begun"], 2);
        assert_eq!(window(&closed[1])["ended"], 1);
    }
}

#[test]
fn many_windows_come_in_portions_without_loss() {
    let options = json!({"meters": ["cpu"], "window": "hour", "grace": 0});
    let large = "x".repeat(2_000);
    for (text, resources) in [("", 2 * FLUSHED_SAMPLES + 7), (&*large, 3_000)] {
        let (mut usage, mut input) = (configured(&options), Input::default());
        for at in [0, 300] {
            let time = BEGIN + at * SECOND;
            let value = i64::try_from(at).unwrap();
            let samples: Vec<Sample> =
                (0..resources).map(|nth| counter(&format!("r{nth}"), time, value, text)).collect();
            assert!(cycle(&mut usage, &mut input, &samples, time).is_empty());
        }
        let (mut found, mut rounds) = (Vec::new(), 0);
        loop {
            let portion = cycle(&mut usage, &mut input, &[], BEGIN + HOUR + rounds * SECOND);
            let bytes: usize = portion.iter().map(|one| one.resource.metadata.len()).sum();
            assert!(portion.len() <= FLUSHED_SAMPLES && bytes < FLUSHED_BYTES + 10_000);
            if portion.is_empty() {
                break;
            }
            found.extend(portion);
            rounds += 1;
        }
        assert!(rounds > 1);
        assert_eq!(found.len(), resources);
        assert!(found.iter().all(|one| one.volume == Volume::from(300)));
        let mut ids: Vec<&str> = found.iter().map(|one| &*one.resource.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), resources);
    }
}

#[test]
fn a_state_with_other_windows_is_refused() {
    let mut usage = configured(&json!({"meters": ["cpu"], "window": "hour"}));
    let (state, mut input) = (usage.save().unwrap(), Input::default());
    assert!(usage.restore(1, &state).is_ok());
    assert!(usage.restore(2, &state).is_err());
    assert!(usage.restore(1, &state[..state.len() - 1]).is_err());
    let other = json!({"meters": ["cpu"], "window": "hour", "timezone": "Asia/Kolkata"});
    let reason = configured(&other).restore(1, &state).unwrap_err();
    assert!(reason.contains("hour in UTC") && reason.contains("hour in Asia/Kolkata"), "{reason}");
    // Neither gauges nor fractions are counters.
    let mut gauge = counter("r", BEGIN, 1, "s");
    gauge.meter.type_ = MeterType::Gauge;
    let fraction = counter("r", BEGIN, 1.5, "s");
    assert!(cycle(&mut usage, &mut input, &[gauge, fraction], BEGIN + 9 * HOUR).is_empty());
    let unknown = Usage::configure(&json!({"meters": ["cpu"], "window": "day", "timezone": "X"}));
    assert_eq!(unknown.unwrap_err()[0].pointer, "/timezone");
}
