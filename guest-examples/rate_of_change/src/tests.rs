//! Tests of rates: removed resources, states, large integers, settings.

use nephometer_guest::testing::{Input, Sample, plain_resource};
use nephometer_guest::{Meter, Volume};
use serde_json::json;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(options: &serde_json::Value) -> RateOfChange {
    RateOfChange::configure(options).unwrap().0
}

fn cpu(id: &str, seconds: u64, volume: impl Into<Volume>) -> Sample {
    let meter = Meter { name: "cpu".into(), unit: "ns".into(), type_: MeterType::Cumulative };
    Sample { meter, resource: plain_resource(id), time: seconds * SECOND, volume: volume.into() }
}

/// The rates of one batch; the samples are id, seconds and volume.
fn volumes(rate: &mut RateOfChange, input: &mut Input, samples: &[(&str, u64, f64)]) -> Vec<f64> {
    input.next();
    samples.iter().for_each(|(id, seconds, volume)| input.sample(&cpu(id, *seconds, *volume)));
    let outcome = rate.transform(&input.batch()).unwrap();
    input.samples(outcome).iter().map(|sample| sample.volume.as_f64()).collect()
}

fn remove(rate: &mut RateOfChange, input: &mut Input, ids: &[&str]) {
    input.next();
    ids.iter().for_each(|id| input.remove(id));
    rate.transform(&input.batch()).unwrap();
}

#[test]
fn removed_resources_are_forgotten() {
    let (mut rate, mut input) = (rate(&json!({})), Input::default());
    volumes(&mut rate, &mut input, &[("a", 0, 1.0), ("b", 0, 1.0)]);
    remove(&mut rate, &mut input, &["a", "unknown"]);
    // "c" reuses the number of "a", but has no previous reading.
    assert_eq!(volumes(&mut rate, &mut input, &[("c", 10, 5.0), ("b", 10, 21.0)]), [2.0]);
    assert_eq!(volumes(&mut rate, &mut input, &[("a", 20, 5.0), ("c", 20, 15.0)]), [1.0]);
}

#[test]
fn a_restored_state_does_not_depend_on_numbers() {
    let (mut before, mut input) = (rate(&json!({})), Input::default());
    volumes(&mut before, &mut input, &[("x", 0, 1.0), ("é", 0, 2.0), ("c", 0, 3.0)]);
    remove(&mut before, &mut input, &["x"]);
    let state = before.save().unwrap();
    let (mut after, mut input) = (rate(&json!({})), Input::shuffled(7));
    after.restore(2, &state).unwrap();
    let rates = volumes(&mut after, &mut input, &[("c", 10, 13.0), ("x", 10, 1.0), ("é", 10, 2.0)]);
    assert_eq!(rates, [1.0, 0.0]);
    assert!(after.restore(3, &state).is_err());
    for length in 0..state.len() {
        assert!(after.restore(2, &state[..length]).is_err(), "{length}");
    }
    assert!(after.restore(2, &[state.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_state_of_version_1_is_read() {
    let text = |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
    let one = 1_u32.to_le_bytes().to_vec();
    let first = 0_u32.to_le_bytes().to_vec();
    let series = [first.clone(), first, 3_f64.to_le_bytes().to_vec()].concat();
    let clocks = [0_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat();
    let state = [&one, &text(b"cpu"), &one, &text(b"a"), &one, &series, &clocks];
    let (mut rate, mut input) = (rate(&json!({})), Input::default());
    let state: Vec<u8> = state.into_iter().flatten().copied().collect();
    rate.restore(1, &state).unwrap();
    assert_eq!(volumes(&mut rate, &mut input, &[("a", 10, 13.0)]), [1.0]);
    let saved = rate.save().unwrap();
    assert_eq!(saved.len(), state.len() + 1);
    assert!(rate.restore(1, &saved).is_err());
}

// Regression: the difference of two f64 was 0, because both had lost their last digits.
#[test]
fn large_integers_are_exact_after_a_restore() {
    let large = (1_i64 << 60) + 1;
    let (mut before, mut input) = (rate(&json!({})), Input::default());
    input.sample(&cpu("a", 0, large));
    before.transform(&input.batch()).unwrap();
    let (mut after, mut input) = (rate(&json!({})), Input::default());
    after.restore(2, &before.save().unwrap()).unwrap();
    input.sample(&cpu("a", 10, large + 20));
    let outcome = after.transform(&input.batch()).unwrap();
    assert_eq!(input.samples(outcome)[0].volume, Volume::Float(2.0));
}

#[test]
fn meter_names_and_ids_are_kept_apart() {
    let (mut rate, mut input) = (rate(&json!({})), Input::default());
    input.row("ab", "c", 0, 1.0);
    rate.transform(&input.batch()).unwrap();
    input.next();
    input.row("a", "bc", 10 * SECOND, 1.0);
    let outcome = rate.transform(&input.batch()).unwrap();
    assert!(input.samples(outcome).is_empty());
}

#[test]
fn settings_ask_for_the_metadata_that_the_scale_reads() {
    let scale = "(resource_metadata.user_metadata.w or 1) / (resource_metadata.cpu_number or 1)";
    let (_, settings) = RateOfChange::configure(&json!({"target": {"scale": scale}})).unwrap();
    assert_eq!(settings.metadata, ["cpu_number", "user_metadata.w"]);
    assert!(settings.meters.is_empty());
}

#[test]
fn a_numeric_scale_logs_a_warning() {
    log::taken();
    rate(&json!({"target": {"scale": 2}}));
    let lines = log::taken();
    assert!(lines.iter().any(|(_, line)| line.contains("write scale: \"2\"")), "{lines:?}");
}
