//! Real QEMU domains: the agent's samples equal the numbers of `virsh`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    AS_DICT, Agent, Arrival, CATALOGUE, Consumer, Lab, MESSAGE, PATIENCE, broker, eventually,
    field, hypervisor, keys, ndjson, number, sorted_by_time, text, verify,
};

/// A pipeline from production with another interval and topic, and a second sink with its input.
const CPU_UTIL: &str = r#"
sources:
    - name: cpu_source
      interval: 2
      meters:
          - "cpu"
      sinks:
          - cpu_sink
    - name: everything
      interval: 2
      meters: ["*"]
      sinks: [raw]
sinks:
    - name: cpu_sink
      transformers:
          - name: "rate_of_change"
            parameters:
                target:
                    name: "cpu_util"
                    unit: "%"
                    type: "gauge"
                    scale: "100.0 / (10**9 * (resource_metadata.cpu_number or 1))"
      publishers:
          - notifier://?topic=qemu_util
    - name: raw
      publishers:
          - notifier://?topic=qemu_raw
"#;

/// Serialises the readers of the shared guests: libvirt omits groups of a guest whose monitor is
/// busy with the request of another client.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static READER: Mutex<()> = Mutex::new(());
    READER.lock().unwrap_or_else(PoisonError::into_inner)
}

type Record = HashMap<String, String>;

/// The output of `virsh domstats`, by domain and key.
fn domstats(lab: &Lab) -> BTreeMap<String, Record> {
    let mut all: BTreeMap<String, Record> = BTreeMap::new();
    let mut domain = String::new();
    for line in lab.virsh(&["domstats", "--raw"]).lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Domain: ") {
            domain = name.trim_matches('\'').to_owned();
            all.insert(domain.clone(), Record::new());
        } else if let Some((key, value)) = line.split_once('=') {
            all.get_mut(&domain).unwrap().insert(key.to_owned(), value.to_owned());
        }
    }
    all
}

fn uuids(lab: &Lab) -> BTreeMap<String, String> {
    let names = lab.virsh(&["list", "--all", "--name"]);
    let names = names.lines().map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| (name.to_owned(), lab.virsh(&["domuuid", name]).trim().to_owned())).collect()
}

/// The expected values of one record of statistics, by meter and resource.
fn expected(name: &str, uuid: &str, record: &Record) -> BTreeMap<(String, String), f64> {
    let get = |key: &str| record.get(key).and_then(|value| value.parse::<f64>().ok());
    let mut samples = BTreeMap::new();
    if get("state.state") == Some(5.0) {
        return samples;
    }
    let mut add = |meter: &str, resource: &str, value: Option<f64>| {
        if let Some(value) = value {
            samples.insert((meter.to_owned(), resource.to_owned()), value);
        }
    };
    add("cpu", uuid, cpu_time(&get));
    add("vcpus", uuid, get("vcpu.current"));
    add("power.state", uuid, get("state.state"));
    let free = get("balloon.usable").or_else(|| get("balloon.unused"));
    let usage = get("balloon.available").zip(free).map(|(all, free)| (all - free) / 1024.0);
    add("memory.usage", uuid, usage);
    for (meter, key) in [
        ("memory", "current"),
        ("memory.available", "available"),
        ("memory.resident", "rss"),
        ("memory.swap.in", "swap_in"),
        ("memory.swap.out", "swap_out"),
    ] {
        add(meter, uuid, get(&format!("balloon.{key}")).map(|kib| kib / 1024.0));
    }
    for n in 0.. {
        let Some(disk) = record.get(&format!("block.{n}.name")) else { break };
        let resource = format!("{uuid}-{disk}");
        for (way, short) in [("read", "rd"), ("write", "wr")] {
            for (what, short_what) in
                [("bytes", "bytes"), ("requests", "reqs"), ("latency", "times")]
            {
                let value = get(&format!("block.{n}.{short}.{short_what}"));
                add(&format!("disk.device.{way}.{what}"), &resource, value);
            }
        }
    }
    for n in 0.. {
        let Some(nic) = record.get(&format!("net.{n}.name")) else { break };
        let resource = format!("{name}-{uuid}-{nic}");
        for (way, short) in [("incoming", "rx"), ("outgoing", "tx")] {
            for (what, short_what) in [
                ("bytes", "bytes"),
                ("packets", "pkts"),
                ("packets.error", "errs"),
                ("packets.drop", "drop"),
            ] {
                let value = get(&format!("net.{n}.{short}.{short_what}"));
                add(&format!("network.{way}.{what}"), &resource, value);
            }
            // A first reading has no growth.
            add(&format!("network.{way}.bytes.delta"), &resource, Some(0.0));
        }
    }
    samples
}

