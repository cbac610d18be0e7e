use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::libvirt::{ReadingBuilder, StatValue, describe};
use crate::resource_metadata::{ResourceCache, ResourceContext};
use nephometer_model::{DomainState, Quirks};

fn filter(entries: &[&str]) -> MeterFilter {
    MeterFilter::new(entries.iter().copied()).unwrap()
}

fn spec(release: Release) -> MeteringSpec {
    MeteringSpec { release, ..MeteringSpec::default() }
}

#[test]
fn only_needed_groups_are_requested() {
    let meters = Meters::new(MeteringSpec::default());
    let groups = |entries: &[&str]| meters.select(&filter(entries)).groups();
    assert_eq!(groups(&["power.*", "disk.root.size"]), Groups::NONE);
    assert_eq!(groups(&["cpu"]), Groups::CPU.union(Groups::VCPU));
    let all = groups(&["*"]);
    for group in [Groups::CPU, Groups::BALLOON, Groups::BLOCK, Groups::INTERFACE, Groups::PERF] {
        assert!(all.contains(group));
    }
    assert!(!all.contains(Groups::IOTHREAD) && !all.contains(Groups::RAW));
    let most = groups(&["!disk.*", "!memory.*"]);
    assert!(most.contains(Groups::VCPU) && !most.without_monitor().contains(Groups::VCPU));
    assert!(!most.contains(Groups::BLOCK));
}

#[test]
fn meter_names_are_unique_in_a_release() {
    for (release, count) in [(Release::Liberty, 22), (Release::Zed, 31), (Release::Current, 34)] {
        let names = CATALOGUE.iter().filter(|def| def.exists_in(release)).map(|def| def.name);
        let names: Vec<_> = names.collect();
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!((names.len(), different.len()), (count, count), "{release}: {names:?}");
    }
}

fn domain() -> Arc<Domain> {
    let xml = "<domain><name>d</name><uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><devices>\
         <disk><source/><target dev='vda'/></disk><disk><target dev='hda'/></disk>\
         <interface><mac address='m'/><target dev='tap0'/></interface></devices></domain>";
    Arc::new(describe(xml).unwrap())
}

fn reading(pairs: &[(&str, &str)]) -> Reading {
    let mut builder = ReadingBuilder::default();
    for (key, value) in pairs {
        builder.add(key, StatValue::Text(value)).unwrap();
    }
    builder.finish()
}

fn samples_by(spec: MeteringSpec, reading: &Reading) -> (Vec<(String, String, Volume)>, u64) {
    let context = ResourceContext {
        host: "h".into(),
        source: "s".into(),
        release: spec.release,
        discovery: Arc::default(),
    };
    let mut cache = ResourceCache::new(context);
    let state = reading.state.unwrap_or(DomainState::NoState);
    let mut samples = Vec::new();
    let mut meters = Meters::new(spec);
    let selection = meters.select(&filter(&["*"]));
    let absent = meters.measure(
        reading,
        cache.resources_of(&domain(), state, None),
        &selection,
        &mut samples,
    );
    let name = |sample: &Measurement| meters.all()[sample.meter].name.to_string();
    let short = |s: &Measurement| (name(s), s.resource.id[36..].to_owned(), s.volume);
    (samples.iter().map(short).collect(), absent)
}

fn samples(reading: &Reading) -> (Vec<(String, String)>, u64) {
    let (samples, absent) = samples_by(spec(Release::Current), reading);
    (samples.into_iter().map(|(name, id, _)| (name, id)).collect(), absent)
}

#[test]
fn absent_values_make_no_sample_and_are_counted() {
    let pairs = [
        ("state.state", "1"),
        ("block.0.name", "vda"),
        ("block.0.rd.bytes", "5"),
        ("block.1.name", "hda"),
        ("block.1.rd.bytes", "0"),
        ("net.0.name", "tap9"),
        ("net.0.rx.bytes", "1"),
    ];
    let (made, absent) = samples(&reading(&pairs));
    let expected = [("power.state", ""), ("disk.device.read.bytes", "-vda")];
    assert_eq!(made, expected.map(|(name, id)| (name.to_owned(), id.to_owned())));
    // cpu, vcpus, six of memory, eight of vda, ten of tap0. Perf events are rarely enabled, and
    // this domain is not Nova's: neither counts as absent.
    assert_eq!(absent, 26);
    let mut off = reading(&pairs);
    off.state = Some(DomainState::ShutOff);
    assert_eq!(samples(&off), (Vec::new(), 0));
    off.state = None;
    let all = CATALOGUE.iter().filter(|def| def.exists_in(Release::Current)).count();
    assert_eq!(samples(&off), (Vec::new(), all as u64));
}

