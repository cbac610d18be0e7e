//! The real binary against real services: see `README.md` beside this file.

// A test that cannot go on panics with what it saw; that is how it reports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "rules for the agent, not for those who watch it"
)]

mod harness;

mod authoring;
mod cases;
mod ceilometer;
mod ceilometer_conf;
mod components;
mod config;
mod delivery;
mod examples;
mod faults;
mod files;
mod fixtures;
mod forms;
mod golden;
mod hostile;
mod http;
mod outbound_tls;
mod publishers;
mod qemu;
mod reference;
mod reload;
mod scale;
mod sockets;
mod spool;
mod transformers;
mod workspace;
