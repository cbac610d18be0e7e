//! Statistics of a domain as libvirt reports them.

use uuid::Uuid;

use super::{DomainState, Moment, Volume};

bitflags::bitflags! {
    /// Groups of statistics to request, as libvirt's `VIR_DOMAIN_STATS_*`. The state is
    /// always included.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
    pub struct Groups: u16 {
        /// Processor time of the domain as a whole.
        const CPU = 1;
        /// Times and number of the virtual processors.
        const VCPU = 1 << 1;
        /// Memory, from the balloon driver.
        const BALLOON = 1 << 2;
        /// Disks.
        const BLOCK = 1 << 3;
        /// Network interfaces.
        const INTERFACE = 1 << 4;
        /// Performance counters of the processor that are enabled for the domain.
        const PERF = 1 << 5;
        /// I/O threads of QEMU.
        const IOTHREAD = 1 << 6;
        /// Memory bandwidth by host node.
        const MEMORY = 1 << 7;
        /// The rate at which the guest writes to memory, if it is being measured.
        const DIRTY_RATE = 1 << 8;
        /// Counters of the hypervisor itself, such as KVM.
        const VM = 1 << 9;
        /// Not a group of libvirt: sizes of disks, which bulk statistics do not report exactly. Costs
        /// one call per disk.
        const SIZES = 1 << 11;
        /// Not a group of libvirt: every value by its libvirt name, for meters `libvirt.*`.
        const RAW = 1 << 10;
        /// Not a group of libvirt: the progress of migrations. Costs one call for each domain that
        /// migrates, and none for the others.
        const JOB = 1 << 12;
    }
}

impl Groups {
    /// No group: the state only.
    pub const NONE: Self = Self::empty();
    /// All statistics.
    pub const ALL: Self = Self::all().difference(Self::SIZES);

    /// The groups that libvirtd reports without asking QEMU. Processor time is not among them:
    /// libvirt 9.0 was observed to hang on it when QEMU did not answer.
    pub const fn without_monitor(self) -> Self {
        self.intersection(Self::INTERFACE.union(Self::RAW))
    }
}

/// Statistics of one domain at one instant. Values that libvirt did not report are `None` or absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The domain.
    pub uuid: Uuid,
    /// The time right after the call.
    pub taken: Moment,
    /// `state.state`.
    pub state: Option<DomainState>,
    /// `cpu.time`, ns. Must not be used while the domain is shut off: it is then libvirtd's own
    /// time.
    pub cpu_time: Option<u64>,
    /// `vcpu.current`.
    pub vcpu_current: Option<u64>,
    /// `vcpu.maximum`.
    pub vcpu_maximum: Option<u64>,
    /// `vcpu.N.*`, ascending.
    pub vcpus: Vec<VcpuReading>,
    /// `balloon.*`.
    pub memory: MemoryReading,
    /// `perf.*`.
    pub perf: PerfReading,
    /// `block.N.*`, in libvirt's order.
    pub disks: Vec<DiskReading>,
    /// `net.N.*`, in libvirt's order.
    pub nics: Vec<NicReading>,
    /// Every value by its libvirt name, if [`Groups::RAW`] was requested.
    pub raw: Vec<RawNumber>,
}

/// One virtual processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VcpuReading {
    /// The index N of `vcpu.N`.
    pub index: u64,
    /// ns spent running.
    pub time: Option<u64>,
    /// ns spent waiting for I/O.
    pub wait: Option<u64>,
}

/// Memory, all in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryReading {
    /// `balloon.current`: the current size.
    pub actual: Option<u64>,
    /// `balloon.maximum`: the maximum size.
    pub maximum: Option<u64>,
    /// All memory that the guest sees.
    pub available: Option<u64>,
    /// Memory that the guest does not use at all.
    pub unused: Option<u64>,
    /// Memory that the guest could use without swapping.
    pub usable: Option<u64>,
    /// Memory that the QEMU process occupies on the host.
    pub rss: Option<u64>,
    /// Amount that the guest has read from its swap.
    pub swap_in: Option<u64>,
    /// Amount that the guest has written to its swap.
    pub swap_out: Option<u64>,
}

/// Performance counters of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerfReading {
    /// `perf.cmt`: bytes of the last level cache in use.
    pub cmt: Option<u64>,
    /// `perf.mbmt`: memory bandwidth.
    pub mbmt: Option<u64>,
    /// `perf.mbml`: memory bandwidth to the processor's local memory.
    pub mbml: Option<u64>,
    /// `perf.cpu_cycles`.
    pub cpu_cycles: Option<u64>,
    /// `perf.instructions`.
    pub instructions: Option<u64>,
    /// `perf.cache_references`.
    pub cache_references: Option<u64>,
    /// `perf.cache_misses`.
    pub cache_misses: Option<u64>,
}

/// One disk: requests, bytes and times since the domain started, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskReading {
    /// Target name, such as `vda`.
    pub name: String,
    /// Read requests.
    pub read_requests: Option<u64>,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// ns spent reading.
    pub read_time: Option<u64>,
    /// Write requests.
    pub write_requests: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// ns spent writing.
    pub write_time: Option<u64>,
    /// The size that the guest sees, in bytes.
    pub capacity: Option<u64>,
    /// The space allocated on the host, in bytes.
    pub allocation: Option<u64>,
    /// The length of the file or device on the host, in bytes.
    pub physical: Option<u64>,
}

/// One network interface: bytes and packets since it was created. Received means by the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NicReading {
    /// Name of the tap device.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Packets received.
    pub rx_packets: Option<u64>,
    /// Packets received with an error.
    pub rx_errors: Option<u64>,
    /// Received packets that were dropped.
    pub rx_drops: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
    /// Packets sent.
    pub tx_packets: Option<u64>,
    /// Packets sent with an error.
    pub tx_errors: Option<u64>,
    /// Outgoing packets that were dropped.
    pub tx_drops: Option<u64>,
}

/// One value by its libvirt name.
#[derive(Debug, Clone, PartialEq)]
pub struct RawNumber {
    /// Such as `block.0.fl.reqs`.
    pub key: String,
    /// The name of its disk or interface.
    pub device: Option<String>,
    /// The value; 1 for true.
    pub value: Volume,
}

impl Reading {
    /// Whether the domain is shut off. Most values have no meaning then.
    pub fn is_shut_off(&self) -> bool {
        self.state == Some(DomainState::ShutOff)
    }

    /// The disk with this target name.
    pub fn disk(&self, name: &str) -> Option<&DiskReading> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// The interface with this name.
    pub fn nic(&self, name: &str) -> Option<&NicReading> {
        self.nics.iter().find(|nic| nic.name == name)
    }
}
