//! Makes the metered resources of a domain from its description: the instance, its disks and its
//! network interfaces, with owner and metadata.
//!
//! Pure. Keys, their order and their values are those of Ceilometer's compute agent 27 with the same
//! `instance_discovery_method`.

mod cache;
mod resource;
mod server;

pub(crate) use cache::{DomainResources, ResourceCache};
pub(crate) use resource::ResourceContext;
