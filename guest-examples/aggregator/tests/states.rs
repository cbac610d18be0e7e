//! What transformers hold back is in their saved state: one that goes on from there gives out what the
//! other would have.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by that")]

use accumulator::Accumulator;
use aggregator::Aggregator;
use arithmetic::Arithmetic;
use nephometer_guest::{Answer, Batch, Meter, MeterType, Resource, Stateful, Transformer};
use serde_json::{Value, json};

/// One row each of these meters and values, of one resource.
fn batch(rows: &[(&str, f64)]) -> Batch {
    let meter = |(name, _): &(&str, f64)| Meter {
        name: (*name).to_owned(),
        unit: "MiB".to_owned(),
        type_: MeterType::Gauge,
    };
    let resource = Resource {
        id: "r".to_owned(),
        source: "openstack".to_owned(),
        project_id: Some("p".to_owned()),
        user_id: None,
        metadata: r#"{"w":3}"#.to_owned(),
    };
    Batch {
        meters: rows.iter().map(meter).collect(),
        resources: vec![resource],
        meter: (0..).take(rows.len()).collect(),
        resource: vec![0; rows.len()],
        time: vec![1_700_000_000_000_000_000; rows.len()],
        monotonic: vec![0; rows.len()],
        volume: rows.iter().map(|(_, volume)| *volume).collect(),
        gone: Vec::new(),
    }
}

fn made<T: Transformer>(options: &Value) -> T {
    T::configure(options).unwrap().0
}

fn flushed<T: Stateful>(transformer: &mut T) -> Option<Answer> {
    transformer.flush(1_700_000_000_000_000_000).unwrap()
}

/// Gives out the same after a detour over its state.
fn survives<T: Transformer + Stateful>(
    options: &Value,
    first: &[(&str, f64)],
    then: &[(&str, f64)],
) {
    let (mut one, mut two): (T, T) = (made(options), made(options));
    one.transform(&batch(first)).unwrap();
    assert_eq!(flushed(&mut one), None, "too few yet");
    let state = one.save().unwrap();
    two.restore(T::describe().state_version, &state).unwrap();
    for transformer in [&mut one, &mut two] {
        transformer.transform(&batch(then)).unwrap();
    }
    let answer = flushed(&mut one);
    assert!(answer.is_some());
    assert_eq!(flushed(&mut two), answer);
    assert_eq!(flushed(&mut two), None, "what was given out is done with");
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
fn what_is_gone_is_forgotten() {
    let expression = json!({"target": {"expr": "$(memory.usage) / $(memory)"}});
    let mut one: Arithmetic = made(&expression);
    one.transform(&batch(&[("memory", 4.0)])).unwrap();
    let gone = Batch { gone: vec!["r".to_owned()], ..batch(&[]) };
    one.transform(&gone).unwrap();
    one.transform(&batch(&[("memory.usage", 2.0)])).unwrap();
    assert_eq!(flushed(&mut one), None);
}
