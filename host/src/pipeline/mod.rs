//! From a batch to its sinks: the router writes it into each sink's journal, the sink runs it
//! through its transformers and hands what comes out to its publishers.
//!
//! Given: batches over one channel. Gives back: nothing; publishers are told. Must not wait for a
//! sink while it routes, and must not know how batches are made.

mod router;
mod sink;

pub use router::{Routes, route};
pub use sink::{Emission, Sink, Tap};
