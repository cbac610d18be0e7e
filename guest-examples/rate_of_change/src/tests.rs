use nephometer_guest::{Meter, Resource};
use serde_json::json;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(options: &serde_json::Value) -> RateOfChange {
    RateOfChange::configure(options).unwrap().0
}

/// One sample of each resource per row: id, seconds, volume.
fn batch(samples: &[(&str, u64, f64)]) -> Batch {
    let resource = |id: &str| Resource {
        id: id.into(),
        source: "openstack".into(),
        project_id: None,
        user_id: None,
        metadata: "{}".into(),
    };
    Batch {
        meters: vec![Meter { name: "cpu".into(), unit: "ns".into(), type_: MeterType::Cumulative }],
        resources: samples.iter().map(|(id, ..)| resource(id)).collect(),
        meter: vec![0; samples.len()],
        resource: (0..).take(samples.len()).collect(),
        time: samples.iter().map(|(_, seconds, _)| seconds * SECOND).collect(),
        monotonic: vec![0; samples.len()],
        volume: samples.iter().map(|(.., volume)| *volume).collect(),
        gone: vec![],
    }
}

fn volumes(rate: &mut RateOfChange, samples: &[(&str, u64, f64)]) -> Vec<f64> {
    match rate.transform(&batch(samples)).unwrap() {
        Outcome::Replace(answer) => answer.volume,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_that_is_gone_is_forgotten() {
    let mut rate = rate(&json!({}));
    volumes(&mut rate, &[("a", 0, 1.0), ("b", 0, 1.0)]);
    let gone = Batch { gone: vec!["a".into(), "unknown".into()], ..batch(&[]) };
    rate.transform(&gone).unwrap();
    // The number of "a" is given to "c", which has no past.
    assert_eq!(volumes(&mut rate, &[("c", 10, 5.0), ("b", 10, 21.0)]), [2.0]);
    assert_eq!(volumes(&mut rate, &[("a", 20, 5.0), ("c", 20, 15.0)]), [1.0]);
}

#[test]
fn state_goes_on_where_it_was_saved() {
    let mut before = rate(&json!({}));
    volumes(&mut before, &[("x", 0, 1.0), ("é", 0, 2.0), ("c", 0, 3.0)]);
    before.transform(&Batch { gone: vec!["x".into()], ..batch(&[]) }).unwrap();
    let state = before.save().unwrap();
    let mut after = rate(&json!({}));
    after.restore(1, &state).unwrap();
    assert_eq!(volumes(&mut after, &[("c", 10, 13.0), ("x", 10, 1.0), ("é", 10, 2.0)]), [1.0, 0.0]);
    assert!(after.restore(2, &state).is_err());
    for length in 0..state.len() {
        assert!(after.restore(1, &state[..length]).is_err(), "{length}");
    }
    assert!(after.restore(1, &[state.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_meter_name_and_an_id_do_not_run_into_each_other() {
    let mut rate = rate(&json!({}));
    let named = |name: &str, id: &str, seconds| {
        let mut batch = batch(&[(id, seconds, 1.0)]);
        batch.meters[0].name = name.into();
        batch
    };
    rate.transform(&named("ab", "c", 0)).unwrap();
    let Outcome::Replace(answer) = rate.transform(&named("a", "bc", 10)).unwrap() else {
        panic!("not replaced");
    };
    assert!(answer.volume.is_empty());
}

#[test]
fn metadata_is_asked_for_by_what_the_scale_reads() {
    let scale = "(resource_metadata.user_metadata.w or 1) / (resource_metadata.cpu_number or 1)";
    let (_, settings) = RateOfChange::configure(&json!({"target": {"scale": scale}})).unwrap();
    assert_eq!(settings.metadata, ["cpu_number", "user_metadata.w"]);
    assert!(settings.meters.is_empty());
}

#[test]
fn a_numeric_scale_is_warned_of() {
    log::taken();
    rate(&json!({"target": {"scale": 2}}));
    let lines = log::taken();
    assert!(lines.iter().any(|(_, line)| line.contains("write scale: \"2\"")), "{lines:?}");
}
