//! The shipped transformers compared with Ceilometer's own, with random options and random streams.
//!
//! Differences that a README lists as corrected are not generated. `NEPHOMETER_TEST_SEED` repeats a
//! run.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::run;
use crate::harness::{Agent, root, scaled, text};

/// A running `tests/ceilometer/transformers.py`. It ends with the test.
struct Original {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Original {
    fn start() -> Self {
        let tools = root().join("target/tools/ceilometer");
        let mut child = Command::new(tools.join("bin/python3"))
            .args(["-W", "ignore"])
            .arg(root().join("tests/ceilometer/transformers.py"))
            .env("PYTHONPATH", tools.join("transformers"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is no Ceilometer; the command that makes it: scripts/ceilometer");
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn run(&mut self, name: &str, parameters: &Value, cycles: &[Vec<Value>]) -> Vec<Value> {
        let stream = json!({"name": name, "parameters": parameters, "ticks": cycles});
        writeln!(self.input, "{stream}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const METERS: [(&str, &str, &str); 4] = [
    ("cpu", "cumulative", "ns"),
    ("disk.read.bytes", "cumulative", "B"),
    ("memory.usage", "gauge", "MiB"),
    ("disk.write.requests", "delta", "request"),
];

/// Polling cycles of samples: clocks mostly advance, and not always together.
fn stream() -> impl Strategy<Value = Vec<Vec<Value>>> {
    let volume = prop_oneof![
        4 => (0..100_000_i64).prop_map(|whole| json!(whole)),
        2 => (-1e4..1e4_f64).prop_map(|float| json!(float)),
        1 => Just(json!(0)),
    ];
    let clocks = (-3..8_i64, prop::option::of(-2..9_i64));
    let owners = (select(vec![json!("u"), json!("v"), json!(null)]), select(vec!["p", "q"]));
    let cpus = prop::option::of(0..5_u64);
    let row = (0..METERS.len(), select(vec!["r1", "r2", "r-ü"]), volume, clocks, owners, cpus);
    prop::collection::vec(prop::collection::vec(row, 0..8), 0..8).prop_map(|cycles| {
        let (mut clock, mut monotonic, mut number) = (1_700_000_000, 5_000, 0_u64);
        let mut sample = |(meter, resource, volume, (step, mono), (user, project), cpus)| {
            let (name, kind, unit): (&str, &str, &str) = METERS[meter];
            let mono: Option<i64> = mono;
            clock += step;
            monotonic += mono.unwrap_or(0);
            number += 1;
            let time = jiff::Timestamp::from_second(clock).unwrap();
            let cpus: Option<u64> = cpus;
            let mut metadata = json!({"flavor": {"vcpus": 3}, "number": number});
            if let Some(cpus) = cpus {
                metadata["cpu_number"] = json!(cpus);
            }
            let volume: Value = volume;
            json!({
                "name": name, "type": kind, "unit": unit, "volume": volume,
                "user_id": user, "user_name": null, "project_id": project, "project_name": null,
                "resource_id": resource, "source": "openstack",
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
                "resource_metadata": metadata, "id": format!("3a5f2c1e-6821-11e5-9d70-{number:012}"),
                "monotonic_time": mono.map(|_| monotonic),
            })
        };
        cycles.into_iter().map(|cycle| cycle.into_iter().map(&mut sample).collect()).collect()
    })
}

/// Expressions with these names.
fn expression(names: Vec<&'static str>) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        3 => select(names).prop_map(str::to_owned),
        2 => (0..20_i32).prop_map(|whole| whole.to_string()),
        1 => select(vec!["0.5", "100.0", "1e3", "True", "None"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let operators = vec!["+", "-", "*", "/", "//", "%", "<", ">=", "and", "or"];
        prop_oneof![
            6 => (two, select(operators)).prop_map(|((a, b), sign)| format!("({a} {sign} {b})")),
            // Upstream, a missing name equals itself; here it equals nothing.
            1 => (inner.clone(), 0..5).prop_map(|(a, whole)| format!("({a} == {whole})")),
            1 => (0..5, inner.clone()).prop_map(|(whole, a)| format!("({whole} != {a})")),
            1 => inner.clone().prop_map(|a| format!("(-{a})")),
            1 => inner.clone().prop_map(|a| format!("(not {a})")),
            1 => inner.clone().prop_map(|a| format!("({a} ** 2)")),
            1 => (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
        ]
    })
    .boxed()
}

fn scale() -> BoxedStrategy<Value> {
    let names = vec![
        "volume",
        "volume",
        "resource_metadata.cpu_number",
        "resource_metadata.flavor.vcpus",
        "resource_metadata.non.existent",
    ];
    let usual = "100.0 / (10**9 * (resource_metadata.cpu_number or 1))";
    prop_oneof![
        1 => Just(json!(usual)),
        1 => select(vec![json!(0.25), json!(0), json!(-3)]),
        4 => expression(names).prop_map(|text| json!(text)),
    ]
    .boxed()
}

/// A mapping with a random subset of these keys.
fn some(parts: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Map<String, Value>> {
    let mut all = Just(Map::new()).boxed();
    for (key, value) in parts {
        all = (all, prop::option::of(value))
            .prop_map(move |(mut map, value)| {
                map.extend(value.map(|value| (key.to_owned(), value)));
                map
            })
            .boxed();
    }
    all
}

fn texts(all: &[&str]) -> BoxedStrategy<Value> {
    select(all.iter().map(|one| json!(one)).collect::<Vec<_>>()).boxed()
}

fn target(more: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Map<String, Value>> {
    let mut parts = vec![("unit", texts(&["%", "B/s", ""])), ("type", texts(&["gauge", "delta"]))];
    parts.extend(more);
    some(parts)
}

/// Options that `rate_of_change` and `unit_conversion` share, with or without patterns.
fn conversion() -> BoxedStrategy<Value> {
    let maximum = select(vec![json!(1), json!(99.5), json!(0)]).boxed();
    let name = texts(&["cpu_util", "other.name"]);
    let target = target(vec![("name", name), ("scale", scale()), ("max", maximum)]);
    (target, any::<bool>(), prop::option::of(texts(&["B", "ns"])))
        .prop_map(|(target, map, unit)| {
            let mut options = json!({"target": target, "source": {}});
            if map {
                options["source"]["map_from"] = json!({
                    "name": r"disk\.(read|write)\.(bytes|requests)", "unit": "(B|request)",
                });
                options["target"]["map_to"] = json!({"name": r"disk.\1.\2.rate", "unit": r"\1/s"});
            }
            if let Some(unit) = unit {
                options["source"]["unit"] = unit;
            }
            options
        })
        .boxed()
}

fn delta() -> BoxedStrategy<Value> {
    let target = target(vec![("name", texts(&["new"]))]);
    (target, any::<bool>())
        .prop_map(|(target, growth_only)| json!({"target": target, "growth_only": growth_only}))
        .boxed()
}

/// Always with a size: upstream, the time alone has no effect unless the size is 0. Without a new
/// name, which fails upstream, and with scales that never fail, because upstream counts failed
/// samples.
fn aggregator() -> BoxedStrategy<Value> {
    let scale =
        texts(&["volume * 2", "volume / 4.0", "volume + (resource_metadata.cpu_number or 1)"]);
    let size = select(vec![json!(0), json!(1), json!(3), json!(9)]);
    let ends = || texts(&["first", "last"]);
    let policies = some(vec![
        ("retention_time", select(vec![json!(1), json!(4), json!(15)]).boxed()),
        ("project_id", ends()),
        ("user_id", ends()),
        ("timestamp", ends()),
        ("resource_metadata", texts(&["first", "last", "drop"])),
    ]);
    (size, policies, target(vec![("scale", scale)]))
        .prop_map(|(size, mut options, target)| {
            options.insert("size".to_owned(), size);
            options.insert("target".to_owned(), json!(target));
            Value::Object(options)
        })
        .boxed()
}

fn accumulator() -> BoxedStrategy<Value> {
    (1..12_u32).prop_map(|size| json!({ "size": size })).boxed()
}

fn arithmetic() -> BoxedStrategy<Value> {
    let names = vec![
        "$(cpu)",
        "$(memory.usage)",
        "$(disk.read.bytes)",
        "$(memory.usage).resource_metadata.cpu_number",
        "$(cpu).resource_metadata.flavor.vcpus",
    ];
    let first = select(vec!["$(cpu)", "$(memory.usage)"]);
    (first, expression(names), target(vec![("name", texts(&["new"]))]))
        .prop_map(|(first, rest, mut target)| {
            target.insert("expr".to_owned(), json!(format!("{first} + {rest}")));
            json!({ "target": target })
        })
        .boxed()
}

/// The fields that must be equal: ids differ, and upstream has no monotonic times.
fn comparable(name: &str, sample: &Value) -> Value {
    let keys = ["name", "type", "unit", "user_id", "project_id", "resource_id", "timestamp"];
    let mut all: Map<String, Value> =
        keys.iter().map(|&key| (key.to_owned(), sample[key].clone())).collect();
    all.insert("resource_metadata".to_owned(), sample["resource_metadata"].clone());
    // Corrected: upstream uses the time of the last sample of any resource.
    if name == "arithmetic" {
        all.remove("timestamp");
    }
    Value::Object(all)
}

/// The volume as a number; `True` is 1, as in Python.
fn volume(sample: &Value) -> f64 {
    let volume = &sample["volume"];
    volume.as_bool().map_or_else(|| volume.as_f64().unwrap(), |flag| f64::from(u8::from(flag)))
}

fn same(name: &str, mut ours: Vec<Value>, mut theirs: Vec<Value>) -> Result<(), TestCaseError> {
    // Order of results in a cycle: by resource here, by arrival upstream.
    if name == "arithmetic" {
        for all in [&mut ours, &mut theirs] {
            all.sort_by_key(|one| text(one, "resource_id").to_owned());
        }
    }
    prop_assert_eq!(ours.len(), theirs.len(), "{:#?} and {:#?}", ours, theirs);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        prop_assert_eq!(comparable(name, ours), comparable(name, theirs));
        let (ours, theirs) = (volume(ours), volume(theirs));
        let close = (ours - theirs).abs() <= 1e-12 * theirs.abs();
        prop_assert!(close, "{} is not {}", ours, theirs);
    }
    Ok(())
}

/// Asserts that a component agrees with the original on random streams.
fn holds(name: &str, options: impl Strategy<Value = Value>) {
    let seed: u64 = match std::env::var("NEPHOMETER_TEST_SEED") {
        Ok(seed) => seed.parse().expect("NEPHOMETER_TEST_SEED is a number"),
        Err(_) => rand_seed(),
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let streams = scaled(400, 5_000);
    let config = Config {
        cases: u32::try_from(streams).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let agent = Agent::new(&format!("original-{name}"));
    let original = RefCell::new(Original::start());
    let made = RefCell::new(0);
    let result =
        TestRunner::new_with_rng(config, rng).run(&(options, stream()), |(options, cycles)| {
            let theirs = original.borrow_mut().run(name, &options, &cycles);
            *made.borrow_mut() += theirs.len();
            same(name, run(&agent, name, &options, &cycles), theirs)
        });
    println!("{name}: {streams} streams, {} samples, seed {seed}", made.borrow());
    if let Err(error) = result {
        panic!("seed {seed}: {error}");
    }
    assert!(*made.borrow() > streams / 3, "hardly anything came out");
}

fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
}

#[test]
fn rate_of_change_matches_ceilometer() {
    holds("rate_of_change", conversion());
}

#[test]
fn unit_conversion_matches_ceilometer() {
    holds("unit_conversion", conversion());
}

#[test]
fn delta_matches_ceilometer() {
    holds("delta", delta());
}

#[test]
fn aggregator_matches_ceilometer() {
    holds("aggregator", aggregator());
}

#[test]
fn accumulator_matches_ceilometer() {
    holds("accumulator", accumulator());
}

#[test]
fn arithmetic_matches_ceilometer() {
    holds("arithmetic", arithmetic());
}
