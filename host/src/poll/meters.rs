//! The catalogue of meters: what each is called, which statistics it needs, and how its value
//! comes out of a reading.
//!
//! Pure. Names, types, units and values are those of Ceilometer's compute agent 27. A number that
//! libvirt did not give makes no sample: missing is not zero.

use std::sync::Arc;

use crate::config::MeterFilter;
use crate::discovery::Described;
use crate::model::{
    DiskReading, Domain, DomainState, Groups, Meter, MeterType, NicReading, Reading, Resource,
    Volume,
};

/// One line of the catalogue.
#[derive(Debug)]
pub struct MeterDef {
    /// As in `pipeline.yaml`.
    pub name: &'static str,
    /// What the numbers mean over time.
    pub kind: MeterType,
    /// Empty for numbers without one.
    pub unit: &'static str,
    /// The statistics that it is made from.
    pub groups: Groups,
    value: Value,
}

/// What one sample of a meter is about, and where its value is.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// The instance.
    Vm(fn(&Reading) -> Option<Volume>),
    /// The instance, with the number of its processors.
    Cpu(fn(&Reading) -> Option<Volume>),
    /// Each disk with a medium.
    Disk(fn(&DiskReading) -> Option<u64>),
    /// Each network interface.
    Nic(fn(&NicReading) -> Option<u64>),
}

const NONE: Groups =
    Groups { cpu: false, vcpu: false, balloon: false, block: false, interface: false };
// The total is what is used when the numbers of the processors are not complete.
const CPU: Groups = Groups { cpu: true, vcpu: true, ..NONE };
const VCPU: Groups = Groups { vcpu: true, ..NONE };
const BALLOON: Groups = Groups { balloon: true, ..NONE };
const BLOCK: Groups = Groups { block: true, ..NONE };
const INTERFACE: Groups = Groups { interface: true, ..NONE };

const fn gauge(
    name: &'static str,
    unit: &'static str,
    groups: Groups,
    value: fn(&Reading) -> Option<Volume>,
) -> MeterDef {
    MeterDef { name, kind: MeterType::Gauge, unit, groups, value: Value::Vm(value) }
}

const fn counter(name: &'static str, unit: &'static str, groups: Groups, value: Value) -> MeterDef {
    MeterDef { name, kind: MeterType::Cumulative, unit, groups, value }
}

/// All meters. The order is that of a batch.
#[rustfmt::skip]
pub static CATALOGUE: [MeterDef; 13] = [
    counter("cpu", "ns", CPU, Value::Cpu(cpu_time)),
    gauge("vcpus", "vcpu", VCPU, |reading| reading.vcpu_current.map(Volume::from)),
    gauge("memory.usage", "MiB", BALLOON, memory_usage),
    gauge("memory.resident", "MiB", BALLOON, |reading| reading.memory.rss.map(mib)),
    gauge("power.state", "", NONE, |reading| reading.state.map(|state| Volume::from(u64::from(state.number())))),
    counter("disk.device.read.bytes", "B", BLOCK, Value::Disk(|disk| disk.read_bytes)),
    counter("disk.device.read.requests", "request", BLOCK, Value::Disk(|disk| disk.read_requests)),
    counter("disk.device.write.bytes", "B", BLOCK, Value::Disk(|disk| disk.write_bytes)),
    counter("disk.device.write.requests", "request", BLOCK, Value::Disk(|disk| disk.write_requests)),
    counter("network.incoming.bytes", "B", INTERFACE, Value::Nic(|nic| nic.rx_bytes)),
    counter("network.incoming.packets", "packet", INTERFACE, Value::Nic(|nic| nic.rx_packets)),
    counter("network.outgoing.bytes", "B", INTERFACE, Value::Nic(|nic| nic.tx_bytes)),
    counter("network.outgoing.packets", "packet", INTERFACE, Value::Nic(|nic| nic.tx_packets)),
];

impl MeterDef {
    /// As the model has it.
    pub fn meter(&self) -> Meter {
        Meter::new(self.name, self.kind, self.unit)
    }
}

/// A sample that has no id yet.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Position of the meter in [`CATALOGUE`].
    pub meter: usize,
    /// What was measured.
    pub resource: Arc<Resource>,
    /// The value.
    pub volume: Volume,
}

/// The positions in [`CATALOGUE`] of the meters that a source wants.
pub fn wanted(filter: &MeterFilter) -> Vec<usize> {
    (0..CATALOGUE.len()).filter(|index| filter.matches(CATALOGUE[*index].name)).collect()
}

/// The statistics that these meters are made from.
pub fn groups_for(wanted: &[usize]) -> Groups {
    wanted.iter().fold(NONE, |groups, index| groups.union(CATALOGUE[*index].groups))
}

