//! From a batch to its sinks: the router writes it into the journal, each sink runs it through its
//! transformers and hands what comes out to its publishers.
//!
//! Given: batches over one channel, generations of transformers over another. Gives back: nothing;
//! publishers are told. Must not wait for a sink while it routes, and must not know how batches or
//! components are made.

pub mod publish;
pub mod transform;

mod emit;
mod generation;
mod handle;
mod obey;
mod quarantine;
mod remains;
mod router;
mod sink;
mod verdicts;

pub use emit::{Emission, Outlet, Tap};
pub use generation::{Base, Generation};
pub use handle::{Notice, Publishers, SinkHandle, SinkState, SinkStatus, TakeOver};
pub use remains::Remains;
pub use router::route;
pub use sink::{Sink, SinkParts};
