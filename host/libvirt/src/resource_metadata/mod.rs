//! From a domain's description to the resources that are metered: the instance, its disks and its
//! network interfaces, with owner and metadata.
//!
//! Pure. Keys, their order and their values are those of Ceilometer's compute agent 27 with
//! `instance_discovery_method = libvirt_metadata`.

mod cache;
mod resource;

pub(crate) use cache::{Described, ResourceCache};
pub(crate) use resource::Place;

use nephometer_model::Domain;

/// Whether a domain is metered: `unowned` says whether those without Nova's metadata are.
pub(crate) fn is_metered(domain: &Domain, unowned: bool) -> bool {
    unowned || domain.nova.is_some()
}
