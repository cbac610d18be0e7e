use serde_json::{Map, Value};
use uuid::Uuid;

/// The static properties of a domain, from its XML. They stay the same from cycle to cycle.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Domain {
    /// libvirt's uuid; with Nova also the instance's.
    pub uuid: Uuid,
    /// libvirt's name, such as `instance-0000001a`.
    pub name: String,
    /// Text of `os/type`, such as `hvm`.
    pub os_type: Option<String>,
    /// `os/type/@arch`, such as `x86_64`.
    pub architecture: Option<String>,
    /// The metadata that Nova wrote; `None` for a domain that Nova did not create.
    pub nova: Option<Nova>,
    /// `vcpu`: the number of virtual processors in the definition.
    pub vcpus: Option<u64>,
    /// `memory`, in KiB.
    pub memory_kib: Option<u64>,
    /// Disks with a target name, in the order of the XML.
    pub disks: Vec<DiskDevice>,
    /// Network interfaces with a target name and an address, in the order of the XML.
    pub nics: Vec<NicDevice>,
    /// Number of interfaces without a target name, such as those of SR-IOV. libvirt has no statistics
    /// of them.
    pub nics_without_target: usize,
}

/// `devices/disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDevice {
    /// `target/@dev`, such as `vda`.
    pub target: String,
    /// Whether the disk has a source. A drive without a medium is not metered.
    pub has_source: bool,
}

/// `devices/interface`.
#[derive(Debug, Clone, PartialEq)]
pub struct NicDevice {
    /// `target/@dev`: the name of the tap device.
    pub target: String,
    /// `mac/@address`.
    pub mac: String,
    /// `filterref/@filter`.
    pub filterref: Option<String>,
    /// Lower-cased names of `filterref/parameter`, then `interfaceid` and `bridge`.
    pub parameters: Map<String, Value>,
}

/// The `nova:instance` element (version 1.0 or 1.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Nova {
    /// `name`: the display name, chosen by the owner.
    pub name: String,
    /// `owner/user/@uuid`.
    pub user_id: String,
    /// `owner/project/@uuid`.
    pub project_id: String,
    /// Text of `owner/user`, if not empty: the user's name when Nova wrote the XML.
    pub user_name: Option<String>,
    /// Text of `owner/project`, if not empty.
    pub project_name: Option<String>,
    /// `flavor`.
    pub flavor: Flavor,
    /// `root[@type='image']/@uuid`; `None` when booted from a volume.
    pub image: Option<String>,
    /// `image` with its properties, in Ceilometer's key names; `None` without that element.
    pub image_meta: Option<Map<String, Value>>,
}

/// The size of an instance. A missing element counts as 0, as in Ceilometer.
#[derive(Debug, Clone, PartialEq)]
pub struct Flavor {
    /// `@id` (Nova 2025.2 and later), if not empty.
    pub id: Option<String>,
    /// `@name`.
    pub name: String,
    /// Virtual processors.
    pub vcpus: i64,
    /// MiB.
    pub ram: i64,
    /// GiB, root and ephemeral disks together.
    pub disk: i64,
    /// GiB.
    pub ephemeral: i64,
    /// MiB.
    pub swap: i64,
    /// `extraSpecs`, if the element is there.
    pub extra_specs: Option<Map<String, Value>>,
}

/// `virDomainState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DomainState {
    /// 0
    NoState,
    /// 1
    Running,
    /// 2
    Blocked,
    /// 3
    Paused,
    /// 4
    ShuttingDown,
    /// 5
    ShutOff,
    /// 6
    Crashed,
    /// 7
    Suspended,
}

impl DomainState {
    /// Converts libvirt's number; `None` for an unknown one.
    pub fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::NoState,
            1 => Self::Running,
            2 => Self::Blocked,
            3 => Self::Paused,
            4 => Self::ShuttingDown,
            5 => Self::ShutOff,
            6 => Self::Crashed,
            7 => Self::Suspended,
            _ => return None,
        })
    }

    /// libvirt's number: the value of `power.state`.
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_numbers_of_libvirt() {
        for number in 0..8 {
            assert_eq!(
                DomainState::from_number(number).map(DomainState::number),
                number.try_into().ok()
            );
        }
        assert_eq!(DomainState::from_number(8), None);
        assert_eq!(DomainState::from_number(-1), None);
    }
}