#[test]
fn stopped_instances_are_reported_if_configured() {
    let off = reading(&[
        ("state.state", "5"),
        ("cpu.time", "8080000000"),
        ("vcpu.current", "2"),
        ("balloon.current", "16384"),
        ("balloon.maximum", "2097152"),
        ("block.0.name", "vda"),
        ("block.0.allocation", "200704"),
        ("block.0.capacity", "67108864"),
        ("block.0.physical", "196616"),
    ]);
    let by = |release, report, stopped_cpu| {
        let quirks = Quirks { stopped_cpu, ..Quirks::default() };
        let spec = MeteringSpec { release, quirks, report_stopped_instance_metrics: report };
        let (samples, absent) = samples_by(spec, &off);
        assert_eq!(absent, 0);
        samples
    };
    let whole =
        |name: &str, id: &str, value| (name.to_owned(), id.to_owned(), Volume::Integer(value));
    assert_eq!(by(Release::Current, false, false), []);
    assert_eq!(
        by(Release::Current, true, false),
        [
            whole("vcpus", "", 2),
            ("memory".to_owned(), String::new(), Volume::Float(2048.0)),
            whole("power.state", "", 5),
            whole("disk.device.capacity", "-vda", 67_108_864),
            whole("disk.device.allocation", "-vda", 200_704),
            whole("disk.device.usage", "-vda", 196_616),
        ]
    );
    assert_eq!(by(Release::Liberty, false, false), [whole("instance", "", 1)]);
    assert_eq!(by(Release::Liberty, false, true), [whole("instance", "", 1), whole("cpu", "", 0)]);
}

#[test]
fn liberty_sums_over_all_disks() {
    let on = reading(&[
        ("state.state", "1"),
        ("block.0.name", "vda"),
        ("block.0.rd.bytes", "5"),
        ("block.0.wr.bytes", "1"),
        ("block.1.name", "hda"),
        ("block.1.rd.bytes", "7"),
    ]);
    let (samples, _) = samples_by(spec(Release::Liberty), &on);
    let values = |name: &str| -> Vec<_> {
        let found = samples.iter().filter(|(meter, ..)| meter == name);
        found.map(|(_, id, volume)| (id.as_str(), *volume)).collect()
    };
    assert_eq!(values("disk.read.bytes"), [("", Volume::Integer(12))]);
    assert_eq!(values("disk.write.bytes"), [], "no sum if one of the disks is absent");
    assert_eq!(
        values("disk.device.read.bytes"),
        [("-vda", Volume::Integer(5)), ("-hda", Volume::Integer(7))],
        "Liberty meters drives without a medium, too"
    );
}

#[test]
fn raw_meters_are_selected_by_name_only() {
    let mut builder = ReadingBuilder::new(true);
    for (key, value) in [
        ("state.state", "1"),
        ("vcpu.0.delay", "5"),
        ("vcpu.1.delay", "7"),
        ("block.0.name", "vda"),
        ("block.0.fl.reqs", "3"),
        ("net.0.name", "tap0"),
        ("net.0.rx.bytes", "9"),
        ("new.thing", "0.5"),
    ] {
        builder.add(key, StatValue::Text(value)).unwrap();
    }
    let reading = builder.finish();
    let context = ResourceContext {
        host: "h".into(),
        source: "s".into(),
        release: Release::Current,
        discovery: Arc::default(),
    };
    let mut cache = ResourceCache::new(context);
    let resources = cache.resources_of(&domain(), DomainState::Running, None);
    let mut meters = Meters::new(MeteringSpec::default());
    let named = filter(&["libvirt.*", "!libvirt.state.*"]);
    let selection = meters.select(&named);
    let mut samples = Vec::new();
    meters.measure(&reading, resources, &selection, &mut samples);
    let sources = [named, filter(&["*"])].map(|filter| {
        let wants = |sample: &&Measurement| meters.selects_raw(&filter, sample.meter);
        let short = |sample: &Measurement| {
            let meter = &meters.all()[sample.meter];
            format!("{} {}{}", meter.name, &sample.resource.id[36..], meter.unit)
        };
        samples.iter().filter(wants).map(short).collect::<Vec<_>>()
    });
    assert_eq!(sources[1], Vec::<String>::new());
    assert_eq!(
        sources[0],
        [
            "libvirt.vcpu.delay -vcpu.0ns",
            "libvirt.vcpu.delay -vcpu.1ns",
            "libvirt.block.fl.reqs -vdarequest",
            // The id of an interface begins with the name of the instance.
            "libvirt.net.rx.bytes 27-tap0B",
            "libvirt.new.thing ",
        ]
    );
}

#[test]
fn detects_changed_devices() {
    let domain = domain();
    let differs = |names: &[(&str, &str)]| devices_differ(&reading(names), &domain);
    let (vda, hda, tap) =
        (("block.0.name", "vda"), ("block.1.name", "hda"), ("net.0.name", "tap0"));
    assert!(!differs(&[vda, hda, tap]));
    assert!(!differs(&[vda, tap]), "a drive without medium may be missing");
    assert!(!differs(&[tap]), "the reading has no disks at all");
    assert!(!differs(&[]));
    assert!(differs(&[hda]), "vda was taken out");
    assert!(differs(&[vda, ("block.1.name", "vdb")]));
    assert!(differs(&[("net.0.name", "tap1")]));
}