/// The sum of running and waiting time of all virtual processors if all are complete; otherwise the
/// total.
fn cpu_time(get: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    let maximum = (0..).take_while(|n| f64::from(*n) < get("vcpu.maximum").unwrap_or(0.0));
    let complete: Vec<f64> = maximum
        .filter_map(|n| Some(get(&format!("vcpu.{n}.time"))? + get(&format!("vcpu.{n}.wait"))?))
        .collect();
    let counted = u32::try_from(complete.len()).unwrap();
    if get("vcpu.current") == Some(f64::from(counted)) {
        Some(complete.iter().sum())
    } else {
        get("cpu.time")
    }
}

type All = BTreeMap<(String, String), f64>;

fn all_expected(lab: &Lab, uuids: &BTreeMap<String, String>) -> All {
    let stats = domstats(lab);
    let mut all = All::new();
    for (name, record) in &stats {
        let own = expected(name, &uuids[name], record);
        let disks: BTreeSet<String> = own
            .keys()
            .filter(|(meter, _)| meter == "disk.device.read.bytes")
            .map(|(_, resource)| resource.clone())
            .collect();
        for resource in disks {
            for (meter, size) in sizes(lab, name, &resource[37..]) {
                all.insert((meter, resource.clone()), size);
            }
        }
        all.extend(own);
    }
    all
}

/// The output of `virsh domblkinfo` for a disk, as meters.
fn sizes(lab: &Lab, name: &str, disk: &str) -> Vec<(String, f64)> {
    let text = lab.virsh(&["domblkinfo", name, disk]);
    let field = |word: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        line.trim_start_matches(':').trim().parse().unwrap()
    };
    let (capacity, physical) = (field("Capacity"), field("Physical"));
    [("capacity", capacity.max(physical)), ("allocation", field("Allocation")), ("usage", physical)]
        .map(|(what, size)| (format!("disk.device.{what}"), size))
        .to_vec()
}

/// Asserts that the samples of one cycle lie between two reads with `virsh`, and that none is
/// missing.
fn assert_between(samples: &[Value], before: &All, after: &All) {
    let mut seen = BTreeSet::new();
    for sample in samples {
        if matches!(text(sample, "name"), "disk.root.size" | "disk.ephemeral.size") {
            // Nova's numbers, not libvirt's: compared with the metadata.
            let key = text(sample, "name").replace("disk.", "").replace(".size", "_gb");
            let size = &field(sample, "resource_metadata")[&key];
            assert_eq!(size.as_f64(), Some(number(sample)), "{sample}");
            continue;
        }
        let key = (text(sample, "name").to_owned(), text(sample, "resource_id").to_owned());
        assert!(seen.insert(key.clone()), "twice in one cycle: {sample}");
        let value = number(sample);
        let (Some(low), Some(high)) = (before.get(&key), after.get(&key)) else {
            assert!(
                before.contains_key(&key) || after.contains_key(&key),
                "libvirt has no {key:?}"
            );
            continue;
        };
        // Memory usage may rise and fall between two reads; counters only rise.
        let slack = if key.0.starts_with("memory.") { 16.0 } else { 0.0 };
        let (low, high) = (low.min(*high) - slack, high.max(*low) + slack);
        assert!((low..=high).contains(&value), "{key:?}: {low} <= {value} <= {high}");
    }
    let required = before.keys().filter(|key| after.contains_key(*key));
    for key in required {
        assert!(seen.contains(key), "no sample of {key:?}");
    }
}

