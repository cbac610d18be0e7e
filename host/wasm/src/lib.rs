//! The host of components: finds, checks, compiles, limits and calls them. The only room that
//! names `wasmtime`.
//!
//! Given: names, options, batches. Gives back: instances that answer one call at a time, each in
//! a task of its own on the guests' threads. Must not know sinks: what a failure means for a
//! batch is decided in `transform`.

mod bindings;
mod cache;
mod code;
mod compile;
mod contract;
mod convert;
mod engine;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod handle;
mod host;
mod inspect;
mod instance;
mod limits;
mod load;
mod log;
mod options;
mod outbound;
mod publisher;
mod schema;
mod settings;
mod stats;
mod survey;
mod symbolize;
mod threads;
mod trap;

pub use compile::{CompilerError, compile_confined};
pub use error::{ComponentError, OptionFault};
pub use handle::{InstanceHandle, State};
pub use host::ComponentHost;
pub use inspect::Inspection;
pub use instance::{CallError, Description};
pub use load::{Digest, LoadedComponent};
pub use publisher::{Delivery, LoadedPublisher, PublisherInstance, Settled, TextForm};
pub use stats::{ComponentCount, ComponentNumbers, Counted};
pub use symbolize::symbolize_confined;