/// All samples of one recorded cycle, by meter and resource.
fn replayed(folder: &Path, cycle: &Path, spec: MeteringSpec) -> Vec<(String, Measurement)> {
    let text = std::fs::read_to_string(cycle).unwrap();
    let (host, source) = ("compute-1".into(), "openstack".into());
    let mut cache = ResourceCache::new(ResourceContext {
        host,
        source,
        release: spec.release,
        discovery: Arc::default(),
    });
    let mut samples = Vec::new();
    let mut meters = Meters::new(spec);
    let selection = meters.select(&filter(&["*"]));
    for file in std::fs::read_dir(folder.join("xml")).unwrap() {
        let xml = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let domain = Arc::new(describe(&xml).unwrap());
        let marker = format!("Domain: '{}'\n", domain.name);
        let pairs = text.split_once(&marker).unwrap().1.split("\n\n").next().unwrap();
        let pairs: Vec<_> = pairs.lines().map(|def| def.trim().split_once('=').unwrap()).collect();
        let reading = reading(&pairs);
        if domain.nova.is_some() {
            let resources = cache.resources_of(&domain, reading.state.unwrap(), None);
            meters.measure(&reading, resources, &selection, &mut samples);
        }
    }
    let key = |s: &Measurement| format!("{} {}", meters.all()[s.meter].name, s.resource.id);
    samples.into_iter().map(|sample| (key(&sample), sample)).collect()
}

/// Both metadata as text. Ceilometer's flavor id comes from Nova's API; ours is the name there.
fn metadata(golden: &Map<String, Json>, ours: &Resource) -> (String, String) {
    let mut golden = golden.clone();
    if ours.metadata["flavor"]["id"] == ours.metadata["flavor"]["name"] {
        golden["flavor"]["id"] = golden["flavor"]["name"].clone();
    }
    (Json::Object(golden).to_string(), Json::Object(ours.metadata.clone()).to_string())
}

/// Asserts that one cycle of a real Ceilometer has exactly our samples, with values between those
/// of our readings before and after it.
fn compare(version: &str, spec: MeteringSpec, samples: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(version);
    let files = std::fs::read_dir(folder.join("domstats")).unwrap();
    let mut cycles: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    cycles.sort();
    let read = |cycle: &Path| replayed(&folder, cycle, spec).into_iter();
    let (before, mut after): (HashMap<_, _>, HashMap<_, _>) =
        (read(&cycles[0]).collect(), read(&cycles[1]).collect());
    let meters = Meters::new(spec);
    let messages = std::fs::read_to_string(folder.join("messages.json")).unwrap();
    let messages: Json = serde_json::from_str(&messages).unwrap();
    let payloads =
        messages.as_array().unwrap().iter().map(|m| &m["oslo.message"]["payload"]["samples"]);
    let golden: Vec<&Json> = payloads.flat_map(|samples| samples.as_array().unwrap()).collect();
    assert_eq!(golden.len(), samples);
    for sample in golden {
        let text = |key: &str| sample[key].as_str().unwrap();
        let key = format!("{} {}", text("counter_name"), text("resource_id"));
        let second = after.remove(&key).unwrap_or_else(|| panic!("{key} is missing"));
        let (first, meter) = (&before[&key], &meters.all()[second.meter]);
        assert_eq!(
            (meter.kind.as_str(), &*meter.unit),
            (text("counter_type"), text("counter_unit")),
            "{key}"
        );
        let resource = &second.resource;
        assert_eq!(
            json!([resource.source, resource.user_id, resource.project_id]),
            json!([sample["source"], sample["user_id"], sample["project_id"]])
        );
        let (theirs, ours) = metadata(sample["resource_metadata"].as_object().unwrap(), resource);
        assert_eq!(theirs, ours, "{key}");
        let volume = &sample["counter_volume"];
        assert_eq!(volume.is_f64(), !second.volume.is_integer(), "{key}");
        let (low, high) = (first.volume.as_f64(), second.volume.as_f64());
        let (low, high) = (low.min(high), low.max(high));
        let (low, high) = match text("counter_name") {
            // A recording has the size of a file in whole blocks only.
            "disk.device.usage" => (low - 4096.0, high),
            // Of an empty file it has the length.
            "disk.device.allocation" if volume == 0 => (0.0, high),
            _ => (low, high),
        };
        assert!((low..=high).contains(&volume.as_f64().unwrap()), "{key}: {low} {volume} {high}");
    }
    assert!(after.is_empty(), "not in Ceilometer: {:?}", after.keys());
}

#[test]
fn samples_match_ceilometer_27() {
    compare("27.0.0", spec(Release::Current), 634);
}

#[test]
fn samples_match_ceilometer_19() {
    let quirks = Quirks { outgoing_packets_delta: true, ..Quirks::default() };
    compare("19.0.0", MeteringSpec { quirks, ..spec(Release::Zed) }, 512);
}
