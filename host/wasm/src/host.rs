use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::cache::Cache;
use super::compile::{NotCompiled, compile};
use super::engine::{Clock, engine};
use super::error::ComponentError;
use super::handle::{InstanceHandle, State};
use super::instance::{Bare, Description, Guest, Instance, Services, linker};
use super::limits::TotalMemory;
use super::load::{self, Digest, LoadedComponent, unfit};
use super::publisher::Shelf;
use super::stats::{ComponentCount, Counted, Counts};
use super::symbolize::Symbolizer;
use super::threads::Threads;
use nephometer_config::{ComponentSpec, ComponentsSpec, LimitsSpec};
use nephometer_model::Bound;
use nephometer_telemetry::events;

/// Digests of components that could not be compiled. Each is one more version of a file that
/// somebody wrote; beyond so many it costs little to try again.
const REFUSED: usize = 1_000;

/// Loads components and makes instances of them. Cheap to clone; the guests' threads end with the
/// last clone.
#[derive(Clone)]
pub struct ComponentHost(Arc<Shared>);

impl std::fmt::Debug for ComponentHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ComponentHost")
    }
}

struct Shared {
    services: Services,
    threads: Threads,
    engine: Engine,
    linker: Linker<Guest>,
    publishers: Shelf,
    /// Replaced as a whole when the configuration is read again.
    spec: Mutex<Arc<ComponentsSpec>>,
    cache: Arc<Cache>,
    known: Mutex<Known>,
    lanes: Lanes,
    counts: Counts,
}

/// Held while a component is compiled: one short and one long one at a time, and none twice. A long one
/// never holds up short ones.
#[derive(Default)]
struct Lanes {
    short: Arc<Mutex<()>>,
    long: Arc<Mutex<()>>,
}

impl Lanes {
    /// The lane of a component with so many bytes.
    fn of(&self, component: usize) -> Arc<Mutex<()>> {
        let short = component <= Bound::ShortComponent.size();
        Arc::clone(if short { &self.short } else { &self.long })
    }
}

/// What has been loaded, or never will be.
#[derive(Default)]
struct Known {
    /// The last content of each file. What it was before is kept by those who still run it, and goes with
    /// them.
    loaded: HashMap<PathBuf, Arc<LoadedComponent>>,
    /// Those that cannot be compiled, and why: not tried again until the file changes.
    refused: HashMap<Digest, String>,
}

impl Known {
    fn refuse(&mut self, digest: Digest, reason: &str) {
        if self.refused.len() >= REFUSED {
            self.refused.clear();
        }
        self.refused.insert(digest, reason.to_owned());
    }
}

/// What a new instance is made of.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) loaded: Arc<LoadedComponent>,
    pub(super) limits: LimitsSpec,
    pub(super) options: Arc<Map<String, Value>>,
    pub(super) count: Arc<ComponentCount>,
    pub(super) services: Services,
}

