//! Components that publish: an instance that takes one envelope at a time.
//!
//! Given: a name, options, grants, deliveries. Gives back: what became of each delivery. A failed
//! instance is made anew at the next call.

mod bindings;
mod handle;
mod instance;
mod load;

pub use handle::PublisherInstance;
pub use instance::{Delivery, Settled, TextForm};
pub use load::LoadedPublisher;

pub(super) use load::Shelf;
