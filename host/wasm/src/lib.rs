//! The component host: finds, checks, compiles, limits and calls WebAssembly components. The only
//! crate that uses `wasmtime`.
//!
//! Takes component names, options and batches, and hands out instances that execute one call at a
//! time on the guest threads. Must not know sinks: the pipeline's `transform` module decides what
//! a failure means for a batch.

mod bindings;
mod cache;
mod call;
mod cause;
mod code;
mod compile;
mod convert;
mod cpu;
mod description;
mod difference;
mod digest;
mod engine;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod guest;
mod handle;
mod host;
mod inspect;
mod instance;
mod limits;
mod line_budget;
mod load;
mod log;
mod module_cache;
mod module_caches;
mod options;
mod outbound;
mod profile;
mod publisher;
mod role;
mod schema;
mod settings;
mod state;
mod stats;
mod survey;
mod symbolize;
mod threads;
mod transformer;
mod trap;
mod world;

pub use call::GuestCall;
pub use compile::{CompilerError, compile_confined};
pub use convert::{Numbering, Transformed};
pub use description::Description;
pub use digest::Digest;
pub use error::{ComponentError, OptionError};
pub use handle::InstanceHandle;
pub use host::ComponentHost;
pub use inspect::Inspection;
pub use module_cache::LoadedComponent;
pub use module_caches::CachedRole;
pub use publisher::{Delivery, PublishError, PublisherRole, TextForm};
pub use state::State;
pub use stats::{ComponentCounters, ComponentStats, ListedComponent};
pub use symbolize::symbolize_confined;
pub use threads::GuestThreads;
pub use transformer::{CallError, TransformerRole};
pub use trap::demangle;
