//! Buffered samples are saved and restored: a restored transformer emits the same samples.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use accumulator::Accumulator;
use aggregator::Aggregator;
use arithmetic::Arithmetic;
use nephometer_guest::testing::{Input, Sample};
use nephometer_guest::{Meter, MeterType, Resource, Stateful, Transformer, Volume};
use serde_json::{Value, json};

/// Begins a batch with one row per meter and value, all of one resource.
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

fn configured<T: Transformer>(options: &Value) -> T {
    T::configure(options).unwrap().0
}

fn flushed<T: Stateful>(transformer: &mut T, input: &mut Input) -> Vec<Sample> {
    let answer = transformer.flush(input.dictionary(), 1_700_000_000_000_000_000).unwrap();
    input.flushed(answer)
}

/// Runs a transformer and one that is restored from its state after the first batch, with other
/// numbers, and compares what they emit.
fn check_restored<T: Transformer + Stateful>(
    options: &Value,
    first: &[(&str, f64)],
    then: &[(&str, f64)],
) {
    let (mut original, mut restored): (T, T) = (configured(options), configured(options));
    let (mut original_input, mut restored_input) = (Input::default(), Input::shuffled(7));
    batch(&mut original_input, first);
    original.transform(&original_input.batch()).unwrap();
    assert!(flushed(&mut original, &mut original_input).is_empty(), "too few samples yet");
    let state = original.save().unwrap();
    restored.restore(T::describe().state_version, &state).unwrap();
    for (transformer, input) in
        [(&mut original, &mut original_input), (&mut restored, &mut restored_input)]
    {
        batch(input, then);
        transformer.transform(&input.batch()).unwrap();
    }
    let samples = flushed(&mut original, &mut original_input);
    assert!(!samples.is_empty());
    assert_eq!(flushed(&mut restored, &mut restored_input), samples);
    assert!(flushed(&mut restored, &mut restored_input).is_empty(), "emitted already");
    let version = T::describe().state_version;
    assert!(configured::<T>(options).restore(version + 1, &state).is_err());
    assert!(configured::<T>(options).restore(version, &state[..state.len() / 2]).is_err());
}

#[test]
fn buffered_samples_survive_a_restore() {
    let rows: [(&str, f64); 2] = [("memory", 4.0), ("memory.usage", 0.1)];
    check_restored::<Accumulator>(&json!({"size": 3}), &rows, &rows);
    check_restored::<Aggregator>(&json!({"size": 3}), &rows, &rows);
    let expression = json!({"target": {"expr": "$(memory.usage) / $(memory)"}});
    check_restored::<Arithmetic>(&expression, &rows[..1], &rows[1..]);
}

#[test]
fn samples_of_removed_resources_are_dropped() {
    let expression = json!({"target": {"expr": "$(memory.usage) / $(memory)"}});
    let (mut one, mut input): (Arithmetic, _) = (configured(&expression), Input::default());
    batch(&mut input, &[("memory", 4.0)]);
    one.transform(&input.batch()).unwrap();
    batch(&mut input, &[]);
    input.remove("r");
    one.transform(&input.batch()).unwrap();
    batch(&mut input, &[("memory.usage", 2.0)]);
    one.transform(&input.batch()).unwrap();
    assert!(flushed(&mut one, &mut input).is_empty());
}

/// In version 1 of these states volumes were `f64`, in the same order of fields.
#[test]
fn states_of_version_1_are_read() {
    let mut state = vec![1];
    for text in ["memory", "MiB"] {
        state.push(u8::try_from(text.len()).unwrap());
        state.extend(text.as_bytes());
    }
    state.push(0);
    for text in ["r", "openstack"] {
        state.push(u8::try_from(text.len()).unwrap());
        state.extend(text.as_bytes());
    }
    // No project, no user, no metadata, time 5, volume 2.5.
    state.extend([0, 0, 2, b'{', b'}', 5]);
    state.extend(2.5_f64.to_le_bytes());
    let (mut one, mut input): (Accumulator, _) =
        (configured(&json!({"size": 1})), Input::default());
    one.restore(1, &state).unwrap();
    let samples = flushed(&mut one, &mut input);
    assert_eq!((samples.len(), samples[0].volume, samples[0].time), (1, Volume::Float(2.5), 5));
    assert!(one.restore(2, &state).is_err());
}

#[test]
fn sums_and_buffered_samples_are_exact_for_large_integers() {
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
    let mut sum: Aggregator = configured(&json!({"size": 3}));
    sum.transform(&input.batch()).unwrap();
    let mut again: Aggregator = configured(&json!({"size": 3}));
    again.restore(2, &sum.save().unwrap()).unwrap();
    assert_eq!(flushed(&mut again, &mut input)[0].volume, Volume::Integer(large + 6));
    let mut accumulator: Accumulator = configured(&json!({"size": 3}));
    accumulator.transform(&input.batch()).unwrap();
    assert_eq!(flushed(&mut accumulator, &mut input)[0].volume, Volume::Integer(large));
}
