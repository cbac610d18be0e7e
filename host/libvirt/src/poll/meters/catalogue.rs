//! One line per meter: what it is called in which release, which statistics it needs, and where
//! its value is in a reading.

use super::values::{self, Of};
use nephometer_model::{
    DiskReading, Domain, Groups, Meter, MeterType, NicReading, Quirks, Reading, Release, Volume,
};

/// One line of the catalogue.
#[derive(Debug)]
pub struct MeterDef {
    /// As in `pipeline.yaml`.
    pub name: &'static str,
    /// What the numbers mean over time.
    pub kind: MeterType,
    /// By release, from the oldest on: empty for numbers without a unit, `None` where that release
    /// has no such meter.
    units: [Option<&'static str>; 3],
    /// The statistics that it is made from.
    pub groups: Groups,
    /// The fields of libvirt that it is made from.
    pub fields: &'static str,
    /// What one sample is about, and where its value is.
    pub(super) value: Reads,
    /// Of an instance that is shut off.
    pub(super) stopped: Stopped,
}

/// What one sample of a meter is about, and where its value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    /// The instance.
    Vm(fn(&Of<'_>) -> Option<Volume>),
    /// The instance, with the number of its processors.
    Cpu(fn(&Of<'_>) -> Option<Volume>),
    /// Each disk.
    Disk(fn(&DiskReading) -> Option<u64>),
    /// All disks together.
    Disks(fn(&DiskReading) -> Option<u64>),
    /// Each network interface.
    Nic(fn(&NicReading) -> Option<u64>),
    /// Each network interface: what was added since the reading before.
    NicGrowth(fn(&NicReading) -> Option<u64>),
}

/// Whether an instance that is shut off has a meter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stopped {
    /// No.
    Never,
    /// Where `report_stopped_instance_metrics` says so.
    Reported,
    /// Yes: it does not depend on running.
    Always,
    /// Only as a bug of its release.
    Quirk(fn(&Quirks) -> bool),
}

/// In every release, with this unit.
const fn all(unit: &'static str) -> [Option<&'static str>; 3] {
    [Some(unit); 3]
}

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

/// What was called MB is MiB, and was renamed.
const MEGABYTES: [Option<&str>; 3] = [None, Some("MB"), Some("MiB")];

const fn line(
    name: &'static str,
    kind: MeterType,
    units: [Option<&'static str>; 3],
    (groups, fields): (Groups, &'static str),
    value: Reads,
) -> MeterDef {
    MeterDef { name, kind, units, groups, fields, value, stopped: Stopped::Never }
}

impl MeterDef {
    const fn stopped(mut self, stopped: Stopped) -> Self {
        self.stopped = stopped;
        self
    }

    /// Its unit in a release; `None` where that has no such meter.
    pub fn unit(&self, release: Release) -> Option<&'static str> {
        self.units[release as usize]
    }

    /// Whether a release has it.
    pub fn is_in(&self, release: Release) -> bool {
        self.unit(release).is_some()
    }

    /// As the model has it, in a release that has it.
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
use Reads::{Cpu, Disk, Disks, Nic, NicGrowth, Vm};
use Stopped::{Always, Quirk, Reported};

const NONE: Groups = Groups::NONE;
const VCPU: Groups = Groups::VCPU;
// The total is what is used when the numbers of the processors are not complete.
const TIMES: Groups = Groups::CPU.union(Groups::VCPU);
const BALLOON: Groups = Groups::BALLOON;
const BLOCK: Groups = Groups::BLOCK;
const SIZES: Groups = Groups::BLOCK.union(Groups::SIZES);
const NET: Groups = Groups::INTERFACE;
const PERF: Groups = Groups::PERF;

/// All meters of all releases. The order is that of a batch.
#[rustfmt::skip]
pub static CATALOGUE: &[MeterDef] = &[
    line("instance", Gauge, liberty("instance"), (NONE, "that it is there"), Vm(|_| Some(Volume::Integer(1)))).stopped(Always),
    line("cpu", Cumulative, liberty("ns"), (TIMES, "cpu.time"), Cpu(values::cpu_total)).stopped(Quirk(|quirks| quirks.stopped_cpu)),
    line("cpu", Cumulative, since_zed("ns"), (TIMES, "vcpu.N.time + vcpu.N.wait, or cpu.time"), Cpu(values::cpu_time)),
    line("vcpus", Gauge, current("vcpu"), (VCPU, "vcpu.current"), Vm(|of| of.reading.vcpu_current.map(Volume::from))).stopped(Reported),
    line("cpu_l3_cache", Gauge, zed("B"), (PERF, "perf.cmt"), Vm(|of| of.reading.perf.cmt.map(Volume::from))),
    line("memory", Gauge, current("MiB"), (BALLOON, "balloon.current"), Vm(values::memory)).stopped(Reported),
    line("memory.available", Gauge, current("MiB"), (BALLOON, "balloon.available"), Vm(|of| of.reading.memory.available.map(values::mib))),
    line("memory.usage", Gauge, liberty("MB"), (BALLOON, "balloon.available - balloon.unused"), Vm(values::memory_usage_whole)),
    line("memory.usage", Gauge, MEGABYTES, (BALLOON, "balloon.available - balloon.usable, or - balloon.unused"), Vm(values::memory_usage)),
    line("memory.resident", Gauge, liberty("MB"), (BALLOON, "balloon.rss"), Vm(|of| of.reading.memory.rss.map(|kib| Volume::from(kib / 1024)))),
    line("memory.resident", Gauge, MEGABYTES, (BALLOON, "balloon.rss"), Vm(|of| of.reading.memory.rss.map(values::mib))),
    line("memory.swap.in", Cumulative, MEGABYTES, (BALLOON, "balloon.swap_in"), Vm(|of| values::swap(of.reading, |memory| memory.swap_in))),
    line("memory.swap.out", Cumulative, MEGABYTES, (BALLOON, "balloon.swap_out"), Vm(|of| values::swap(of.reading, |memory| memory.swap_out))),
    line("memory.bandwidth.total", Gauge, zed("B/s"), (PERF, "perf.mbmt"), Vm(|of| of.reading.perf.mbmt.map(Volume::from))),
    line("memory.bandwidth.local", Gauge, zed("B/s"), (PERF, "perf.mbml"), Vm(|of| of.reading.perf.mbml.map(Volume::from))),
    line("perf.cpu.cycles", Gauge, since_zed(""), (PERF, "perf.cpu_cycles"), Vm(|of| of.reading.perf.cpu_cycles.map(Volume::from))),
    line("perf.instructions", Gauge, since_zed(""), (PERF, "perf.instructions"), Vm(|of| of.reading.perf.instructions.map(Volume::from))),
    line("perf.cache.references", Gauge, since_zed(""), (PERF, "perf.cache_references"), Vm(|of| of.reading.perf.cache_references.map(Volume::from))),
    line("perf.cache.misses", Gauge, since_zed(""), (PERF, "perf.cache_misses"), Vm(|of| of.reading.perf.cache_misses.map(Volume::from))),
    line("power.state", Gauge, current(""), (NONE, "state.state"), Vm(|of| of.reading.state.map(|state| Volume::from(u64::from(state.number()))))).stopped(Reported),
    line("disk.device.read.bytes", Cumulative, all("B"), (BLOCK, "block.N.rd.bytes"), Disk(|disk| disk.read_bytes)),
    line("disk.device.read.requests", Cumulative, all("request"), (BLOCK, "block.N.rd.reqs"), Disk(|disk| disk.read_requests)),
    line("disk.device.read.latency", Cumulative, since_zed("ns"), (BLOCK, "block.N.rd.times"), Disk(|disk| disk.read_time)),
    line("disk.device.write.bytes", Cumulative, all("B"), (BLOCK, "block.N.wr.bytes"), Disk(|disk| disk.write_bytes)),
    line("disk.device.write.requests", Cumulative, all("request"), (BLOCK, "block.N.wr.reqs"), Disk(|disk| disk.write_requests)),
    line("disk.device.write.latency", Cumulative, since_zed("ns"), (BLOCK, "block.N.wr.times"), Disk(|disk| disk.write_time)),
    line("disk.device.capacity", Gauge, liberty("B"), (SIZES, "virDomainGetBlockInfo: capacity"), Disk(|disk| disk.capacity)),
    line("disk.device.capacity", Gauge, since_zed("B"), (SIZES, "virDomainGetBlockInfo: capacity, or physical if that is more"), Disk(values::capacity)).stopped(Reported),
    line("disk.device.allocation", Gauge, all("B"), (SIZES, "virDomainGetBlockInfo: allocation"), Disk(|disk| disk.allocation)).stopped(Reported),
    line("disk.device.usage", Gauge, all("B"), (SIZES, "virDomainGetBlockInfo: physical"), Disk(|disk| disk.physical)).stopped(Reported),
    line("disk.read.bytes", Cumulative, liberty("B"), (BLOCK, "sum of block.N.rd.bytes"), Disks(|disk| disk.read_bytes)),
    line("disk.read.requests", Cumulative, liberty("request"), (BLOCK, "sum of block.N.rd.reqs"), Disks(|disk| disk.read_requests)),
    line("disk.write.bytes", Cumulative, liberty("B"), (BLOCK, "sum of block.N.wr.bytes"), Disks(|disk| disk.write_bytes)),
    line("disk.write.requests", Cumulative, liberty("request"), (BLOCK, "sum of block.N.wr.reqs"), Disks(|disk| disk.write_requests)),
    line("disk.capacity", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: capacity"), Disks(|disk| disk.capacity)),
    line("disk.allocation", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: allocation"), Disks(|disk| disk.allocation)),
    line("disk.usage", Gauge, liberty("B"), (SIZES, "sum of virDomainGetBlockInfo: physical"), Disks(|disk| disk.physical)),
    line("disk.root.size", Gauge, current("GiB"), (NONE, "flavor: disk - ephemeral"), Vm(|of| values::flavor(of, |flavor| flavor.disk.saturating_sub(flavor.ephemeral)))).stopped(Always),
    line("disk.ephemeral.size", Gauge, current("GiB"), (NONE, "flavor: ephemeral"), Vm(|of| values::flavor(of, |flavor| flavor.ephemeral))).stopped(Always),
    line("network.incoming.bytes", Cumulative, all("B"), (NET, "net.N.rx.bytes"), Nic(|nic| nic.rx_bytes)),
    line("network.incoming.bytes.delta", Delta, since_zed("B"), (NET, "growth of net.N.rx.bytes"), NicGrowth(|nic| nic.rx_bytes)),
    line("network.incoming.packets", Cumulative, all("packet"), (NET, "net.N.rx.pkts"), Nic(|nic| nic.rx_packets)),
    line("network.incoming.packets.error", Cumulative, since_zed("packet"), (NET, "net.N.rx.errs"), Nic(|nic| nic.rx_errors)),
    line("network.incoming.packets.drop", Cumulative, since_zed("packet"), (NET, "net.N.rx.drop"), Nic(|nic| nic.rx_drops)),
    line("network.outgoing.bytes", Cumulative, all("B"), (NET, "net.N.tx.bytes"), Nic(|nic| nic.tx_bytes)),
    line("network.outgoing.bytes.delta", Delta, since_zed("B"), (NET, "growth of net.N.tx.bytes"), NicGrowth(|nic| nic.tx_bytes)),
    line("network.outgoing.packets", Cumulative, all("packet"), (NET, "net.N.tx.pkts"), Nic(|nic| nic.tx_packets)),
    line("network.outgoing.packets.error", Cumulative, since_zed("packet"), (NET, "net.N.tx.errs"), Nic(|nic| nic.tx_errors)),
    line("network.outgoing.packets.drop", Cumulative, since_zed("packet"), (NET, "net.N.tx.drop"), Nic(|nic| nic.tx_drops)),
];

/// Whether a line has a value in a reading, for people who ask what a host gives.
pub fn is_given(line: &MeterDef, domain: &Domain, reading: &Reading) -> bool {
    let of = Of { reading, domain: Some(domain), quirks: Quirks::default() };
    match line.value {
        Vm(value) | Cpu(value) => value(&of).is_some(),
        Disk(value) | Disks(value) => of.reading.disks.iter().any(|disk| value(disk).is_some()),
        Nic(value) | NicGrowth(value) => of.reading.nics.iter().any(|nic| value(nic).is_some()),
    }
}
