//! The meter catalogue: per meter its name and unit in each release, the statistics it needs, and
//! where its value is in a reading.

use super::values::{self, ValueInput};
use nephometer_config::MeteringSpec;
use nephometer_model::{
    DiskReading, Domain, Groups, Meter, MeterType, NicReading, Quirks, Reading, Release, Volume,
};

/// The definition of one meter.
#[derive(Debug)]
pub struct MeterDef {
    /// As in `pipeline.yaml`.
    pub name: &'static str,
    /// Cumulative, delta or gauge.
    pub kind: MeterType,
    /// Unit by release, oldest first: empty if it has none, `None` if the release lacks the meter.
    units: [Option<&'static str>; 3],
    /// The statistics it is computed from.
    pub groups: Groups,
    /// The fields of libvirt it is computed from.
    pub fields: &'static str,
    pub(super) value: ValueReader,
    pub(super) when_stopped: WhenStopped,
}

/// The resource of a meter, and how to read its value.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueReader {
    /// The instance.
    Vm(fn(&ValueInput<'_>) -> Option<Volume>),
    /// The instance, with its number of processors.
    Cpu(fn(&ValueInput<'_>) -> Option<Volume>),
    /// Each disk.
    Disk(fn(&DiskReading) -> Option<u64>),
    /// All disks together.
    Disks(fn(&DiskReading) -> Option<u64>),
    /// Each network interface.
    Nic(fn(&NicReading) -> Option<u64>),
    /// Each network interface: growth since the previous reading.
    NicDelta(fn(&NicReading) -> Option<u64>),
}

/// Whether a meter has samples of an instance that is shut off.
#[derive(Debug, Clone, Copy)]
pub(super) enum WhenStopped {
    /// No.
    Never,
    /// If `report_stopped_instance_metrics` is set.
    Reported,
    /// Yes: the value does not depend on running.
    Always,
    /// Only with this quirk of its release.
    Quirk(fn(&Quirks) -> bool),
}

/// The unit in every release.
const fn all(unit: &'static str) -> [Option<&'static str>; 3] {
    [Some(unit); 3]
}

/// Only in Ceilometer 5.
const fn liberty(unit: &'static str) -> [Option<&'static str>; 3] {
    [Some(unit), None, None]
}

const fn zed(unit: &'static str) -> [Option<&'static str>; 3] {
    [None, Some(unit), None]
}

const fn since_zed(unit: &'static str) -> [Option<&'static str>; 3] {
    [None, Some(unit), Some(unit)]
}

const fn current(unit: &'static str) -> [Option<&'static str>; 3] {
    [None, None, Some(unit)]
}

/// The unit was always MiB; Ceilometer 19 called it MB.
const MEGABYTES: [Option<&str>; 3] = [None, Some("MB"), Some("MiB")];

const fn meter(
    name: &'static str,
    kind: MeterType,
    units: [Option<&'static str>; 3],
    (groups, fields): (Groups, &'static str),
    value: ValueReader,
) -> MeterDef {
    MeterDef { name, kind, units, groups, fields, value, when_stopped: WhenStopped::Never }
}

impl MeterDef {
    const fn when_stopped(mut self, when_stopped: WhenStopped) -> Self {
        self.when_stopped = when_stopped;
        self
    }

    /// The unit in a release; `None` if the release lacks the meter.
    pub fn unit(&self, release: Release) -> Option<&'static str> {
        self.units[release as usize]
    }

    /// Whether a release has the meter.
    pub fn exists_in(&self, release: Release) -> bool {
        self.unit(release).is_some()
    }

    /// Whether an instance that is shut off has samples of it.
    pub fn is_measured_when_stopped(&self, spec: &MeteringSpec) -> bool {
        match self.when_stopped {
            WhenStopped::Never => false,
            WhenStopped::Reported => spec.report_stopped_instance_metrics,
            WhenStopped::Always => true,
            WhenStopped::Quirk(has) => has(&spec.quirks),
        }
    }

    /// The meter as samples carry it, in a release that has it.
    pub fn meter(&self, release: Release, quirks: Quirks) -> Meter {
        let renamed = release == Release::Zed && quirks.outgoing_packets_delta;
        let name = match self.name {
            "network.outgoing.bytes.delta" if renamed => "network.outgoing.packets.delta",
            name => name,
        };
        Meter::new(name, self.kind, self.unit(release).unwrap_or_default())
    }
}

use MeterType::{Cumulative, Delta, Gauge};
use ValueReader::{Cpu, Disk, Disks, Nic, NicDelta, Vm};
use WhenStopped::{Always, Quirk, Reported};

const NONE: Groups = Groups::NONE;
const VCPU: Groups = Groups::VCPU;
// The total replaces the times of the processors if these are incomplete.
const TIMES: Groups = Groups::CPU.union(Groups::VCPU);
const BALLOON: Groups = Groups::BALLOON;
const BLOCK: Groups = Groups::BLOCK;
const SIZES: Groups = Groups::BLOCK.union(Groups::SIZES);
const NET: Groups = Groups::INTERFACE;
const PERF: Groups = Groups::PERF;

/// All meters of all releases, in the order of a batch.
#[rustfmt::skip]
pub static CATALOGUE: &[MeterDef] = &[
    meter("instance", Gauge, liberty("instance"), (NONE, "always 1"), Vm(|_| Some(Volume::Integer(1)))).when_stopped(Always),
    meter("cpu", Cumulative, liberty("ns"), (TIMES, "cpu.time"), Cpu(values::cpu_total)).when_stopped(Quirk(|quirks| quirks.stopped_cpu)),
    meter("cpu", Cumulative, since_zed("ns"), (TIMES, "vcpu.N.time + vcpu.N.wait, or cpu.time"), Cpu(values::cpu_time)),
    meter("vcpus", Gauge, current("vcpu"), (VCPU, "vcpu.current"), Vm(|input| input.reading.vcpu_current.map(Volume::from))).when_stopped(Reported),
    meter("cpu_l3_cache", Gauge, zed("B"), (PERF, "perf.cmt"), Vm(|input| input.reading.perf.cmt.map(Volume::from))),
    meter("memory", Gauge, current("MiB"), (BALLOON, "balloon.current"), Vm(values::memory)).when_stopped(Reported),
    meter("memory.available", Gauge, current("MiB"), (BALLOON, "balloon.available"), Vm(|input| input.reading.memory.available.map(values::mib))),
    meter("memory.usage", Gauge, liberty("MB"), (BALLOON, "balloon.available - balloon.unused"), Vm(values::memory_usage_whole)),
    meter("memory.usage", Gauge, MEGABYTES, (BALLOON, "balloon.available - balloon.usable, or - balloon.unused"), Vm(values::memory_usage)),
    meter("memory.resident", Gauge, liberty("MB"), (BALLOON, "balloon.rss"), Vm(|input| input.reading.memory.rss.map(|kib| Volume::from(kib / 1024)))),
    meter("memory.resident", Gauge, MEGABYTES, (BALLOON, "balloon.rss"), Vm(|input| input.reading.memory.rss.map(values::mib))),
    meter("memory.swap.in", Cumulative, MEGABYTES, (BALLOON, "balloon.swap_in"), Vm(|input| values::swap(input.reading, |memory| memory.swap_in))),
    meter("memory.swap.out", Cumulative, MEGABYTES, (BALLOON, "balloon.swap_out"), Vm(|input| values::swap(input.reading, |memory| memory.swap_out))),
    meter("memory.bandwidth.total", Gauge, zed("B/s"), (PERF, "perf.mbmt"), Vm(|input| input.reading.perf.mbmt.map(Volume::from))),
    meter("memory.bandwidth.local", Gauge, zed("B/s"), (PERF, "perf.mbml"), Vm(|input| input.reading.perf.mbml.map(Volume::from))),
    meter("perf.cpu.cycles", Gauge, since_zed(""), (PERF, "perf.cpu_cycles"), Vm(|input| input.reading.perf.cpu_cycles.map(Volume::from))),
    meter("perf.instructions", Gauge, since_zed(""), (PERF, "perf.instructions"), Vm(|input| input.reading.perf.instructions.map(Volume::from))),
    meter("perf.cache.references", Gauge, since_zed(""), (PERF, "perf.cache_references"), Vm(|input| input.reading.perf.cache_references.map(Volume::from))),
    meter("perf.cache.misses", Gauge, since_zed(""), (PERF, "perf.cache_misses"), Vm(|input| input.reading.perf.cache_misses.map(Volume::from))),
    meter("power.state", Gauge, current(""), (NONE, "state.state"), Vm(|input| input.reading.state.map(|state| Volume::from(u64::from(state.number()))))).when_stopped(Reported),
    meter("disk.device.read.bytes", Cumulative, all("B"), (BLOCK, "block.N.rd.bytes"), Disk(|disk| disk.read_bytes)),
    meter("disk.device.read.requests", Cumulative, all("request"), (BLOCK, "block.N.rd.reqs"), Disk(|disk| disk.read_requests)),
    meter("disk.device.read.latency", Cumulative, since_zed("ns"), (BLOCK, "block.N.rd.times"), Disk(|disk| disk.read_time)),
    meter("disk.device.write.bytes", Cumulative, all("B"), (BLOCK, "block.N.wr.bytes"), Disk(|disk| disk.write_bytes)),
    meter("disk.device.write.requests", Cumulative, all("request"), (BLOCK, "block.N.wr.reqs"), Disk(|disk| disk.write_requests)),
    meter("disk.device.write.latency", Cumulative, since_zed("ns"), (BLOCK, "block.N.wr.times"), Disk(|disk| disk.write_time)),
    meter("disk.device.capacity", Gauge, liberty("B"), (SIZES, "virDomainGetBlockInfo: capacity"), Disk(|disk| disk.capacity)),
    meter("disk.device.capacity", Gauge, since_zed("B"), (SIZES, "virDomainGetBlockInfo: capacity, or physical if that is more"), Disk(values::capacity)).when_stopped(Reported),
    meter("disk.device.allocation", Gauge, all("B"), (SIZES, "virDomainGetBlockInfo: allocation"), Disk(|disk| disk.allocation)).when_stopped(Reported),
    meter("disk.device.usage", Gauge, all("B"), (SIZES, "virDomainGetBlockInfo: physical"), Disk(|disk| disk.physical)).when_stopped(Reported),
    meter("disk.read.bytes", Cumulative, liberty("B"), (BLOCK, "sum of block.N.rd.bytes"), Disks(|disk| disk.read_bytes)),
    meter("disk.read.requests", Cumulative, liberty("request"), (BLOCK, "sum of block.N.rd.reqs"), Disks(|disk| disk.read_requests)),
    meter("disk.write.bytes", Cumulative, liberty("B"), (BLOCK, "sum of block.N.wr.bytes"), Disks(|disk| disk.write_bytes)),
    meter("disk.write.requests", Cumulative, liberty("request"), (BLOCK, "sum of block.N.wr.reqs"), Disks(|disk| disk.write_requests)),
    meter("disk.capacity", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: capacity"), Disks(|disk| disk.capacity)),
    meter("disk.allocation", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: allocation"), Disks(|disk| disk.allocation)),
    meter("disk.usage", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: physical"), Disks(|disk| disk.physical)),
    meter("disk.root.size", Gauge, current("GiB"), (NONE, "flavor: disk - ephemeral"), Vm(|input| values::flavor(input, |flavor| flavor.disk.saturating_sub(flavor.ephemeral)))).when_stopped(Always),
    meter("disk.ephemeral.size", Gauge, current("GiB"), (NONE, "flavor: ephemeral"), Vm(|input| values::flavor(input, |flavor| flavor.ephemeral))).when_stopped(Always),
    meter("network.incoming.bytes", Cumulative, all("B"), (NET, "net.N.rx.bytes"), Nic(|nic| nic.rx_bytes)),
    meter("network.incoming.bytes.delta", Delta, since_zed("B"), (NET, "growth of net.N.rx.bytes"), NicDelta(|nic| nic.rx_bytes)),
    meter("network.incoming.packets", Cumulative, all("packet"), (NET, "net.N.rx.pkts"), Nic(|nic| nic.rx_packets)),
    meter("network.incoming.packets.error", Cumulative, since_zed("packet"), (NET, "net.N.rx.errs"), Nic(|nic| nic.rx_errors)),
    meter("network.incoming.packets.drop", Cumulative, since_zed("packet"), (NET, "net.N.rx.drop"), Nic(|nic| nic.rx_drops)),
    meter("network.outgoing.bytes", Cumulative, all("B"), (NET, "net.N.tx.bytes"), Nic(|nic| nic.tx_bytes)),
    meter("network.outgoing.bytes.delta", Delta, since_zed("B"), (NET, "growth of net.N.tx.bytes"), NicDelta(|nic| nic.tx_bytes)),
    meter("network.outgoing.packets", Cumulative, all("packet"), (NET, "net.N.tx.pkts"), Nic(|nic| nic.tx_packets)),
    meter("network.outgoing.packets.error", Cumulative, since_zed("packet"), (NET, "net.N.tx.errs"), Nic(|nic| nic.tx_errors)),
    meter("network.outgoing.packets.drop", Cumulative, since_zed("packet"), (NET, "net.N.tx.drop"), Nic(|nic| nic.tx_drops)),
];

/// Whether a meter has a value in a reading. For `nephometer meters`, which lists what a host has.
pub fn has_value(def: &MeterDef, domain: &Domain, reading: &Reading) -> bool {
    let input = ValueInput { reading, domain: Some(domain), quirks: Quirks::default() };
    match def.value {
        Vm(value) | Cpu(value) => value(&input).is_some(),
        Disk(value) | Disks(value) => input.reading.disks.iter().any(|disk| value(disk).is_some()),
        Nic(value) | NicDelta(value) => input.reading.nics.iter().any(|nic| value(nic).is_some()),
    }
}