/// Adds the samples of one reading to `samples`, meter by meter in the order of `wanted`, devices
/// in the order of the domain's XML. How many numbers these meters need and libvirt did not give.
///
/// A domain that is shut off has no samples, and misses none.
pub fn measure(
    reading: &Reading,
    described: &mut Described,
    wanted: &[usize],
    samples: &mut Vec<Measured>,
) -> u64 {
    match reading.state {
        Some(DomainState::ShutOff) => return 0,
        // Without a state that we know, nothing says whether the numbers are the guest's.
        None => return u64::try_from(wanted.len()).unwrap_or(u64::MAX),
        Some(_) => {}
    }
    let domain = Arc::clone(described.domain());
    let mut absent = 0;
    for &meter in wanted {
        let mut take =
            |resource: Option<Arc<Resource>>, volume: Option<Volume>| match resource.zip(volume) {
                Some((resource, volume)) => samples.push(Measured { meter, resource, volume }),
                None => absent += 1,
            };
        match CATALOGUE[meter].value {
            Value::Vm(value) => take(Some(described.vm()), value(reading)),
            Value::Cpu(value) => take(Some(described.cpu(reading.vcpu_current)), value(reading)),
            Value::Disk(value) => {
                let media = domain.disks.iter().enumerate().filter(|(_, disk)| disk.has_source);
                for (position, device) in media {
                    let found = reading.disks.iter().find(|disk| disk.name == device.target);
                    take(described.disk(position), found.and_then(value).map(Volume::from));
                }
            }
            Value::Nic(value) => {
                for (position, device) in domain.nics.iter().enumerate() {
                    let found = reading.nics.iter().find(|nic| nic.name == device.target);
                    take(described.nic(position), found.and_then(value).map(Volume::from));
                }
            }
        }
    }
    absent
}

/// Whether the devices in a reading are others than those of the description, which then is out
/// of date. A reading without any device of a kind says nothing: libvirt leaves out what it
/// cannot ask QEMU for.
pub fn devices_differ(reading: &Reading, domain: &Domain) -> bool {
    let disks = reading.disks.iter().map(|disk| disk.name.as_str());
    let media = domain.disks.iter().filter(|disk| disk.has_source);
    let nics = reading.nics.iter().map(|nic| nic.name.as_str());
    // An empty drive has statistics, but no medium: it is known, and not required.
    differ(disks.clone(), |name| domain.disks.iter().any(|disk| disk.target == name))
        || lacks(disks, media.map(|disk| disk.target.as_str()))
        || differ(nics.clone(), |name| domain.nics.iter().any(|nic| nic.target == name))
        || lacks(nics, domain.nics.iter().map(|nic| nic.target.as_str()))
}

fn differ<'a>(mut read: impl Iterator<Item = &'a str>, known: impl Fn(&str) -> bool) -> bool {
    read.any(|name| !known(name))
}

fn lacks<'a>(
    mut read: impl Iterator<Item = &'a str> + Clone,
    mut described: impl Iterator<Item = &'a str>,
) -> bool {
    let all = read.clone();
    read.next().is_some() && described.any(|name| !all.clone().any(|read| read == name))
}

/// Time of all processors, running and waiting. Holes in their numbering are normal; if the
/// complete ones are not as many as there should be, the total is taken.
fn cpu_time(reading: &Reading) -> Option<Volume> {
    let maximum = reading.vcpu_maximum.unwrap_or(0);
    let complete = reading
        .vcpus
        .iter()
        .filter(|vcpu| vcpu.index < maximum)
        .filter_map(|vcpu| Some(u128::from(vcpu.time?) + u128::from(vcpu.wait?)));
    let (count, sum) = complete.fold((0_u64, 0_u128), |(count, sum), time| (count + 1, sum + time));
    match reading.vcpu_current {
        Some(current) if current != count => reading.cpu_time.map(Volume::from),
        // Upstream gives 0 here: no processor is known, and so no time.
        None if count == 0 => None,
        _ => i128::try_from(sum).ok().map(Volume::Integer),
    }
}

/// What the guest cannot get without swapping; by an older driver, what it does not leave unused.
/// Below 0 if the guest's own numbers do not fit.
fn memory_usage(reading: &Reading) -> Option<Volume> {
    let memory = &reading.memory;
    let free = memory.usable.or(memory.unused)?;
    Some(quotient(i128::from(memory.available?) - i128::from(free)))
}

