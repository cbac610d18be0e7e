//! Integration tests: the real binary against real services. See `README.md` beside this file.

// A failing test panics, with the values that it found.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "rules for the agent, not for its tests"
)]

mod harness;

mod audit;
mod authoring;
mod broker_tls;
mod cases;
mod ceilometer;
mod ceilometer_conf;
mod check_formats;
mod collector;
mod components;
mod config;
mod config_show;
mod delivery;
mod demo;
mod devices;
mod doctor;
mod examples;
mod faults;
mod files;
mod fixtures;
mod forms;
mod gnocchi;
mod golden;
mod graph;
mod hostile;
mod http;
mod live;
mod migration;
mod openstack;
mod oslo;
mod outbound_tls;
mod page;
mod proof;
mod publishers;
mod qemu;
mod recording;
mod reference;
mod registry;
mod reload;
mod remote_write;
mod reports;
mod rotation;
mod scale;
mod schema;
mod scrape;
mod service;
mod sockets;
mod spool;
mod status;
mod tables;
mod transformers;
mod upgrade;
mod workspace;
