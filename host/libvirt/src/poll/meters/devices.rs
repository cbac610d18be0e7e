//! Devices that libvirt lists and has no numbers for: interfaces of SR-IOV, of vhost-user without Open
//! vSwitch, disks that QEMU does not read itself.
//!
//! Without them the meters of the domain would just be fewer, and nobody would know.

use super::catalogue::ValueReader;
use super::{CATALOGUE, MeterSelection, devices_differ};
use nephometer_model::{DiskReading, Domain, GapReason, NicReading, Reading};

/// The kinds of devices of which at least one has no numbers, and the selected meters that it lacks.
pub(in crate::poll) fn without_statistics(
    reading: &Reading,
    domain: &Domain,
    selection: &MeterSelection,
) -> Vec<(GapReason, Vec<usize>)> {
    // These readings prove nothing: libvirt omits what it cannot ask QEMU for, and a description that
    // is out of date is read again.
    if reading.state.is_none() || reading.is_shut_off() || devices_differ(reading, domain) {
        return Vec::new();
    }
    let counts = |name: &str| reading.disk(name).is_some_and(disk_counts);
    let media = || domain.disks.iter().filter(|disk| disk.has_source);
    let disk = !reading.disks.is_empty() && media().any(|disk| !counts(&disk.target));
    let counts = |name: &str| reading.nic(name).is_some_and(nic_counts);
    let nic = domain.nics_without_target > 0
        || (!reading.nics.is_empty() && domain.nics.iter().any(|nic| !counts(&nic.target)));
    let reasons = [(disk, GapReason::NoDiskStatistics), (nic, GapReason::NoInterfaceStatistics)];
    let lacking = reasons.into_iter().filter(|(lacks, _)| *lacks);
    lacking
        .map(|(_, reason)| (reason, meters(reason, selection)))
        .filter(|(_, meters)| !meters.is_empty())
        .collect()
}

fn disk_counts(disk: &DiskReading) -> bool {
    let DiskReading { read_requests, read_bytes, write_requests, write_bytes, .. } = disk;
    [read_requests, read_bytes, write_requests, write_bytes].into_iter().any(Option::is_some)
}

fn nic_counts(nic: &NicReading) -> bool {
    let NicReading { rx_bytes, rx_packets, tx_bytes, tx_packets, .. } = nic;
    [rx_bytes, rx_packets, tx_bytes, tx_packets].into_iter().any(Option::is_some)
}

/// The selected meters of the kind of device that a reason is about.
fn meters(reason: GapReason, selection: &MeterSelection) -> Vec<usize> {
    let concerns = |value: &ValueReader| match value {
        ValueReader::Disk(_) | ValueReader::Disks(_) => reason == GapReason::NoDiskStatistics,
        ValueReader::Nic(_) | ValueReader::NicDelta(_) => {
            reason == GapReason::NoInterfaceStatistics
        }
        ValueReader::Vm(_) | ValueReader::Cpu(_) => false,
    };
    let selected = (0..CATALOGUE.len()).filter(|meter| selection.contains(*meter));
    selected.filter(|meter| concerns(&CATALOGUE[*meter].value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_model::{DiskDevice, DomainState, NicDevice};
    use serde_json::Map;

    fn domain(nics_without_target: usize) -> Domain {
        let disk = |target: &str, has_source| DiskDevice { target: target.to_owned(), has_source };
        let nic = NicDevice {
            target: "tap0".to_owned(),
            mac: "m".to_owned(),
            filterref: None,
            parameters: Map::new(),
        };
        Domain {
            disks: vec![disk("vda", true), disk("vdb", true), disk("hda", false)],
            nics: vec![nic],
            nics_without_target,
            ..Domain::default()
        }
    }

    /// Disks and interfaces by name, with the value of their first counter.
    fn reading(disks: &[(&str, Option<u64>)], nics: &[(&str, Option<u64>)]) -> Reading {
        let disk = |&(name, read_bytes): &(&str, _)| DiskReading {
            name: name.to_owned(),
            read_bytes,
            ..DiskReading::default()
        };
        let nic = |&(name, rx_bytes): &(&str, _)| NicReading {
            name: name.to_owned(),
            rx_bytes,
            ..NicReading::default()
        };
        Reading {
            state: Some(DomainState::Running),
            disks: disks.iter().map(disk).collect(),
            nics: nics.iter().map(nic).collect(),
            ..Reading::default()
        }
    }

    #[test]
    fn a_device_without_any_counter_has_no_statistics() {
        let all = MeterSelection {
            catalogue: (0..CATALOGUE.len()).collect(),
            ..MeterSelection::default()
        };
        let reasons = |reading: &Reading, domain: &Domain| -> Vec<GapReason> {
            let found = without_statistics(reading, domain, &all);
            found.into_iter().map(|(reason, _)| reason).collect()
        };
        let (disk, nic) = (GapReason::NoDiskStatistics, GapReason::NoInterfaceStatistics);
        let (vda, vdb, tap) = (("vda", Some(0)), ("vdb", Some(1)), ("tap0", Some(0)));
        let whole = reading(&[vda, vdb, ("hda", None)], &[tap]);
        assert_eq!(reasons(&whole, &domain(0)), []);
        assert_eq!(reasons(&whole, &domain(1)), [nic], "an interface of SR-IOV");
        assert_eq!(reasons(&reading(&[vda, ("vdb", None)], &[tap]), &domain(0)), [disk]);
        assert_eq!(reasons(&reading(&[vda, vdb], &[("tap0", None)]), &domain(0)), [nic]);
        assert_eq!(reasons(&reading(&[], &[]), &domain(0)), [], "libvirt could not ask QEMU");
        assert_eq!(reasons(&reading(&[vda], &[tap]), &domain(1)), [], "devices have changed");
        let off = Reading { state: Some(DomainState::ShutOff), ..whole.clone() };
        assert_eq!(reasons(&off, &domain(1)), []);

        let names = |found: &(GapReason, Vec<usize>)| -> Vec<&str> {
            found.1.iter().map(|meter| CATALOGUE[*meter].name).collect()
        };
        let found = without_statistics(&whole, &domain(1), &all);
        assert!(names(&found[0]).contains(&"network.incoming.bytes"));
        assert!(names(&found[0]).iter().all(|name| name.starts_with("network.")));
        assert!(without_statistics(&whole, &domain(1), &MeterSelection::default()).is_empty());
    }
}