/// Waits until the Linux guests have booted: their balloons report and their counters move.
pub(crate) fn booted(lab: &'static Lab) -> &'static Lab {
    eventually("moving counters of linux-1 and linux-2", Duration::from_secs(180), || {
        let stats = domstats(lab);
        let moves = |name: &str| {
            let get = |key: &str| {
                stats[name].get(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
            };
            get("balloon.available") > 0
                && get("block.0.wr.bytes") > 0
                && get("block.1.wr.bytes") > 0
                && get("net.0.rx.bytes") > 0
        };
        (moves("linux-1") && moves("linux-2")).then_some(())
    });
    lab
}

#[test]
fn once_prints_the_numbers_of_virsh() {
    let _exclusive = exclusive();
    let lab = booted(hypervisor());
    let uuids = uuids(lab);
    let agent = Agent::new("qemu-once").libvirt(lab.libvirt_uri()).everything_to(&["notifier://"]);
    let before = all_expected(lab, &uuids);
    let ended = agent.execute(&["once", "--raw", "--format", "ndjson"]).code(0);
    let after = all_expected(lab, &uuids);
    let samples = ndjson(&ended.stdout);
    assert_between(&samples, &before, &after);
    for sample in &samples {
        assert_eq!(keys(sample), AS_DICT);
        let meter = (text(sample, "name"), text(sample, "type"), text(sample, "unit"));
        assert!(CATALOGUE.contains(&meter), "{meter:?}");
        assert_eq!(field(sample, "source"), "openstack");
        assert!(field(sample, "monotonic_time").as_f64().is_some_and(|time| time > 0.0));
    }
    let meters: BTreeSet<&str> = samples.iter().map(|sample| text(sample, "name")).collect();
    assert_eq!(meters, CATALOGUE.iter().map(|meter| meter.0).collect());
    let of = |name: &str| -> BTreeSet<&str> {
        let own = samples.iter().filter(|s| text(s, "resource_id") == uuids[name]);
        own.map(|sample| text(sample, "name")).collect()
    };
    let sizes = BTreeSet::from(["disk.ephemeral.size", "disk.root.size"]);
    assert_eq!(of("off-1"), sizes, "a stopped domain has only the sizes of its flavor");
    assert!(of("paused-1").len() > sizes.len(), "a paused domain is metered");
}

#[test]
fn metadata_equals_that_of_nova() {
    let _exclusive = exclusive();
    let lab = hypervisor();
    let uuids = uuids(lab);
    let agent =
        Agent::new("qemu-metadata").libvirt(lab.libvirt_uri()).everything_to(&["notifier://"]);
    let ended = agent.execute(&["once", "--raw", "--format", "ndjson"]).code(0);
    let samples = ndjson(&ended.stdout);
    let of = |name: &str, meter: &str| {
        let of_domain = |s: &&Value| text(s, "resource_id").contains(uuids[name].as_str());
        let found = samples.iter().filter(of_domain).find(|s| text(s, "name") == meter);
        found.unwrap_or_else(|| panic!("no {meter} of {name}")).clone()
    };
    for (name, display) in [
        ("linux-1", "server linux-1"),
        ("linux-2", "Zähler & 計測 № 2"),
        ("idle-1", "server idle-1"),
    ] {
        let sample = of(name, "vcpus");
        assert_eq!(field(&sample, "user_id"), "9e5d5ae01e0b4e1f8a5b3ad8fbbaf5f1");
        assert_eq!(field(&sample, "project_id"), "4f0cbd8d0a0a44f0a6c5a8c7bd1d2f3c");
        let ram = if name.starts_with("linux") { 96 } else { 16 };
        let metadata = field(&sample, "resource_metadata");
        for (key, value) in [
            ("display_name", json!(display)),
            ("name", json!(name)),
            ("instance_id", json!(uuids[name])),
            ("instance_type", json!("m1.nano")),
            ("instance_host", json!("compute-1")),
            ("status", json!("active")),
            ("state", json!("running")),
            ("image", json!({"id": "6b1f9f3c-5a53-4f0e-9a0b-4f2ad0a3a6de"})),
            ("os_type", json!("hvm")),
            ("architecture", json!("x86_64")),
            ("memory_mb", json!(ram)),
            ("vcpus", json!(1)),
            ("disk_gb", json!(1)),
            ("root_gb", json!(1)),
            ("ephemeral_gb", json!(0)),
        ] {
            assert_eq!(metadata[key], value, "{key} of {name}");
        }
        assert_eq!(metadata["flavor"]["name"], "m1.nano");
        assert_eq!(metadata["flavor"]["ram"], ram);
    }
    assert_eq!(field(&of("linux-1", "cpu"), "resource_metadata")["cpu_number"], 1);
    let disk = of("linux-1", "disk.device.read.bytes");
    assert_eq!(field(&disk, "resource_metadata")["disk_name"], "vda");
    let nic = of("linux-1", "network.incoming.bytes");
    let metadata = field(&nic, "resource_metadata");
    assert!(metadata["name"].as_str().unwrap().starts_with("tap"), "{metadata}");
    assert!(metadata["mac"].as_str().unwrap().starts_with("fa:16:3e:"), "{metadata}");
    assert_eq!(field(&of("paused-1", "cpu"), "resource_metadata")["state"], "paused");
}

#[test]
fn domain_without_nova_metadata_is_metered_unless_unowned_is_off() {
    let _exclusive = exclusive();
    let lab = hypervisor();
    let uuid = lab.virsh(&["domuuid", "paused-1"]).trim().to_owned();
    let samples = |unowned: bool| {
        let agent = Agent::new("qemu-unowned")
            .libvirt(lab.libvirt_uri())
            .set("libvirt.unowned", unowned)
            .everything_to(&["notifier://"]);
        let ended = agent.execute(&["once", "--raw", "--format", "ndjson"]).code(0);
        let samples = ndjson(&ended.stdout);
        assert!(samples.iter().any(|s| !text(s, "resource_id").contains(&uuid)));
        let of_it = samples.into_iter().filter(|s| text(s, "resource_id").contains(&uuid));
        of_it.collect::<Vec<_>>()
    };
    let with = samples(true);
    assert!(!with.is_empty());
    for sample in &with {
        assert_eq!(field(sample, "project_id"), &Value::Null);
        assert_eq!(field(sample, "user_id"), &Value::Null);
        let metadata = field(sample, "resource_metadata");
        assert_eq!(metadata["instance_id"], json!(uuid));
        assert_eq!(metadata["display_name"], "paused-1");
    }
    assert_eq!(samples(false), Vec::<Value>::new());
}

#[test]
fn timestamps_are_utc_in_any_time_zone() {
    let _exclusive = exclusive();
    let lab = hypervisor();
    let agent = Agent::new("qemu-zone")
        .libvirt(lab.libvirt_uri())
        .variable("TZ", "Asia/Kathmandu")
        .everything_to(&["notifier://"]);
    let before = jiff::Timestamp::now();
    let ended = agent.execute(&["once", "--raw", "--format", "ndjson"]).code(0);
    let after = jiff::Timestamp::now();
    let samples = ndjson(&ended.stdout);
    assert!(!samples.is_empty());
    let names: BTreeSet<&str> = samples
        .iter()
        .filter_map(|sample| field(sample, "resource_metadata")["display_name"].as_str())
        .collect();
    assert!(names.contains("Zähler & 計測 № 2"), "{names:?}");
    for sample in &samples {
        let taken: jiff::Timestamp = format!("{}Z", text(sample, "timestamp")).parse().unwrap();
        // Timestamps are truncated to microseconds.
        let slack = Duration::from_micros(1);
        assert!(before - slack <= taken && taken <= after, "{before} <= {taken} <= {after}");
    }
}

#[test]
fn messages_at_the_broker_carry_the_numbers_of_virsh() {
    let _exclusive = exclusive();
    let lab = booted(hypervisor());
    let url = broker().amqp_url();
    let uuids = uuids(lab);
    let (raw, util) = (Consumer::new(url, "qemu_raw"), Consumer::new(url, "qemu_util"));
    let agent = Agent::new("qemu-broker").libvirt(lab.libvirt_uri()).amqp(url).pipeline(CPU_UTIL);
    let before = all_expected(lab, &uuids);
    let running = agent.run();
    // A cycle is complete when the next one has begun; it may be more than one message.
    raw.wait_until("two cycles", |arrivals| {
        let samples: Vec<Value> = arrivals.iter().flat_map(Arrival::samples).collect();
        firsts(&samples).len() < samples.len()
    });
    let after = all_expected(lab, &uuids);
    util.wait_until("cpu_util of three cycles", |arrivals| arrivals.len() >= 3);
    running.stop().code(0).ledger();
    assert_between(&firsts(&raw.samples()), &before, &after);

    let (raw, util) = (raw.samples(), util.samples());
    for sample in raw.iter().chain(&util) {
        assert_eq!(keys(sample), MESSAGE);
    }
    assert_eq!(
        verify(raw.iter().chain(&util), "change this for valid signing"),
        raw.len() + util.len()
    );
    sorted_by_time(&raw);
    sorted_by_time(&util);
    assert_rates(&util, &raw);
    let busy = |sample: &&Value| text(sample, "resource_id") == uuids["linux-1"];
    assert!(util.iter().filter(busy).any(|sample| number(sample) > 0.0));
}

/// The first sample of every series.
fn firsts(samples: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut first = samples.to_vec();
    first.retain(|s| seen.insert((text(s, "name").to_owned(), text(s, "resource_id").to_owned())));
    first
}

/// Asserts that every `cpu_util` is the rate of the raw counters.
fn assert_rates(util: &[Value], raw: &[Value]) {
    let time = |sample: &Value| field(sample, "monotonic_time").as_f64().unwrap();
    for sample in util {
        assert_eq!(text(sample, "name"), "cpu_util");
        assert_eq!((text(sample, "unit"), text(sample, "type")), ("%", "gauge"));
        assert_eq!(field(sample, "monotonic_time"), &Value::Null, "a computed sample has none");
        let series: Vec<&Value> = raw
            .iter()
            .filter(|s| text(s, "name") == "cpu")
            .filter(|s| text(s, "resource_id") == text(sample, "resource_id"))
            .collect();
        let at = series.iter().position(|s| text(s, "timestamp") == text(sample, "timestamp"));
        let at = at.unwrap_or_else(|| panic!("no cpu sample of the time of {sample}"));
        let (old, new) = (series[at - 1], series[at]);
        let cpus = field(new, "resource_metadata")["cpu_number"].as_f64().unwrap();
        let rate = (number(new) - number(old)) / (time(new) - time(old)) * 100.0 / 1e9 / cpus;
        let value = number(sample);
        // Clocks in messages have fewer digits than those used for the rate.
        assert!((value - rate).abs() <= 0.01 + rate.abs() * 0.001, "{value} is not {rate}");
        // Waiting counts as well: a busy guest on a busy host exceeds 100%.
        assert!((0.0..=400.0).contains(&value), "{value}");
    }
    assert!(!util.is_empty());
}

#[test]
fn hung_guest_does_not_block_the_others() {
    // A lab of its own: its libvirtd keeps calls that never return.
    let lab = Lab::up(
        "lab-stuck",
        &["--linux", "0", "--idle", "3", "--paused", "0", "--off", "0", "--no-amqp"],
    );
    let uuids = uuids(&lab);
    let agent =
        Agent::new("qemu-stuck").libvirt(lab.libvirt_uri()).set("libvirt.deadline", "500ms");
    let file = agent.folder.at("samples");
    let agent = agent.everything_to(&[&format!("file://{}?json", file.display())]);
    let mut running = agent.run();
    let samples = || ndjson(&complete_lines(&std::fs::read_to_string(&file).unwrap_or_default()));
    let cpus = |name: &str| {
        let is_cpu = |s: &&Value| text(s, "name") == "cpu" && text(s, "resource_id") == uuids[name];
        samples().iter().filter(is_cpu).count()
    };
    let wait_for_samples = |what: &str, names: &[&str]| {
        let start: Vec<usize> = names.iter().map(|name| cpus(name)).collect();
        eventually(what, PATIENCE, || {
            let more = |(name, start): (&&str, &usize)| cpus(name) >= start + 2;
            names.iter().zip(&start).all(more).then_some(())
        });
    };
    wait_for_samples("two cycles of all three", &["idle-1", "idle-2", "idle-3"]);

    lab.signal_guest("idle-2", "-STOP");
    eventually("a warning about idle-2", PATIENCE, || {
        running
            .stderr()
            .lines()
            .any(|line| line.contains("WARN") && line.contains("idle-2"))
            .then_some(())
    });
    let hung = cpus("idle-2");
    wait_for_samples("samples of the others", &["idle-1", "idle-3"]);
    running.wait_for_cycles(2);
    assert_eq!(cpus("idle-2"), hung, "a hung guest has no samples");

    lab.signal_guest("idle-2", "-CONT");
    wait_for_samples("samples of all three", &["idle-1", "idle-2", "idle-3"]);
    let ledger = running.stop().code(0).ledger();
    assert!(ledger.missing > 0, "{ledger:?}");
    sorted_by_time(&samples());
}

/// Cuts off an incomplete last line: the file may be written to.
fn complete_lines(text: &str) -> String {
    text.rfind('\n').map_or_else(String::new, |end| text[..=end].to_owned())
}
