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
