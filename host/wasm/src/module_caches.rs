//! The component caches of a host, by role.

use wasmtime::Engine;

use super::handle::Restore;
use super::module_cache::ModuleCache;
use super::outbound::Outbound;
use super::publisher::{self, PublisherRole};
use super::transformer::{self, TransformerRole};

/// The component caches of a host, and what publishers share.
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

/// A role with a component cache.
pub trait CachedRole: Restore {
    /// The cache of this role.
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
