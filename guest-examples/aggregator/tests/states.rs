//! What transformers hold back is in their saved state: one that goes on from there gives out what the
//! other would have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by that")]

use accumulator::Accumulator;
use aggregator::Aggregator;
use arithmetic::Arithmetic;
use nephometer_guest::testing::{Input, Sample};
use nephometer_guest::{Meter, MeterType, Resource, Stateful, Transformer, Volume};
use serde_json::{Value, json};

/// One row each of these meters and values, of one resource.
fn batch(input: &mut Input, rows: &[(&str, f64)]) {
    input.next();
    for (name, volume) in rows {
        input.sample(&Sample {
            meter: Meter {
                name: (*name).to_owned(),
                unit: "MiB".to_owned(),
                type_: MeterType::Gauge,
            },
            resource: Resource {
                id: "r".to_owned(),
                source: "openstack".to_owned(),
                project_id: Some("p".to_owned()),
                user_id: None,
                metadata: r#"{"w":3}"#.to_owned(),
            },
            time: 1_700_000_000_000_000_000,
            volume: Volume::from(*volume),
        });
    }
}

fn made<T: Transformer>(options: &Value) -> T {
    T::configure(options).unwrap().0
}

fn flushed<T: Stateful>(transformer: &mut T, input: &mut Input) -> Vec<Sample> {
    let answer = transformer.flush(input.dictionary(), 1_700_000_000_000_000_000).unwrap();
    input.flushed(answer)
}

/// Emits the same after a detour over its state, whatever the numbers are.
fn survives<T: Transformer + Stateful>(
    options: &Value,
    first: &[(&str, f64)],
    then: &[(&str, f64)],
) {
    let (mut one, mut two): (T, T) = (made(options), made(options));
    let (mut of_one, mut of_two) = (Input::default(), Input::shuffled(7));
    batch(&mut of_one, first);
    one.transform(&of_one.batch()).unwrap();
    assert!(flushed(&mut one, &mut of_one).is_empty(), "too few yet");
    let state = one.save().unwrap();
    two.restore(T::describe().state_version, &state).unwrap();
    for (transformer, input) in [(&mut one, &mut of_one), (&mut two, &mut of_two)] {
        batch(input, then);
        transformer.transform(&input.batch()).unwrap();
    }
    let samples = flushed(&mut one, &mut of_one);
    assert!(!samples.is_empty());
    assert_eq!(flushed(&mut two, &mut of_two), samples);
    assert!(flushed(&mut two, &mut of_two).is_empty(), "emitted already");
    let version = T::describe().state_version;
    assert!(made::<T>(options).restore(version + 1, &state).is_err());
    assert!(made::<T>(options).restore(version, &state[..state.len() / 2]).is_err());
}

#[test]
fn what_is_held_back_survives() {
    let rows: [(&str, f64); 2] = [("memory", 4.0), ("memory.usage", 0.1)];
    survives::<Accumulator>(&json!({"size": 3}), &rows, &rows);
    survives::<Aggregator>(&json!({"size": 3}), &rows, &rows);
    let expression = json!({"target": {"expr": "$(memory.usage) / $(memory)"}});
    survives::<Arithmetic>(&expression, &rows[..1], &rows[1..]);
}

#[test]
fn what_was_removed_is_forgotten() {
    let expression = json!({"target": {"expr": "$(memory.usage) / $(memory)"}});
    let (mut one, mut input): (Arithmetic, _) = (made(&expression), Input::default());
    batch(&mut input, &[("memory", 4.0)]);
    one.transform(&input.batch()).unwrap();
    batch(&mut input, &[]);
    input.remove("r");
    one.transform(&input.batch()).unwrap();
    batch(&mut input, &[("memory.usage", 2.0)]);
    one.transform(&input.batch()).unwrap();
    assert!(flushed(&mut one, &mut input).is_empty());
}

/// Version 1 of these states had volumes as `f64` alone, in the same order of fields.
#[test]
fn states_of_version_1_are_read() {
    let mut held = vec![1];
    for text in ["memory", "MiB"] {
        held.push(u8::try_from(text.len()).unwrap());
        held.extend(text.as_bytes());
    }
    held.push(0);
    for text in ["r", "openstack"] {
        held.push(u8::try_from(text.len()).unwrap());
        held.extend(text.as_bytes());
    }
    // No project, no user, no metadata, time 5, volume 2.5.
    held.extend([0, 0, 2, b'{', b'}', 5]);
    held.extend(2.5_f64.to_le_bytes());
    let (mut one, mut input): (Accumulator, _) = (made(&json!({"size": 1})), Input::default());
    one.restore(1, &held).unwrap();
    let samples = flushed(&mut one, &mut input);
    assert_eq!((samples.len(), samples[0].volume, samples[0].time), (1, Volume::Float(2.5), 5));
    assert!(one.restore(2, &held).is_err());
}

#[test]
fn sums_and_held_samples_keep_the_last_digits_of_integers() {
    let large = (1_i64 << 60) + 1;
    let meter = || Meter { name: "bytes".into(), unit: "B".into(), type_: MeterType::Delta };
    let sample = |volume: i64| Sample {
        meter: meter(),
        resource: nephometer_guest::testing::plain_resource("r"),
        time: 1_700_000_000_000_000_000,
        volume: volume.into(),
    };
    let mut input = Input::default();
    for volume in [large, 2, 4] {
        input.sample(&sample(volume));
    }
    let mut sum: Aggregator = made(&json!({"size": 3}));
    sum.transform(&input.batch()).unwrap();
    let mut again: Aggregator = made(&json!({"size": 3}));
    again.restore(2, &sum.save().unwrap()).unwrap();
    assert_eq!(flushed(&mut again, &mut input)[0].volume, Volume::Integer(large + 6));
    let mut held: Accumulator = made(&json!({"size": 3}));
    held.transform(&input.batch()).unwrap();
    assert_eq!(flushed(&mut held, &mut input)[0].volume, Volume::Integer(large));
}
