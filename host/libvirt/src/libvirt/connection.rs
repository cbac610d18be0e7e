//! One connection to libvirt. Every method blocks, without a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Once;

use thiserror::Error;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt::error::{Error, ErrorNumber};

use super::stats::{ReadingBuilder, StatValue};
use super::sys;
use nephometer_model::{
    DiskReading, Domain, DomainState, Groups, MemoryReading, Moment, NicReading, RawNumber, Reading,
};

/// Handles that a connection keeps at most. Past it all are dropped, and with them those of domains that
/// were removed.
const MAX_HANDLES: usize = 10_000;

/// An error of libvirt.
#[derive(Debug, Clone, Error)]
pub(crate) enum VirtError {
    /// The domain does not exist.
    #[error("the domain does not exist any more")]
    NoDomain,
    /// The domain is in a state that does not allow the call.
    #[error("{0}")]
    NotRunning(String),
    /// The driver does not support the call.
    #[error("{0}")]
    NoSupport(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<Error> for VirtError {
    fn from(error: Error) -> Self {
        let message = error.message().to_owned();
        match error.code() {
            ErrorNumber::NoDomain => Self::NoDomain,
            ErrorNumber::OperationInvalid => Self::NotRunning(message),
            ErrorNumber::NoSupport => Self::NoSupport(message),
            _ => Self::Other(message),
        }
    }
}

/// Whether a domain's monitor is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MonitorState {
    /// Free, or in a long job such as a migration, which does not hold the monitor.
    Free,
    /// A call waits for QEMU's answer, or the monitor is broken.
    Occupied {
        /// For how long; 0 if unknown.
        for_ms: u64,
    },
}

/// What libvirt reports about one domain, as `virsh` prints it.
#[derive(Debug)]
pub(crate) struct RawDomain {
    /// The domain's XML.
    pub(crate) xml: String,
    /// Keys and values of all groups of statistics.
    pub(crate) statistics: Vec<(String, String)>,
    /// Capacity, allocation and physical size of each disk in bytes, by target.
    pub(crate) sizes: Vec<(String, [Option<u64>; 3])>,
}

/// A read-only connection; closed when dropped, which takes a round trip.
pub(crate) struct Connection {
    connect: Connect,
    bulk: bool,
    /// Of domains that were listed or looked up. libvirt finds a domain by the uuid in the handle, with
    /// each call, so that a handle stays right when the domain is stopped, started, renamed or defined
    /// again; a look-up before each call would be a round trip more.
    handles: HashMap<Uuid, Handle>,
}

impl Connection {
    /// Opens a connection to any libvirt URI.
    pub(crate) fn open(uri: &str) -> Result<Self, VirtError> {
        static QUIET: Once = Once::new();
        // The default handler writes every error to standard error, which belongs to the log.
        QUIET.call_once(virt::error::clear_error_callback);
        if uri.contains('\0') {
            return Err(VirtError::Other("the URI contains a NUL byte".to_owned()));
        }
        let connect = Connect::open_read_only(Some(uri))?;
        let mut connection = Self { connect, bulk: true, handles: HashMap::new() };
        // The test driver has the bulk call, but returns only the state.
        connection.bulk = connection.connect.get_type()? != "TEST";
        Ok(connection)
    }

    /// The raw connection, for calls that `virt` lacks.
    pub(super) fn as_ptr(&self) -> virt_sys::virConnectPtr {
        self.connect.as_ptr()
    }

    /// Whether the connection is open, as far as known without a round trip.
    pub(crate) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }

    /// Uuid and name of all domains, running or not.
    pub(crate) fn list(&mut self) -> Result<Vec<(Uuid, String)>, VirtError> {
        self.handles.clear();
        let mut listed = Vec::new();
        for handle in self.connect.list_all_domains(0)? {
            let uuid = handle.get_uuid()?;
            listed.push((uuid, handle.get_name()?));
            self.handles.insert(uuid, handle);
        }
        Ok(listed)
    }

    /// The XML of one domain.
    pub(crate) fn xml(&mut self, uuid: Uuid) -> Result<String, VirtError> {
        self.bound_handles();
        Ok(self.handle(uuid)?.get_xml_desc(0)?)
    }