impl ComponentHost {
    /// Starts the engine and the guests' threads. `cache` is the folder for compiled code; one
    /// that cannot be used is said and done without.
    pub fn start(spec: &ComponentsSpec, cache: &Path) -> Result<Self, ComponentError> {
        let failed = |error: &dyn std::fmt::Display| ComponentError::Host(error.to_string());
        let engine = engine().map_err(|error| failed(&format!("{error:#}")))?;
        let shared = Shared {
            services: Services {
                clock: Clock::start(&engine).map_err(|error| failed(&error))?,
                symbolizer: Arc::new(Symbolizer::new(spec.compiler.clone())),
                memory: Arc::new(TotalMemory::new(spec.totals.memory)),
            },
            threads: Threads::start().map_err(|error| failed(&error))?,
            linker: linker(&engine).map_err(|error| failed(&format!("{error:#}")))?,
            publishers: Shelf::new(&engine, spec.totals.sockets)
                .map_err(|error| failed(&format!("{error:#}")))?,
            cache: Arc::new(Cache::open(cache, &engine)),
            engine,
            spec: Mutex::new(Arc::new(spec.clone())),
            known: Mutex::default(),
            lanes: Lanes::default(),
            counts: Counts::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The component of this name on the component path.
    pub async fn load(&self, name: &str) -> Result<Arc<LoadedComponent>, ComponentError> {
        self.open(&self.find(name).await?).await
    }

    /// The file of the component of this name on the component path.
    pub async fn find(&self, name: &str) -> Result<PathBuf, ComponentError> {
        let (name, folders) = (name.to_owned(), self.spec().await.path.clone());
        self.blocking(move || load::find(&name, &folders)).await
    }

    /// Of a transformer: whether [`ComponentHost::open`] will answer without compiling: because the code is there and
    /// has been loaded by this, or because it is known already that there is none to be had. An
    /// error says what is wrong with the file.
    pub async fn is_cached(&self, path: &Path) -> Result<bool, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (_, digest) = self.blocking(move || load::read(&file)).await?;
        if self.known(path, digest).await.is_some() {
            return Ok(true);
        }
        // Code of a component with an interpreter takes 0.1 s to read and check: once is enough.
        let Some(component) = self.cached(digest).await? else { return Ok(false) };
        self.keep(path, digest, (component, true), begun).await?;
        Ok(true)
    }

    pub(super) fn services(&self) -> Services {
        self.0.services.clone()
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.0.publishers
    }

    /// What the configuration says of the component of this name.
    pub async fn component_spec(&self, name: &str) -> ComponentSpec {
        self.spec().await.by_name.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn all_counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The component in this file, read anew; what was compiled before is not compiled again. Its
    /// name is the file's without the ending.
    pub async fn open(&self, path: &Path) -> Result<Arc<LoadedComponent>, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (bytes, digest) = self.blocking(move || load::read(&file)).await?;
        if let Some(known) = self.known(path, digest).await {
            return known;
        }
        let made = match self.cached(digest).await? {
            Some(component) => (component, true),
            None => self.compile(path, bytes, digest).await?,
        };
        self.keep(path, digest, made, begun).await
    }

    /// Checks what code was loaded for a file, and remembers it.
    async fn keep(
        &self,
        path: &Path,
        digest: Digest,
        (component, cached): (Component, bool),
        begun: Instant,
    ) -> Result<Arc<LoadedComponent>, ComponentError> {
        let (pre, exports) = load::link(&self.0.linker, &component, path)?;
        let name = path.file_stem().map_or("component".into(), |stem| stem.to_string_lossy());
        let loaded = Arc::new(LoadedComponent {
            name: Arc::from(&*name),
            path: path.to_owned(),
            digest,
            pre,
            exports,
        });
        let mut known = self.0.known.lock().await;
        if let Some(first) = known.loaded.get(path).filter(|first| first.digest == digest) {
            return Ok(Arc::clone(first));
        }
        known.loaded.insert(path.to_owned(), Arc::clone(&loaded));
        known.loaded.retain(|path, _| path.exists());
        drop(known);
        let took = begun.elapsed();
        events::component::loaded(&loaded.name, path, &digest.to_string(), cached, took);
        Ok(loaded)
    }

    /// The count of every place that has an instance, in the order in which they were made.
    pub fn counts(&self) -> Vec<Counted> {
        self.0.counts.list()
    }

    /// What a component tells about itself.
    pub async fn describe(
        &self,
        loaded: &Arc<LoadedComponent>,
    ) -> Result<Description, ComponentError> {
        let count = Arc::new(ComponentCount::new(loaded.digest));
        let recipe = self.recipe(loaded, &Map::new(), count).await;
        self.guest(async move { Bare::new(&recipe).await?.describe().await }).await
    }

    /// A new instance with these options, ready to take batches. `place` is where in the pipeline
    /// it stands, such as `cpu_sink/0`: what [`ComponentHost::counts`] lists it under.
    pub async fn instance(
        &self,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
        place: &str,
    ) -> Result<InstanceHandle, ComponentError> {
        let count = self.0.counts.add(place, &loaded.name, loaded.digest);
        let recipe = self.recipe(loaded, options, count).await;
        let mut handle = InstanceHandle::new(self.clone(), recipe);
        handle.rebuild(None).await?;
        Ok(handle)
    }

    /// What is called `name` on the component path: the digest of its file, as it is now.
    pub async fn identify(&self, name: &str) -> Result<Digest, ComponentError> {
        let path = self.find(name).await?;
        self.blocking(move || Ok(load::read(&path)?.1)).await
    }

    /// From now on new instances have these limits, and all together these totals. The component path stays as
    /// it is.
    pub async fn set_spec(&self, spec: &ComponentsSpec) {
        let mut current = self.0.spec.lock().await;
        let (by_name, totals) = (spec.by_name.clone(), spec.totals);
        self.0.services.memory.set(totals.memory);
        self.shelf().outbound().set_sockets(totals.sockets);
        *current = Arc::new(ComponentsSpec { by_name, totals, ..(**current).clone() });
    }

    async fn spec(&self) -> Arc<ComponentsSpec> {
        Arc::clone(&*self.0.spec.lock().await)
    }

    async fn recipe(
        &self,
        loaded: &Arc<LoadedComponent>,
        options: &Map<String, Value>,
        count: Arc<ComponentCount>,
    ) -> Recipe {
        let spec = self.spec().await;
        let spec = spec.by_name.get(&*loaded.name);
        Recipe {
            loaded: Arc::clone(loaded),
            limits: spec.map(|spec| spec.limits).unwrap_or_default(),
            options: Arc::new(options.clone()),
            count,
            services: self.services(),
        }
    }

    /// What is known of this file with this content.
    pub(super) async fn known(
        &self,
        path: &Path,
        digest: Digest,
    ) -> Option<Result<Arc<LoadedComponent>, ComponentError>> {
        let known = self.0.known.lock().await;
        if let Some(reason) = known.refused.get(&digest) {
            return Some(Err(unfit(path, reason.clone())));
        }
        let loaded = known.loaded.get(path).filter(|loaded| loaded.digest == digest)?;
        Some(Ok(Arc::clone(loaded)))
    }

    pub(super) async fn cached(&self, digest: Digest) -> Result<Option<Component>, ComponentError> {
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        self.blocking(move || Ok(cache.get(&engine, &digest))).await
    }

    /// Compiles, unless that has happened while others were compiled. Says which.
    pub(super) async fn compile(
        &self,
        path: &Path,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<(Component, bool), ComponentError> {
        let turn = self.0.lanes.of(bytes.len()).lock_owned().await;
        if let Some(known) = self.known(path, digest).await {
            return known.map(|loaded| (loaded.pre.component().clone(), true));
        }
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        let compiler = self.spec().await.compiler.clone();
        let work = move || {
            // Not the waiting for it, which may be given up, but the work holds the turn.
            let _turn = turn;
            if cache.has(&digest)
                && let Some(component) = cache.get(&engine, &digest)
            {
                return Ok(Ok((component, true)));
            }
            let made = compile(compiler.as_deref(), &engine, &bytes).and_then(|mut code| {
                cache.adopt(&engine, &digest, &mut code).map_err(NotCompiled::Machine)
            });
            Ok(made.map(|component| (component, false)))
        };
        match self.blocking(work).await? {
            Ok(made) => Ok(made),
            Err(NotCompiled::Machine(reason)) => Err(unfit(path, reason)),
            Err(NotCompiled::Component(reason)) => {
                let reason = format!("it cannot be compiled: {reason}");
                events::component::not_compiled(path, &digest.to_string(), &reason);
                self.0.known.lock().await.refuse(digest, &reason);
                Err(unfit(path, reason))
            }
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
