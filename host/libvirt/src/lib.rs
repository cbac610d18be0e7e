//! Reads domains and makes samples of the readings: hypervisors (libvirt, a simulation, a
//! recording), resource metadata, the meter catalogue, lifecycle events and polling.
//!
//! Given: sources and their intervals. Gives back: one batch per source and polling cycle. Must not
//! know publishers or pipelines.

pub mod hypervisor;
mod libvirt;
pub mod poll;
mod resource_metadata;
pub mod schedule;

#[cfg(any(fuzzing, test))]
pub use libvirt::fuzz;
