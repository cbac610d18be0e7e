//! Expositions for Prometheus: the text formats, and the meters of guests in two forms.
//!
//! Given: polled batches. Gives back: text that a scrape gets. It owns the names and labels of series
//! and their bounds; it must not know HTTP, and does no IO.
//!
//! **Fed from polled batches, before the sinks.** Ceilometer's exporter is part of its polling agent
//! and shows what was polled; transformers ran in another process and their output never reached it.
//! A publisher in a sink would see transformed samples, would be missing from a sink that is on hold,
//! and would have an acknowledgement to wait for where nothing is delivered: a scrape may come or not.
//! So the router offers each batch to [`GuestMeters`], which keeps a reference to it and nothing else;
//! the work is done by a scrape.
//!
//! **Why no crate for the format.** `prometheus-client` keeps typed instruments in a registry. Here
//! the values exist already, in batches and in the ledger, with labels that are known at run time; a
//! registry would be a copy of them. The text format itself is [`Exposition`].

mod ceilometer;
mod guests;
mod histograms;
mod native;
mod number;
mod series;
mod text;

pub use guests::{Form, GuestMeters};
pub use text::{Exposition, FamilyKind, TextFormat};
