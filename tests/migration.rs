//! Live migration: two hosts have one instance for a while. `docs/live-migration.md` lists
//! the samples of each, and how to bill them; the recordings in `tests/migration` prove it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Agent, field, ndjson, number, root, text};

const PIPELINE: &str = "
sources:
- {name: all, interval: 60, meters: [cpu, vcpus, power.state], sinks: [raw]}
- {name: counters, interval: 60, meters: [cpu], sinks: [growth]}
sinks:
- {name: raw, publishers: ['test://']}
- name: growth
  transformers: [{name: delta, parameters: {target: {name: cpu.growth}}}]
  publishers: ['test://']
";

/// The samples that the agent of one host sends.
fn samples(host: &str) -> Vec<Value> {
    let agent = Agent::new(&format!("migration-{host}")).pipeline(PIPELINE).set("host", host);
    let recording = format!("replay://{}", root().join("tests/migration").join(host).display());
    let command = ["once", "--format", "ndjson", "--samples", "5", "--libvirt", recording.as_str()];
    ndjson(&agent.execute(&command).code(0).stdout)
}

fn named<'a>(samples: &'a [Value], name: &str) -> Vec<&'a Value> {
    samples.iter().filter(|sample| text(sample, "name") == name).collect()
}

fn sum(samples: &[&Value]) -> f64 {
    samples.iter().map(|sample| number(sample)).sum()
}

#[test]
fn growth_of_both_hosts_is_what_the_guest_used() {
    let (source, destination) = (samples("source"), samples("destination"));
    // 80 s on the source up to its last poll, 70 s on the destination since it was prepared.
    assert_eq!(sum(&named(&source, "cpu.growth")), 80e9);
    assert_eq!(sum(&named(&destination, "cpu.growth")), 70e9);
    for sample in named(&source, "cpu.growth").into_iter().chain(named(&destination, "cpu.growth"))
    {
        assert!(number(sample) >= 0.0, "{sample}");
    }
}

#[test]
fn series_of_both_hosts_differ_in_their_host() {
    let (source, destination) = (samples("source"), samples("destination"));
    let ids = |samples: &[Value]| {
        samples.iter().map(|one| text(one, "resource_id").to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&source), ids(&destination));
    let hosts = |samples: &[Value]| {
        let host = |one: &Value| text(field(one, "resource_metadata"), "host").to_owned();
        samples.iter().map(host).collect::<BTreeSet<_>>()
    };
    let (here, there) = (hosts(&source), hosts(&destination));
    assert_eq!((here.len(), there.len()), (1, 1));
    assert!(here.is_disjoint(&there));
}

/// The progress of the migration, in both cycles while memory is copied: in libvirt's words, with units.
/// There is none before, after, or on the destination.
#[test]
fn progress_is_metered_while_memory_is_copied() {
    let progress = |host: &str| {
        let agent = Agent::new(&format!("migration-progress-{host}"))
            .pipeline(&PIPELINE.replace("meters: [cpu]", "meters: ['libvirt.job.*']"));
        let recording = format!("replay://{}", root().join("tests/migration").join(host).display());
        let command = ["once", "--raw", "--format", "ndjson", "--samples", "5"];
        let command = [&command[..], &["--libvirt", &recording]].concat();
        let all = ndjson(&agent.execute(&command).code(0).stdout);
        let of_job = |sample: &Value| text(sample, "name").starts_with("libvirt.job.");
        all.into_iter().filter(of_job).collect::<Vec<_>>()
    };
    assert!(progress("destination").is_empty());
    let source = progress("source");
    let times: BTreeSet<&str> = source.iter().map(|sample| text(sample, "timestamp")).collect();
    assert_eq!(times.len(), 2, "{times:?}");
    for (name, unit, values) in [
        ("memory_dirty_rate", "page/s", [0.0, 5_120.0]),
        ("memory_iteration", "", [1.0, 4.0]),
        ("downtime", "ms", [0.0, 310.0]),
        ("data_total", "B", [4_312_072_192.0, 4_312_072_192.0]),
        ("data_processed", "B", [1_078_018_048.0, 4_400_000_000.0]),
        ("data_remaining", "B", [3_234_054_144.0, 55_050_240.0]),
        ("memory_bps", "B/s", [36_700_160.0, 36_700_160.0]),
    ] {
        let found = named(&source, &format!("libvirt.job.{name}"));
        let numbers: Vec<f64> = found.iter().map(|sample| number(sample)).collect();
        assert_eq!(numbers, values, "{name}");
        for sample in found {
            assert_eq!((text(sample, "unit"), text(sample, "type")), (unit, "gauge"), "{name}");
            assert_eq!(sample["resource_id"], source[0]["resource_id"]);
        }
    }
}

/// A bill by time that counts running instances has each polling cycle once, though both hosts send
/// gauges.
#[test]
fn running_instances_are_counted_once() {
    let (source, destination) = (samples("source"), samples("destination"));
    let mut all: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for sample in named(&source, "vcpus").into_iter().chain(named(&destination, "vcpus")) {
        let counts = all.entry(text(sample, "timestamp").to_owned()).or_default();
        counts.0 += 1;
        let running = text(field(sample, "resource_metadata"), "state") == "running";
        counts.1 += usize::from(running);
    }
    let counts: Vec<(usize, usize)> = all.into_values().collect();
    assert_eq!(counts, [(1, 1), (2, 1), (2, 1), (1, 1), (1, 1)]);
}
