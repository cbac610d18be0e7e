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
use super::handle::{InstanceHandle, State};
use super::instance::{Bare, Description, Guest, Instance, linker};
use super::load::{self, Digest, LoadedComponent, unfit};
use super::stats::{ComponentCount, Places};
use super::threads::Threads;
use crate::config::{ComponentsSpec, LimitsSpec};
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
    /// Replaced as a whole when the configuration is read again.
    spec: Mutex<Arc<ComponentsSpec>>,
    cache: Arc<Cache>,
    places: Places,
    /// Held while one component is loaded, so that none is compiled twice.
    loaded: Mutex<HashMap<(PathBuf, Digest), Arc<LoadedComponent>>>,
}

/// What a new instance is made of.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) loaded: Arc<LoadedComponent>,
    pub(super) limits: LimitsSpec,
    pub(super) options: Arc<Map<String, Value>>,
    pub(super) count: Arc<ComponentCount>,
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
            cache: Arc::new(Cache::open(cache, &engine)),
            engine,
            places: Places::default(),
            spec: Mutex::new(Arc::new(spec.clone())),
            loaded: Mutex::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The component of this name on the component path.
    pub async fn load(&self, name: &str) -> Result<Arc<LoadedComponent>, ComponentError> {
        let (name, folders) = (name.to_owned(), self.spec().await.path.clone());
        let path = self.blocking(move || load::find(&name, &folders)).await?;
        self.open(&path).await
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
        let recipe = self.recipe(loaded, &Map::new(), "").await;
        self.guest(async move { Bare::new(&recipe).await?.describe().await }).await
    }

    /// A new instance with these options, ready to take batches. `place`, such as `SINK/0`, is
    /// where it is counted.
    pub async fn instance(
        &self,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
        place: &str,
    ) -> Result<InstanceHandle, ComponentError> {
        let recipe = self.recipe(loaded, options, place).await;
        let mut handle = InstanceHandle::new(self.clone(), recipe);
        handle.rebuild(None).await?;
        Ok(handle)
    }

    /// What is called `name` on the component path: the digest of its file, as it is now.
    pub async fn identify(&self, name: &str) -> Result<Digest, ComponentError> {
        let (name, folders) = (name.to_owned(), self.spec().await.path.clone());
        self.blocking(move || {
            let path = load::find(&name, &folders)?;
            Ok(load::read(&path)?.1)
        })
        .await
    }

    /// From now on new instances have these limits. The component path stays as it is.
    pub async fn set_spec(&self, spec: &ComponentsSpec) {
        let mut current = self.0.spec.lock().await;
        let path = current.path.clone();
        *current = Arc::new(ComponentsSpec { path, by_name: spec.by_name.clone() });
    }

    async fn spec(&self) -> Arc<ComponentsSpec> {
        Arc::clone(&*self.0.spec.lock().await)
    }

    /// Place, component and counts of all that are in use.
    pub fn counts(&self) -> Vec<(String, Arc<str>, Arc<ComponentCount>)> {
        self.0.places.all()
    }

    /// Whether the component of this name can be loaded without compiling it.
    pub async fn is_cached(&self, name: &str) -> Result<bool, ComponentError> {
        let digest = self.identify(name).await?;
        let cache = Arc::clone(&self.0.cache);
        self.blocking(move || Ok(cache.has(&digest))).await
    }

    async fn recipe(
        &self,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
        place: &str,
    ) -> Recipe {
        let spec = self.spec().await;
        let spec = spec.by_name.get(&*loaded.name);
        Recipe {
            loaded: Arc::clone(loaded),
            limits: spec.map(|spec| spec.limits).unwrap_or_default(),
            options: Arc::new(options.clone()),
            count: self.0.places.of(place, &loaded.name),
        }
    }

    async fn compile(
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

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
    ) -> Result<T, ComponentError> {
        match self.0.threads.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(ComponentError::Host(error.to_string())),
        }
    }

    /// Runs something with guests in it on the guests' threads.
    async fn guest<T: Send + 'static>(
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
        state: Option<State>,
    ) -> Result<Instance, ComponentError> {
        self.guest(async move {
            let mut bare = Bare::new(&recipe).await?;
            let description = bare.describe().await?;
            let mut instance = bare.configure(&description, &recipe.options).await?;
            if let Some(state) = state {
                instance.restore(state.version, &state.bytes).await?;
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
