//! A safe interface to libvirt: connections that are closed when dropped, typed errors, statistics
//! as readings, domain XML as descriptions.
//!
//! The only module that uses `virt` and `virt_sys`. Every call blocks, some of them forever if a
//! guest's QEMU does not answer: `hypervisor` decides on which thread to call and how long to wait.
//! The parsers are pure; recordings use them as well.

mod connection;
mod element;
mod events;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod nova;
mod stats;
mod sys;
mod xml;

pub(crate) use connection::{Connection, MonitorState, RawDomain, VirtError};
pub(crate) use events::{DomainNotice, EventConnection};
pub(crate) use stats::{ReadingBuilder, StatValue};
pub(crate) use xml::describe;
