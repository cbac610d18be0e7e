//! Nephometer: a metering agent for hosts that run libvirt virtual machines.
//!
//! This crate holds the composition root and the command line. `host/ARCHITECTURE.md` describes the
//! crates that it uses.

pub mod app;
pub mod cli;
pub mod control;
pub mod memory;
pub mod watch;
