use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::cache::Cache;
use super::engine::{engine, start_ticker};
use super::error::ComponentError;
use super::handle::InstanceHandle;
use super::instance::{Bare, Description, Guest, Instance, linker};
use super::load::{self, Digest, LoadedComponent, unfit};
use super::publisher::Shelf;
use super::threads::Threads;
use crate::config::{ComponentSpec, ComponentsSpec, LimitsSpec};
use crate::telemetry::events;

/// How long one component may take to compile. A Python component takes 10 to 60 s.
const COMPILE: Duration = Duration::from_secs(120);

/// Loads components and makes instances of them. Cheap to clone; the guests' threads end with the
/// last clone.
#[derive(Clone)]
pub struct ComponentHost(Arc<Shared>);

struct Shared {
    threads: Threads,
    engine: Engine,
    linker: Linker<Guest>,
    publishers: Shelf,
    spec: ComponentsSpec,
    cache: Arc<Cache>,
    /// Held while one component is loaded, so that none is compiled twice.
    loaded: Mutex<HashMap<(PathBuf, Digest), Arc<LoadedComponent>>>,
}

/// What a new instance is made of.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) loaded: Arc<LoadedComponent>,
    pub(super) limits: LimitsSpec,
    pub(super) options: Arc<Map<String, Value>>,
}

impl ComponentHost {
    /// Starts the engine and the guests' threads. `cache` is the folder for compiled code; one
    /// that cannot be used is said and done without.
    pub fn start(spec: &ComponentsSpec, cache: &Path) -> Result<Self, ComponentError> {
        let failed = |error: &dyn std::fmt::Display| ComponentError::Host(error.to_string());
        let engine = engine().map_err(|error| failed(&format!("{error:#}")))?;
        start_ticker(&engine).map_err(|error| failed(&error))?;
        let shared = Shared {
            threads: Threads::start().map_err(|error| failed(&error))?,
            linker: linker(&engine).map_err(|error| failed(&format!("{error:#}")))?,
            publishers: Shelf::new(&engine).map_err(|error| failed(&format!("{error:#}")))?,
            cache: Arc::new(Cache::open(cache, &engine)),
            engine,
            spec: spec.clone(),
            loaded: Mutex::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The component of this name on the component path.
    pub async fn load(&self, name: &str) -> Result<Arc<LoadedComponent>, ComponentError> {
        let path = self.find(name).await?;
        self.open(&path).await
    }

    /// The file of this name on the component path.
    pub(super) async fn find(&self, name: &str) -> Result<PathBuf, ComponentError> {
        let (name, folders) = (name.to_owned(), self.0.spec.path.clone());
        self.blocking(move || load::find(&name, &folders)).await
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.0.publishers
    }

    /// What the configuration says of the component of this name.
    pub(super) fn component_spec(&self, name: &str) -> ComponentSpec {
        self.0.spec.by_name.get(name).cloned().unwrap_or_default()
    }

    /// The component in this file, read anew; what was compiled before is not compiled again. Its
    /// name is the file's without the ending.
    pub async fn open(&self, path: &Path) -> Result<Arc<LoadedComponent>, ComponentError> {
        let begun = Instant::now();
        let mut known = self.0.loaded.lock().await;
        let file = path.to_owned();
        let (bytes, digest) = self.blocking(move || load::read(&file)).await?;
        if let Some(loaded) = known.get(&(path.to_owned(), digest)) {
            return Ok(Arc::clone(loaded));
        }
        let (component, cached) = self.compile(path, bytes, digest).await?;
        let (pre, exports) = load::link(&self.0.linker, &component, path)?;
        let name = path.file_stem().map_or("component".into(), |stem| stem.to_string_lossy());
        let loaded = Arc::new(LoadedComponent {
            name: Arc::from(&*name),
            path: path.to_owned(),
            digest,
            pre,
            exports,
        });
        known.insert((path.to_owned(), digest), Arc::clone(&loaded));
        let took = begun.elapsed();
        events::component::loaded(&loaded.name, path, &digest.to_string(), cached, took);
        Ok(loaded)
    }

    /// What a component tells about itself.
    pub async fn describe(
        &self,
        loaded: &Arc<LoadedComponent>,
    ) -> Result<Description, ComponentError> {
        let recipe = self.recipe(loaded, &Map::new());
        self.guest(async move { Bare::new(&recipe.loaded, recipe.limits).await?.describe().await })
            .await
    }

    /// A new instance with these options, ready to take batches.
    pub async fn instance(
        &self,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
    ) -> Result<InstanceHandle, ComponentError> {
        let mut handle = InstanceHandle::new(self.clone(), self.recipe(loaded, options));
        handle.rebuild(None).await?;
        Ok(handle)
    }

    fn recipe(&self, loaded: &Arc<LoadedComponent>, options: &Map<String, Value>) -> Recipe {
        let spec = self.0.spec.by_name.get(&*loaded.name);
        Recipe {
            loaded: Arc::clone(loaded),
            limits: spec.map(|spec| spec.limits).unwrap_or_default(),
            options: Arc::new(options.clone()),
        }
    }

    pub(super) async fn compile(
        &self,
        path: &Path,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<(Component, bool), ComponentError> {
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        let file = path.to_owned();
        let work = self.blocking(move || {
            if let Some(component) = cache.get(&engine, &digest) {
                return Ok((component, true));
            }
            let component = Component::from_binary(&engine, &bytes)
                .map_err(|error| unfit(&file, format!("it cannot be compiled: {error:#}")))?;
            cache.put(&digest, &component);
            Ok((component, false))
        });
        match tokio::time::timeout(COMPILE, work).await {
            Ok(result) => result,
            Err(_) => Err(unfit(path, format!("it took more than {COMPILE:?} to compile"))),
        }
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
    ) -> Result<T, ComponentError> {
        match self.0.threads.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(ComponentError::Host(error.to_string())),
        }
    }

    /// Runs something with guests in it on the guests' threads.
    pub(super) async fn guest<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ComponentError>> + Send + 'static,
    ) -> Result<T, ComponentError> {
        match self.0.threads.spawn(work).await {
            Ok(result) => result,
            Err(error) => Err(ComponentError::Host(error.to_string())),
        }
    }

    /// Makes an instance on the guests' threads: describe, configure, restore.
    pub(super) async fn build(
        &self,
        recipe: Recipe,
        state: Option<Vec<u8>>,
    ) -> Result<Instance, ComponentError> {
        self.guest(async move {
            let mut bare = Bare::new(&recipe.loaded, recipe.limits).await?;
            let description = bare.describe().await?;
            let mut instance = bare.configure(&description, &recipe.options).await?;
            if let Some(state) = state {
                // The same component saved it: no other version can have.
                instance.restore(description.state_version, &state).await?;
            }
            Ok(instance)
        })
        .await
    }

    /// Starts a task on the guests' threads.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Its end shows in the mailbox that it closes.
        drop(self.0.threads.spawn(task));
    }
}
