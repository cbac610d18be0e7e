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
        /// Times of the virtual processors, and how many there are.
        const VCPU = 1 << 1;
        /// Memory, from the balloon driver.
        const BALLOON = 1 << 2;
        /// Disks.
        const BLOCK = 1 << 3;
        /// Network interfaces.
        const INTERFACE = 1 << 4;
        /// Events that the processor counts, as far as the domain has them enabled.
        const PERF = 1 << 5;
        /// Threads of QEMU that do nothing but I/O.
        const IOTHREAD = 1 << 6;
        /// Memory bandwidth by host node.
        const MEMORY = 1 << 7;
        /// How fast the guest writes to memory, if it is being measured.
        const DIRTY_RATE = 1 << 8;
        /// What the hypervisor itself counts, such as KVM.
        const VM = 1 << 9;
        /// Not a group of libvirt: sizes of disks, which bulk statistics do not report exactly. Costs
        /// one call per disk.
        const SIZES = 1 << 11;
        /// Not a group of libvirt: every number by its libvirt name, for meters `libvirt.*`.
        const RAW = 1 << 10;
    }
}

impl Groups {
    /// None but the state.
    pub const NONE: Self = Self::empty();
    /// All statistics.
    pub const ALL: Self = Self::all().difference(Self::SIZES);

    /// The groups that libvirtd reports without QEMU. Processor time is not among them: libvirt
    /// 9.0 was seen to hang over it when QEMU does not answer.
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
    /// `cpu.time`, ns. libvirtd's own when the domain is shut off: not to be used then.
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
    /// Every number as libvirt calls it, if [`Groups::RAW`] was requested.
    pub raw: Vec<RawNumber>,
}

/// One virtual processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VcpuReading {
    /// The N of `vcpu.N`.
    pub index: u64,
    /// ns spent running.
    pub time: Option<u64>,
    /// ns spent waiting for I/O.
    pub wait: Option<u64>,
}

/// Memory, all in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryReading {
    /// `balloon.current`: what the domain has now.
    pub actual: Option<u64>,
    /// `balloon.maximum`: what it may have.
    pub maximum: Option<u64>,
    /// What the guest sees in all.
    pub available: Option<u64>,
    /// What the guest does not use at all.
    pub unused: Option<u64>,
    /// What the guest could use without swapping.
    pub usable: Option<u64>,
    /// What the QEMU process takes on the host.
    pub rss: Option<u64>,
    /// What the guest has read from its swap.
    pub swap_in: Option<u64>,
    /// What the guest has written to its swap.
    pub swap_out: Option<u64>,
}

/// What the processor counts for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerfReading {
    /// `perf.cmt`: bytes of the last level cache that it uses.
    pub cmt: Option<u64>,
    /// `perf.mbmt`: memory bandwidth.
    pub mbmt: Option<u64>,
    /// `perf.mbml`: memory bandwidth to the processor's own memory.
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
    /// Bytes that the guest sees.
    pub capacity: Option<u64>,
    /// Bytes that it takes on the host.
    pub allocation: Option<u64>,
    /// Bytes of the file or device on the host, as far as its end.
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
    /// Packets to be sent that were dropped.
    pub tx_drops: Option<u64>,
}

/// One number by its libvirt name.
#[derive(Debug, Clone, PartialEq)]
pub struct RawNumber {
    /// Such as `block.0.fl.reqs`.
    pub key: String,
    /// The name of the disk or the interface that it is about.
    pub device: Option<String>,
    /// The number; 1 for true.
    pub value: Volume,
}

impl Reading {
    /// Whether the domain is shut off. Most numbers are meaningless then.
    pub fn is_shut_off(&self) -> bool {
        self.state == Some(DomainState::ShutOff)
    }

    /// The disk of this target name.
    pub fn disk(&self, name: &str) -> Option<&DiskReading> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// The interface of this name.
    pub fn nic(&self, name: &str) -> Option<&NicReading> {
        self.nics.iter().find(|nic| nic.name == name)
    }
}