    /// Everything that libvirt reports about one domain, as text.
    pub(crate) fn raw(&mut self, uuid: Uuid) -> Result<RawDomain, VirtError> {
        let handle = self.handle(uuid)?;
        let xml = handle.get_xml_desc(0)?;
        let flags = virt_sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        let records = sys::Records::of(&[handle], 0, flags)?;
        let mut statistics = Vec::new();
        for record in records.iter() {
            let text = |(key, value): (&str, StatValue<'_>)| (key.to_owned(), value.to_string());
            statistics.extend(record.pairs().map(text));
        }
        let is_disk = |key: &str| key.starts_with("block.") && key.ends_with(".name");
        let targets = statistics.iter().filter(|(key, _)| is_disk(key));
        let size = |(_, target): &(String, String)| {
            let info = handle.get_block_info(target, 0).ok();
            let size = info.map(|info| [info.capacity, info.allocation, info.physical].map(Some));
            (target.clone(), size.unwrap_or_default())
        };
        let sizes = targets.map(size).collect();
        Ok(RawDomain { xml, statistics, sizes })
    }

    /// The state of a domain's monitor as libvirtd knows it, without a request to QEMU.
    pub(crate) fn monitor_state(&mut self, uuid: Uuid) -> Result<MonitorState, VirtError> {
        let info = sys::control_info(self.handle(uuid)?)?;
        Ok(match info.state {
            virt_sys::VIR_DOMAIN_CONTROL_OK | virt_sys::VIR_DOMAIN_CONTROL_JOB => {
                MonitorState::Free
            }
            _ => MonitorState::Occupied { for_ms: info.for_ms },
        })
    }

    /// The progress of a domain's job, such as a migration, as `job.*`; empty without a job. Waits for
    /// the domain's monitor.
    pub(crate) fn job(&mut self, uuid: Uuid) -> Result<Vec<RawNumber>, VirtError> {
        let job = sys::JobStatistics::of(self.handle(uuid)?)?;
        let mut builder = ReadingBuilder::new(true);
        for (key, value) in job.pairs().filter(|_| job.is_active()) {
            let added = builder.add(&format!("job.{key}"), value);
            added.map_err(|error| VirtError::Other(error.to_string()))?;
        }
        Ok(builder.finish().raw)
    }

    /// Reads a slice of domains, in their order: with one call if the driver supports that. `now`
    /// is called right after the call that returned the numbers.
    ///
    /// # Errors
    /// The outer error concerns all domains, an inner one its domain.
    pub(crate) fn read(
        &mut self,
        domains: &[impl AsRef<Domain>],
        groups: Groups,
        now: &dyn Fn() -> Moment,
    ) -> Result<Vec<Result<Reading, VirtError>>, VirtError> {
        self.bound_handles();
        if self.bulk {
            match self.read_bulk(domains, groups, now) {
                Err(VirtError::NoSupport(_)) => self.bulk = false,
                answer => return answer,
            }
        }
        Ok(domains.iter().map(|domain| self.read_one(domain.as_ref(), groups, now)).collect())
    }

    fn read_bulk(
        &mut self,
        domains: &[impl AsRef<Domain>],
        groups: Groups,
        now: &dyn Fn() -> Moment,
    ) -> Result<Vec<Result<Reading, VirtError>>, VirtError> {
        for domain in domains {
            match self.handle(domain.as_ref().uuid) {
                Ok(_) | Err(VirtError::NoDomain) => {}
                Err(error) => return Err(error),
            }
        }
        let handles = domains.iter().filter_map(|domain| self.handles.get(&domain.as_ref().uuid));
        let handles: Vec<&Handle> = handles.collect();
        let flags = virt_sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        let records = sys::Records::of(&handles, mask(groups), flags)?;
        let taken = now();
        let mut readings = HashMap::with_capacity(domains.len());
        for record in records.iter() {
            let uuid = record.uuid()?;
            readings.insert(uuid, build_reading(&record, uuid, taken, groups));
        }
        if groups.contains(Groups::SIZES) {
            for handle in handles {
                if let Some(Ok(reading)) = readings.get_mut(&handle.get_uuid()?) {
                    add_sizes(handle, reading);
                }
            }
        }
        // A domain that was removed since it was listed has no record.
        let answer =
            |domain: &Domain| readings.remove(&domain.uuid).unwrap_or(Err(VirtError::NoDomain));
        Ok(domains.iter().map(AsRef::as_ref).map(answer).collect())
    }

    /// Reads one domain with individual calls, for drivers without bulk statistics. Values that the
    /// driver lacks are absent.
    fn read_one(
        &mut self,
        domain: &Domain,
        groups: Groups,
        now: &dyn Fn() -> Moment,
    ) -> Result<Reading, VirtError> {
        let handle = self.handle(domain.uuid)?;
        let info = handle.get_info()?;
        let mut reading = Reading {
            uuid: domain.uuid,
            state: DomainState::from_number(i64::from(info.state)),
            cpu_time: Some(info.cpu_time),
            vcpu_current: Some(u64::from(info.nr_virt_cpu)),
            ..Reading::default()
        };
        if groups.contains(Groups::BALLOON) {
            reading.memory = memory(handle);
            reading.memory.maximum = Some(info.max_mem);
        }
        if groups.contains(Groups::BLOCK) {
            let disks = domain.disks.iter().filter(|disk| disk.has_source);
            reading.disks = disks.filter_map(|disk| block(handle, &disk.target)).collect();
        }
        if groups.contains(Groups::SIZES) {
            add_sizes(handle, &mut reading);
        }
        if groups.contains(Groups::INTERFACE) {
            reading.nics =
                domain.nics.iter().filter_map(|nic| interface(handle, &nic.target)).collect();
        }
        reading.taken = now();
        Ok(reading)
    }

    /// Called between two calls, so that none misses a handle that it has looked up.
    fn bound_handles(&mut self) {
        if self.handles.len() > MAX_HANDLES {
            self.handles.clear();
        }
    }

    /// A domain of this connection, looked up the first time.
    fn handle(&mut self, uuid: Uuid) -> Result<&Handle, VirtError> {
        Ok(match self.handles.entry(uuid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Handle::lookup_by_uuid(&self.connect, uuid)?),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Each keeps the connection open.
        self.handles.clear();
        // Fails if the remote end is gone already; there is nothing left to do then.
        if let Err(error) = self.connect.close() {
            tracing::debug!(%error, "closing a connection to libvirt failed");
        }
    }
}

fn build_reading(
    record: &sys::Record<'_>,
    uuid: Uuid,
    taken: Moment,
    groups: Groups,
) -> Result<Reading, VirtError> {
    let mut builder = ReadingBuilder::new(groups.contains(Groups::RAW));
    for (key, value) in record.pairs() {
        builder.add(key, value).map_err(|error| VirtError::Other(error.to_string()))?;
    }
    Ok(Reading { uuid, taken, ..builder.finish() })
}

/// The groups as libvirt's flags. libvirt ignores flags it does not know.
fn mask(groups: Groups) -> u32 {
    /// `VIR_DOMAIN_STATS_VM`, of libvirt 8.9; the bindings are older.
    const VM: u32 = 1 << 10;
    [
        (Groups::NONE, virt_sys::VIR_DOMAIN_STATS_STATE),
        (Groups::CPU, virt_sys::VIR_DOMAIN_STATS_CPU_TOTAL),
        (Groups::VCPU, virt_sys::VIR_DOMAIN_STATS_VCPU),
        (Groups::BALLOON, virt_sys::VIR_DOMAIN_STATS_BALLOON),
        (Groups::BLOCK, virt_sys::VIR_DOMAIN_STATS_BLOCK),
        (Groups::INTERFACE, virt_sys::VIR_DOMAIN_STATS_INTERFACE),
        (Groups::PERF, virt_sys::VIR_DOMAIN_STATS_PERF),
        (Groups::IOTHREAD, virt_sys::VIR_DOMAIN_STATS_IOTHREAD),
        (Groups::MEMORY, virt_sys::VIR_DOMAIN_STATS_MEMORY),
        (Groups::DIRTY_RATE, virt_sys::VIR_DOMAIN_STATS_DIRTYRATE),
        (Groups::VM, VM),
    ]
    .into_iter()
    .filter(|(group, _)| groups.contains(*group))
    .fold(0, |mask, (_, flag)| mask | flag)
}

fn memory(handle: &Handle) -> MemoryReading {
    let stats = handle.memory_stats(0).unwrap_or_default();
    let tagged = |tag| stats.iter().find(|stat| stat.tag == tag).map(|stat| stat.val);
    MemoryReading {
        actual: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON),
        available: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE),
        unused: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_UNUSED),
        usable: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_USABLE),
        rss: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_RSS),
        swap_in: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_SWAP_IN),
        swap_out: tagged(virt_sys::VIR_DOMAIN_MEMORY_STAT_SWAP_OUT),
        maximum: None,
    }
}

