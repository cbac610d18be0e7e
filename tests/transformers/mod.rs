//! The shipped transformers as components: data-driven cases, and random streams compared with a
//! simple model that was written from their description.

mod cases;
mod life;
mod model;
mod original;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Agent, component, ndjson, number, scaled, text};
use model::{Conversion, Input, Made, Rate};

/// Runs batches through a component with `component run`, as its author would.
pub(crate) fn run(
    agent: &Agent,
    name: &str,
    options: &Value,
    batches: &[Vec<Value>],
) -> Vec<Value> {
    let file = component(name);
    let mut input = String::new();
    for batch in batches {
        for sample in batch {
            input.push_str(&format!("{sample}\n"));
        }
        input.push('\n');
    }
    let options = options.to_string();
    let arguments = ["component", "run", file.to_str().unwrap(), "--options", &options, "--flush"];
    ndjson(&agent.execute_with_input(&arguments, &input).code(0).stdout)
}

const METERS: [(&str, &str, &str); 4] = [
    ("cpu", "cumulative", "ns"),
    ("disk.read.bytes", "cumulative", "B"),
    ("memory.usage", "gauge", "MiB"),
    ("disk.write.requests", "delta", "request"),
];

/// Meter, resource, volume, seconds since the row before by both clocks, and number of processors.
type Row = (usize, usize, Value, i64, Option<i64>, u64);

fn stream() -> impl Strategy<Value = Vec<Vec<Input>>> {
    let volume = prop_oneof![
        (0..1_000_000_000_000_i64).prop_map(|whole| json!(whole)),
        (-1e6..1e6_f64).prop_map(|float| json!(float)),
    ];
    let row =
        (0..METERS.len(), 0..3_usize, volume, -3..8_i64, prop::option::of(-2..9_i64), 0..5_u64);
    prop::collection::vec(prop::collection::vec(row, 0..8), 0..8).prop_map(|batches| {
        let (mut clock, mut monotonic) = (1_700_000_000, 5_000);
        let mut input = |(meter, resource, volume, step, mono, cpus): Row| {
            let (name, kind, unit) = METERS[meter];
            clock += step;
            monotonic += mono.unwrap_or(0);
            Input {
                name,
                kind,
                unit,
                resource: ["r1", "r2", "r-ü"][resource],
                volume,
                seconds: clock,
                monotonic: mono.is_some().then_some(monotonic),
                cpus: (cpus > 0).then_some(cpus),
            }
        };
        batches.into_iter().map(|batch| batch.into_iter().map(&mut input).collect()).collect()
    })
}

fn rate_options() -> impl Strategy<Value = Rate> {
    let scale = prop_oneof![
        Just(None),
        Just(Some(json!("100.0 / (10**9 * (resource_metadata.cpu_number or 1))"))),
        Just(Some(json!("2 if volume > 1000 else 0.5"))),
        Just(Some(json!(0.25))),
    ];
    let max = prop::option::of(1.0..100.0_f64);
    (scale, max, any::<bool>(), any::<bool>()).prop_map(|(scale, max, rename, gauge)| Rate {
        scale,
        max,
        rename,
        gauge,
    })
}

fn conversion_options() -> impl Strategy<Value = Conversion> {
    let scale = prop_oneof![
        Just(None),
        Just(Some(json!("(volume * 1.8) + 32"))),
        Just(Some(json!("volume // 1024 - (resource_metadata.cpu_number or 0)"))),
        Just(Some(json!(0.001))),
        Just(Some(json!(0))),
    ];
    let source = prop_oneof![Just(None), Just(Some("B")), Just(Some("ns"))];
    (scale, prop::option::of(1.0..1000.0_f64), source, any::<bool>())
        .prop_map(|(scale, max, source_unit, map)| Conversion { scale, max, source_unit, map })
}

/// Asserts that a component agrees with its model on random streams.
fn holds<T: std::fmt::Debug>(
    name: &str,
    options: impl Strategy<Value = T>,
    settings: impl Fn(&T) -> Value,
    model: impl Fn(&T, &[Vec<Input>]) -> Vec<Made>,
) {
    let agent = Agent::new(&format!("property-{name}"));
    let cases = u32::try_from(scaled(40, 1000)).unwrap();
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let result = TestRunner::new(config).run(&(options, stream()), |(options, stream)| {
        let batches: Vec<Vec<Value>> =
            stream.iter().map(|batch| batch.iter().map(Input::sample).collect()).collect();
        let ours = run(&agent, name, &settings(&options), &batches);
        let expected = model(&options, &stream);
        prop_assert_eq!(ours.len(), expected.len(), "{:#?} and {:#?}", &ours, &expected);
        for (ours, expected) in ours.iter().zip(&expected) {
            let place = format!("{ours} is not {expected:?}");
            prop_assert_eq!(text(ours, "name"), &expected.name, "{}", place);
            prop_assert_eq!(text(ours, "unit"), &expected.unit, "{}", place);
            prop_assert_eq!(text(ours, "type"), expected.kind, "{}", place);
            prop_assert_eq!(text(ours, "resource_id"), expected.resource, "{}", place);
            prop_assert_eq!(text(ours, "timestamp"), &expected.timestamp, "{}", place);
            prop_assert_eq!(ours["id"] == expected.origin, expected.same, "{}", place);
            prop_assert_eq!(ours["monotonic_time"].is_null(), !expected.keeps_clock, "{}", place);
            let (ours, expected) = (number(ours), expected.volume);
            let close = (ours - expected).abs() <= 1e-9 * expected.abs().max(1e-6);
            prop_assert!(close, "{} is not {}: {}", ours, expected, place);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn rate_of_change_matches_its_model() {
    holds("rate_of_change", rate_options(), Rate::options, Rate::apply);
}

#[test]
fn unit_conversion_matches_its_model() {
    holds("unit_conversion", conversion_options(), Conversion::options, Conversion::apply);
}
