//! From a batch to its sinks: the router writes it into the journal, each sink runs it through its
//! transformers and hands what comes out to its publishers.
//!
//! Given: batches over one channel, generations of transformers over another. Gives back: nothing;
//! publishers are told. Must not wait for a sink while it routes, and must not know how batches or
//! components are made.

pub mod publish;
pub mod transform;

mod applied_actions;
mod commands;
mod drained_sink;
mod emit;
mod handle;
mod quarantine;
mod revision;
mod router;
mod sink;

pub use drained_sink::DrainedSink;
pub use emit::{Outlet, SinkOutput, Tap};
pub use handle::{Publishers, SinkEvent, SinkHandle, SinkState, SinkStatus, Takeover};
pub use revision::{ChainRevision, Snapshot};
pub use router::route;
pub use sink::{Sink, SinkParts};