fn mib(kib: u64) -> Volume {
    quotient(i128::from(kib))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are below 2^53 KiB, and Python's division is of doubles too"
)]
fn quotient(kib: i128) -> Volume {
    Volume::Float(kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::config::MeterFilter;
    use crate::discovery::{Place, ResourceCache};
    use crate::libvirt::{Builder, Value as Stat, describe};
    use crate::model::{DomainState, VcpuReading};

    fn vcpus(times: &[(u64, u64, Option<u64>)]) -> Vec<VcpuReading> {
        let one = |(index, time, wait): &(u64, u64, Option<u64>)| VcpuReading {
            index: *index,
            time: Some(*time),
            wait: *wait,
        };
        times.iter().map(one).collect()
    }

    #[test]
    fn cpu_time_is_reckoned_as_upstream_does() {
        let two = [(0, 10, Some(1)), (1, 20, Some(2))];
        let holes = [(0, 10, Some(1)), (2, 20, Some(2))];
        let no_wait = [(0, 10, None), (1, 20, None)];
        for (current, maximum, times, total, expected) in [
            (Some(2), Some(2), &two[..], Some(99), Some(33)),
            (Some(2), Some(4), &holes[..], Some(99), Some(33)),
            (Some(1), Some(2), &two[..], Some(99), Some(99)),
            (Some(2), Some(2), &no_wait[..], Some(99), Some(99)),
            (None, Some(1), &two[..1], Some(99), Some(11)),
            (None, None, &[][..], Some(77), None),
            (Some(2), Some(2), &no_wait[..], None, None),
        ] {
            let reading = Reading {
                vcpu_current: current,
                vcpu_maximum: maximum,
                vcpus: vcpus(times),
                cpu_time: total,
                ..Reading::default()
            };
            assert_eq!(cpu_time(&reading), expected.map(Volume::Integer), "{reading:?}");
        }
    }

    #[test]
    fn memory_is_in_floats_of_mib() {
        for (available, usable, unused, expected) in [
            (Some(1_000_000), Some(600_000), Some(300_000), Some(390.625)),
            (None, Some(1), None, None),
            (Some(1000), None, Some(0), Some(0.976_562_5)),
            (Some(1000), None, Some(1500), Some(-0.488_281_25)),
            (Some(1000), None, None, None),
        ] {
            let mut reading = Reading::default();
            reading.memory.available = available;
            reading.memory.usable = usable;
            reading.memory.unused = unused;
            assert_eq!(memory_usage(&reading), expected.map(Volume::Float));
        }
        assert_eq!(mib(54_272), Volume::Float(53.0));
    }

    fn filter(entries: &[&str]) -> MeterFilter {
        MeterFilter::new(entries.iter().copied()).unwrap()
    }

    #[test]
    fn asks_only_for_what_is_wanted() {
        assert_eq!(groups_for(&wanted(&filter(&["power.*"]))), NONE);
        assert_eq!(groups_for(&wanted(&filter(&["cpu"]))), CPU);
        let all = groups_for(&wanted(&filter(&["*"])));
        assert_eq!(
            all,
            Groups { cpu: true, vcpu: true, balloon: true, block: true, interface: true }
        );
        let most = groups_for(&wanted(&filter(&["!disk.*", "!memory.*"])));
        assert!(most.vcpu && !most.without_monitor().vcpu);
    }

    fn domain() -> Arc<Domain> {
        let xml = "<domain><name>d</name><uuid>a75c2fa5-6c03-45a8-bbf7-b993cfcdec27</uuid><devices>\
             <disk><source/><target dev='vda'/></disk><disk><target dev='hda'/></disk>\
             <interface><mac address='m'/><target dev='tap0'/></interface></devices></domain>";
        Arc::new(describe(xml).unwrap())
    }

    fn reading(pairs: &[(&str, &str)]) -> Reading {
        let mut builder = Builder::default();
        for (key, value) in pairs {
            builder.add(key, Stat::Text(value)).unwrap();
        }
        builder.finish()
    }

    fn samples(reading: &Reading) -> (Vec<(&'static str, String)>, u64) {
        let mut cache = ResourceCache::new(Place { host: "h".into(), source: "s".into() });
        let state = reading.state.unwrap_or(DomainState::NoState);
        let mut samples = Vec::new();
        let wanted = wanted(&filter(&["*"]));
        let absent = measure(reading, cache.describe(&domain(), state), &wanted, &mut samples);
        let short = |s: &Measured| (CATALOGUE[s.meter].name, s.resource.id[36..].to_owned());
        (samples.iter().map(short).collect(), absent)
    }

    #[test]
    fn what_libvirt_did_not_give_makes_no_sample_and_is_counted() {
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
        assert_eq!(
            made,
            [("power.state", String::new()), ("disk.device.read.bytes", "-vda".to_owned())]
        );
        // cpu, vcpus, two of memory, three of vda, four of tap0.
        assert_eq!(absent, 11);
        let mut off = reading(&pairs);
        off.state = Some(DomainState::ShutOff);
        assert_eq!(samples(&off), (Vec::new(), 0));
        off.state = None;
        assert_eq!(samples(&off), (Vec::new(), 13));
    }

    #[test]
    fn sees_when_devices_changed() {
        let domain = domain();
        let differs = |names: &[(&str, &str)]| devices_differ(&reading(names), &domain);
        let (vda, hda, tap) =
            (("block.0.name", "vda"), ("block.1.name", "hda"), ("net.0.name", "tap0"));
        assert!(!differs(&[vda, hda, tap]));
        assert!(!differs(&[vda, tap]), "a drive without medium may be missing");
        assert!(!differs(&[tap]), "nothing was said about disks");
        assert!(!differs(&[]));
        assert!(differs(&[hda]), "vda was taken out");
        assert!(differs(&[vda, ("block.1.name", "vdb")]));
        assert!(differs(&[("net.0.name", "tap1")]));
    }

    /// All samples of one recorded tick, by meter and resource.
    fn replayed(tick: &str) -> Vec<(String, Measured)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let text = std::fs::read_to_string(folder.join("domstats").join(tick)).unwrap();
        let mut cache =
            ResourceCache::new(Place { host: "compute-1".into(), source: "openstack".into() });
        let mut samples = Vec::new();
        for file in std::fs::read_dir(folder.join("xml")).unwrap() {
            let xml = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let domain = Arc::new(describe(&xml).unwrap());
            let marker = format!("Domain: '{}'\n", domain.name);
            let pairs = text.split_once(&marker).unwrap().1.split("\n\n").next().unwrap();
            let pairs: Vec<_> =
                pairs.lines().map(|line| line.trim().split_once('=').unwrap()).collect();
            let reading = reading(&pairs);
            if domain.nova.is_some() {
                let described = cache.describe(&domain, reading.state.unwrap());
                measure(&reading, described, &wanted(&filter(&["*"])), &mut samples);
            }
        }
        let key = |s: &Measured| format!("{} {}", CATALOGUE[s.meter].name, s.resource.id);
        samples.into_iter().map(|sample| (key(&sample), sample)).collect()
    }

    /// As upstream writes the metadata, but for the flavor's id, for which it asked Nova.
    fn metadata(golden: &Map<String, Json>, ours: &Resource) -> (String, String) {
        let mut golden = golden.clone();
        if ours.metadata["flavor"]["id"] == ours.metadata["flavor"]["name"] {
            golden["flavor"]["id"] = golden["flavor"]["name"].clone();
        }
        (Json::Object(golden).to_string(), Json::Object(ours.metadata.clone()).to_string())
    }

    #[test]
    fn samples_are_those_of_upstream() {
        let before: std::collections::HashMap<_, _> =
            replayed("1795380803.895156065.txt").into_iter().collect();
        let mut after: std::collections::HashMap<_, _> =
            replayed("1795380806.223407718.txt").into_iter().collect();
        let messages: Json =
            serde_json::from_str(include_str!("../../../tests/golden/messages.json")).unwrap();
        let payloads =
            messages.as_array().unwrap().iter().map(|m| &m["oslo.message"]["payload"]["samples"]);
        let golden: Vec<&Json> = payloads.flat_map(|samples| samples.as_array().unwrap()).collect();
        assert_eq!((messages.as_array().unwrap().len(), golden.len()), (13, 49));
        for sample in golden {
            let text = |key: &str| sample[key].as_str().unwrap();
            let key = format!("{} {}", text("counter_name"), text("resource_id"));
            let (first, second) = (&before[&key], after.remove(&key).unwrap());
            let meter = CATALOGUE[second.meter].meter();
            assert_eq!(
                (meter.kind.as_str(), &*meter.unit),
                (text("counter_type"), text("counter_unit"))
            );
            let resource = &second.resource;
            assert_eq!(
                json!([resource.source, resource.user_id, resource.project_id]),
                json!([sample["source"], sample["user_id"], sample["project_id"]])
            );
            let (theirs, ours) =
                metadata(sample["resource_metadata"].as_object().unwrap(), resource);
            assert_eq!(theirs, ours, "{key}");
            let volume = &sample["counter_volume"];
            assert_eq!(volume.is_f64(), !second.volume.is_integer(), "{key}");
            let (low, high) = (first.volume.as_f64(), second.volume.as_f64());
            let (low, high) = (low.min(high), low.max(high));
            assert!(
                (low..=high).contains(&volume.as_f64().unwrap()),
                "{key}: {low} {volume} {high}"
            );
        }
        assert!(after.is_empty(), "more than upstream: {:?}", after.keys());
    }
}
