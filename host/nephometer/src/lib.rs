//! Nephometer: a metering agent for hosts that run libvirt virtual machines.
//!
//! The composition root and the command line; `host/ARCHITECTURE.md` is the map of the crates beside
//! this one.

pub mod app;
pub mod cli;
pub mod control;
pub mod watch;
