//! What a host keeps, by role.

use wasmtime::Engine;

use super::handle::Restore;
use super::module_cache::ModuleCache;
use super::outbound::Outbound;
use super::publisher::{self, PublisherRole};
use super::transformer::{self, TransformerRole};

/// What a host keeps, by role.
pub struct ModuleCaches {
    pub(crate) transformers: ModuleCache<TransformerRole>,
    pub(crate) publishers: ModuleCache<PublisherRole>,
    pub(crate) outbound: Outbound,
}

impl ModuleCaches {
    /// `sockets` is `components.totals.sockets`.
    pub(crate) fn new(engine: &Engine, sockets: usize) -> wasmtime::Result<Self> {
        Ok(Self {
            transformers: ModuleCache::new(transformer::linker(engine)?),
            publishers: ModuleCache::new(publisher::linker(engine)?),
            outbound: Outbound::new(sockets),
        })
    }
}

/// A role that has a shelf.
pub trait CachedRole: Restore {
    /// Where components of this role are kept.
    fn module_cache(module_caches: &ModuleCaches) -> &ModuleCache<Self>;
}

impl CachedRole for TransformerRole {
    fn module_cache(module_caches: &ModuleCaches) -> &ModuleCache<Self> {
        &module_caches.transformers
    }
}

impl CachedRole for PublisherRole {
    fn module_cache(module_caches: &ModuleCaches) -> &ModuleCache<Self> {
        &module_caches.publishers
    }
}
