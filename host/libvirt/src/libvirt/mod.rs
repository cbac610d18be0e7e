//! libvirt as the rest of the program sees it: connections that are closed when dropped, typed
//! errors, statistics as readings, domain XML as descriptions.
//!
//! The only module that names `virt` and `virt_sys`. Every call here blocks, some of them for ever
//! when a guest's QEMU does not answer: `hypervisor` decides on which thread and how long to wait.
//! The parsers are pure and serve recordings as well.

mod connection;
mod element;
mod events;
#[cfg(fuzzing)]
pub mod fuzz;
mod nova;
mod stats;
mod sys;
mod xml;

pub(crate) use connection::{Connection, Control, VirtError};
pub(crate) use events::Watch;
pub(crate) use stats::{Builder, Value};
pub(crate) use xml::describe;
