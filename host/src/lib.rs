//! Nephometer: a metering agent for hosts that run libvirt virtual machines.
//!
//! This is the map, in reading order; `host/ARCHITECTURE.md` says which room may use which.

//! Data goes one way: `poll` makes batches out of what `inspect` reads, `pipeline` hands them to
//! `transform` and `publish`. The two sides meet in [`app`].

pub mod app;
pub mod author;
pub mod cli;
pub mod component;
pub mod config;
pub mod control;
pub mod discovery;
pub mod files;
pub mod inspect;
pub mod libvirt;
pub mod model;
pub mod pipeline;
pub mod poll;
pub mod publish;
pub mod schedule;
pub mod store;
pub mod telemetry;
pub mod transform;
pub mod watch;
