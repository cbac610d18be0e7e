//! From a file to a publisher that fits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::exports::nephometer::metering::publish;
use crate::bindings::exports::nephometer::metering::component;
use crate::host::ComponentHost;
use crate::load::{self, Digest, unfit};
use crate::log::clean;
use crate::outbound::{self, Caller, Outbound};
use crate::{ComponentError, Description};
use nephometer_telemetry::events;

/// A publisher that fits this host, ready to be instantiated.
pub struct LoadedPublisher {
    /// The scheme in `pipeline.yaml`: the file's name without its ending.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// Of the file's content.
    pub digest: Digest,
    pub(super) pre: InstancePre<Caller>,
    pub(super) component: component::GuestIndices,
    pub(super) publish: publish::GuestIndices,
}

impl LoadedPublisher {
    /// The code.
    pub(crate) fn component(&self) -> &Component {
        self.pre.component()
    }

    /// Whether it wants to speak to the network.
    pub fn reaches(&self) -> bool {
        let (ty, engine) = (self.component().component_type(), self.component().engine());
        ty.imports(engine)
            .any(|(name, _)| name.starts_with("wasi:http/") || name.starts_with("wasi:sockets/"))
    }
}

impl std::fmt::Debug for LoadedPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadedPublisher({}, {})", self.name, self.digest)
    }
}

/// What a host keeps of publishers.
pub(crate) struct Shelf {
    linker: Linker<Caller>,
    outbound: Outbound,
    /// The last content of each file, as of transformers.
    loaded: Mutex<HashMap<PathBuf, Arc<LoadedPublisher>>>,
}

impl Shelf {
    /// `sockets` is `components.totals.sockets`.
    pub(crate) fn new(engine: &Engine, sockets: usize) -> wasmtime::Result<Self> {
        let (linker, outbound) = (outbound::linker(engine)?, Outbound::new(sockets));
        Ok(Self { linker, outbound, loaded: Mutex::default() })
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    async fn last(&self, path: &Path, digest: Digest) -> Option<Arc<LoadedPublisher>> {
        let all = self.loaded.lock().await;
        all.get(path).filter(|loaded| loaded.digest == digest).map(Arc::clone)
    }
}

impl ComponentHost {
    /// The publisher of this name on the component path.
    pub async fn load_publisher(&self, name: &str) -> Result<Arc<LoadedPublisher>, ComponentError> {
        let path = self.find(name).await?;
        self.open_publisher(&path).await
    }

    /// The publisher in this file, read anew; what was compiled before is not compiled again.
    pub async fn open_publisher(
        &self,
        path: &Path,
    ) -> Result<Arc<LoadedPublisher>, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (bytes, digest) = self.blocking(move || load::read(&file)).await?;
        if let Some(loaded) = self.shelf().last(path, digest).await {
            return Ok(loaded);
        }
        let made = match self.cached(digest).await? {
            Some(component) => (component, true),
            None => self.compile(path, bytes, digest).await?,
        };
        self.shelve(path, digest, made, begun).await
    }

    /// As [`ComponentHost::is_cached`], for a publisher.
    pub async fn is_publisher_cached(&self, path: &Path) -> Result<bool, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (_, digest) = self.blocking(move || load::read(&file)).await?;
        let shelved = self.shelf().last(path, digest).await;
        if shelved.is_some() || self.known(path, digest).await.is_some() {
            return Ok(true);
        }
        let Some(component) = self.cached(digest).await? else { return Ok(false) };
        self.shelve(path, digest, (component, true), begun).await?;
        Ok(true)
    }

    /// Checks what code was loaded for a file, and remembers it.
    async fn shelve(
        &self,
        path: &Path,
        digest: Digest,
        (component, cached): (Component, bool),
        begun: Instant,
    ) -> Result<Arc<LoadedPublisher>, ComponentError> {
        let name = path.file_stem().map_or("component".into(), |stem| stem.to_string_lossy());
        let loaded = Arc::new(link(self.shelf(), &component, path, (&name, digest))?);
        let mut all = self.shelf().loaded.lock().await;
        all.insert(path.to_owned(), Arc::clone(&loaded));
        all.retain(|path, _| path.exists());
        drop(all);
        let took = begun.elapsed();
        events::component::loaded(&loaded.name, path, &digest.to_string(), cached, took);
        Ok(loaded)
    }

    /// What a publisher tells about itself. It reaches nothing meanwhile.
    pub async fn describe_publisher(
        &self,
        loaded: &Arc<LoadedPublisher>,
    ) -> Result<Description, ComponentError> {
        self.publisher_description(loaded).await
    }
}

fn link(
    shelf: &Shelf,
    compiled: &Component,
    path: &Path,
    (name, digest): (&str, Digest),
) -> Result<LoadedPublisher, ComponentError> {
    load::check_publisher(shelf.linker.engine(), compiled).map_err(|reason| unfit(path, reason))?;
    let linked = || -> wasmtime::Result<_> {
        let pre = shelf.linker.instantiate_pre(compiled)?;
        Ok(LoadedPublisher {
            name: Arc::from(name),
            path: path.to_owned(),
            digest,
            component: component::GuestIndices::new(&pre)?,
            publish: publish::GuestIndices::new(&pre)?,
            pre,
        })
    };
    linked().map_err(|error| {
        unfit(path, format!("it does not fit the contract: {}", clean(&format!("{error:#}"))))
    })
}
