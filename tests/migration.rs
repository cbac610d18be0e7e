//! Live migration: two hosts have one instance for a while. `docs/live-migration.md` lists
//! the samples of each, and how to bill them; the recordings in `tests/migration` prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{
    Agent, Lab, PATIENCE, closed_port, eventually, field, ndjson, number, root, text,
};

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

/// What a scrape gets.
fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    Some(reply)
}

/// Series of a migration, without their prefix.
const JOB_SERIES: [&str; 9] = [
    "data_total_bytes",
    "data_processed_bytes",
    "data_remaining_bytes",
    "memory_dirty_rate",
    "memory_iteration",
    "memory_page_size_bytes",
    "memory_bps_bytes_per_second",
    "downtime_seconds",
    "time_elapsed_seconds",
];

/// A real migration between two libvirtds: it is cancelled, and then completed.
#[test]
fn series_of_a_real_migration_last_as_long_as_it() {
    let options =
        |linux| ["--linux", linux, "--idle", "0", "--paused", "0", "--off", "0", "--no-amqp"];
    let here = Lab::up("migration-here", &options("1"));
    let there = Lab::up("migration-there", &options("0"));
    let port = closed_port();
    let agent = Agent::new("migration-live")
        .libvirt(here.libvirt_uri())
        .set("prometheus.listen", format!("127.0.0.1:{port}"))
        .set("prometheus.form", "native")
        .pipeline(
            "sources: [{name: s, interval: 1, meters: [power.state, 'libvirt.job.*'], sinks: [k]}]\n\
             sinks: [{name: k, publishers: ['test://']}]\n",
        );
    let mut running = agent.run();
    let state = "nephometer_guest_power_state{";
    let job = "nephometer_guest_libvirt_job_";
    let scraped = |what: &str, has_state: bool, has_job: bool| {
        eventually(what, PATIENCE, || {
            let text = scrape(port)?;
            (text.contains(state) == has_state && text.contains(job) == has_job).then_some(text)
        })
    };
    scraped("a guest without a job", true, false);
    running.wait_for_cycles(3);
    // The path of a socket may not be long.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let migrate = || -> Child {
        Command::new("virsh")
            .args(["-c", here.libvirt_uri(), "migrate", "--live", "--unsafe", "linux-1"])
            .args([there.libvirt_uri(), "--migrateuri"])
            .arg(format!("unix://{}", folder.path().join("data").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    here.virsh(&["migrate-setspeed", "linux-1", "1"]);
    let mut cancelled = migrate();
    let text = scraped("the series of the job", true, true);
    for name in JOB_SERIES {
        assert!(text.contains(&format!("{job}{name}{{")), "{name} in:\n{text}");
    }
    here.virsh(&["domjobabort", "linux-1"]);
    assert!(!cancelled.wait().unwrap().success());
    // libvirt has no event of this.
    scraped("the guest after its job was cancelled", true, false);

    let mut completed = migrate();
    scraped("the series of the second job", true, true);
    here.virsh(&["migrate-setspeed", "linux-1", "10000"]);
    assert!(completed.wait().unwrap().success());
    assert!(there.virsh(&["list", "--name"]).contains("linux-1"));
    eventually("the end of all series", PATIENCE, || {
        scrape(port).filter(|text| !text.contains(job))
    });
    running.stop().code(0);
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