/// Replaces the sizes of the disks by those of `virDomainGetBlockInfo`; none for a disk for which
/// it fails. Not for a domain that is shut off, whose statistics have the same sizes.
fn add_sizes(handle: &Handle, reading: &mut Reading) {
    if reading.is_shut_off() {
        return;
    }
    for disk in &mut reading.disks {
        // Fails for an empty drive, which is not metered either.
        let size = handle.get_block_info(&disk.name, 0).ok();
        disk.capacity = size.as_ref().map(|size| size.capacity);
        disk.allocation = size.as_ref().map(|size| size.allocation);
        disk.physical = size.map(|size| size.physical);
    }
}

fn block(handle: &Handle, target: &str) -> Option<DiskReading> {
    let stats = handle.get_block_stats(target).ok()?;
    Some(DiskReading {
        name: target.to_owned(),
        read_requests: u64::try_from(stats.rd_req).ok(),
        read_bytes: u64::try_from(stats.rd_bytes).ok(),
        write_requests: u64::try_from(stats.wr_req).ok(),
        write_bytes: u64::try_from(stats.wr_bytes).ok(),
        ..DiskReading::default()
    })
}

fn interface(handle: &Handle, target: &str) -> Option<NicReading> {
    let stats = handle.interface_stats(target).ok()?;
    Some(NicReading {
        name: target.to_owned(),
        rx_bytes: u64::try_from(stats.rx_bytes).ok(),
        rx_packets: u64::try_from(stats.rx_packets).ok(),
        rx_errors: u64::try_from(stats.rx_errs).ok(),
        rx_drops: u64::try_from(stats.rx_drop).ok(),
        tx_bytes: u64::try_from(stats.tx_bytes).ok(),
        tx_packets: u64::try_from(stats.tx_packets).ok(),
        tx_errors: u64::try_from(stats.tx_errs).ok(),
        tx_drops: u64::try_from(stats.tx_drop).ok(),
    })
}
