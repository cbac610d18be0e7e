//! What a host keeps, by role.

use wasmtime::Engine;

use super::handle::Restore;
use super::outbound::Outbound;
use super::publisher::{self, PublisherRole};
use super::shelf::Shelf;
use super::transformer::{self, TransformerRole};

/// What a host keeps, by role.
pub struct Shelves {
    pub(crate) transformers: Shelf<TransformerRole>,
    pub(crate) publishers: Shelf<PublisherRole>,
    pub(crate) outbound: Outbound,
}

impl Shelves {
    /// `sockets` is `components.totals.sockets`.
    pub(crate) fn new(engine: &Engine, sockets: usize) -> wasmtime::Result<Self> {
        Ok(Self {
            transformers: Shelf::new(transformer::linker(engine)?),
            publishers: Shelf::new(publisher::linker(engine)?),
            outbound: Outbound::new(sockets),
        })
    }
}

/// A role that has a shelf.
pub trait Kept: Restore {
    /// Where components of this role are kept.
    fn shelf(shelves: &Shelves) -> &Shelf<Self>;
}

impl Kept for TransformerRole {
    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.transformers
    }
}

impl Kept for PublisherRole {
    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.publishers
    }
}
