use uuid::Uuid;

use super::{DomainState, Moment};

/// Which groups of statistics are wanted. The state always comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Groups {
    /// Processor time of the domain as a whole.
    pub cpu: bool,
    /// Times of the virtual processors, and how many there are.
    pub vcpu: bool,
    /// Memory, from the balloon driver.
    pub balloon: bool,
    /// Disks.
    pub block: bool,
    /// Network interfaces.
    pub interface: bool,
}

impl Groups {
    /// Those that this or the other wants.
    pub fn union(self, other: Self) -> Self {
        Self {
            cpu: self.cpu || other.cpu,
            vcpu: self.vcpu || other.vcpu,
            balloon: self.balloon || other.balloon,
            block: self.block || other.block,
            interface: self.interface || other.interface,
        }
    }

    /// Those that libvirtd answers without asking QEMU. Processor time is not among them: libvirt
    /// 9.0 was seen to hang over it when QEMU does not answer.
    pub fn without_monitor(self) -> Self {
        Self { interface: self.interface, ..Self::default() }
    }
}

/// Raw numbers of one domain at one instant. What libvirt did not give is `None` or absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The domain.
    pub uuid: Uuid,
    /// Right after the call that gave the numbers.
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
    /// `block.N.*`, in libvirt's order.
    pub disks: Vec<DiskReading>,
    /// `net.N.*`, in libvirt's order.
    pub nics: Vec<NicReading>,
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
    /// What the guest sees in all.
    pub available: Option<u64>,
    /// What the guest does not use at all.
    pub unused: Option<u64>,
    /// What the guest could use without swapping.
    pub usable: Option<u64>,
    /// What the QEMU process takes on the host.
    pub rss: Option<u64>,
}

/// One disk: requests and bytes since the domain started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskReading {
    /// Target name, such as `vda`.
    pub name: String,
    /// Read requests.
    pub read_requests: Option<u64>,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Write requests.
    pub write_requests: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
}

/// One network interface: bytes and packets since it was made. Received means by the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NicReading {
    /// Name of the tap device.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Packets received.
    pub rx_packets: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
    /// Packets sent.
    pub tx_packets: Option<u64>,
}
