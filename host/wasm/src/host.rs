//! [`ComponentHost`]: loads components by name or path, compiles each content once, and starts
//! instances.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::CodeCache;
use super::compile::{CompileFailure, compile};
use super::convert::Numbering;
use super::description::Description;
use super::digest::Digest;
use super::engine::{Clock, EPOCH, engine};
use super::error::{ComponentError, invalid};
use super::guest::Services;
use super::handle::InstanceHandle;
use super::instance::{InstanceSpec, Unconfigured};
use super::limits::TotalMemory;
use super::load;
use super::module_cache::LoadedComponent;
use super::module_caches::{CachedRole, ModuleCaches};
use super::outbound::Access;
use super::profile::{self, Recorder};
use super::publisher::PublisherRole;
use super::stats::{ComponentCounters, CounterRegistry, ListedComponent};
use super::symbolize::Symbolizer;
use super::threads::{GuestThreads, Threads};
use super::transformer::TransformerRole;
use nephometer_config::{ComponentSpec, ComponentsSpec, Grant, live_name};
use nephometer_model::Bound;
use nephometer_telemetry::{Heartbeats, events};

/// Failed compilations that are remembered. Each is a further version of a file; beyond this many a
/// retry is cheap enough.
const MAX_FAILED: usize = 1_000;

/// Loads components and starts instances. Cheap to clone; the guest threads end with the last
/// clone. The second field has the settings of a plan ([`ComponentHost::with_spec`]).
#[derive(Clone)]
pub struct ComponentHost(Arc<Shared>, Option<Arc<ComponentsSpec>>);

impl std::fmt::Debug for ComponentHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ComponentHost")
    }
}

struct Shared {
    services: Services,
    /// What shadows take, beside the memory of all others: a shadow takes nothing from those.
    shadow_memory: Arc<TotalMemory>,
    threads: Arc<Threads>,
    engine: Engine,
    module_caches: ModuleCaches,
    /// Replaced as a whole on reload.
    spec: Mutex<Arc<ComponentsSpec>>,
    cache: Arc<CodeCache>,
    failed: Mutex<FailedCompilations>,
    compile_locks: CompileLocks,
    counters: CounterRegistry,
}

/// The loaded code of a component.
struct CompiledCode {
    component: Component,
    /// Whether it had been compiled before.
    cached: bool,
}

impl CompiledCode {
    fn cached(component: Component) -> Self {
        Self { component, cached: true }
    }
}

/// Held during a compilation: one small and one large component at a time, and none twice. A large
/// component never delays small ones.
#[derive(Default)]
struct CompileLocks {
    small: Arc<Mutex<()>>,
    large: Arc<Mutex<()>>,
}

impl CompileLocks {
    /// The lock for a component of `component` bytes.
    fn for_size(&self, component: usize) -> Arc<Mutex<()>> {
        let small = component <= Bound::ShortComponent.size();
        Arc::clone(if small { &self.small } else { &self.large })
    }
}

/// Components that cannot be compiled, with the reason. Not retried until the file changes.
#[derive(Default)]
struct FailedCompilations(HashMap<Digest, String>);

impl FailedCompilations {
    fn add(&mut self, digest: Digest, reason: &str) {
        if self.0.len() >= MAX_FAILED {
            self.0.clear();
        }
        self.0.insert(digest, reason.to_owned());
    }
}

/// The settings after a reload. Folders and compiler are those of the start.
fn reloaded(current: &ComponentsSpec, new: &ComponentsSpec) -> ComponentsSpec {
    let (path, compiler) = (current.path.clone(), current.compiler.clone());
    ComponentsSpec { path, compiler, ..new.clone() }
}

/// The memory of all shadows.
fn shadow_memory(spec: &ComponentsSpec) -> u64 {
    spec.totals.memory / Bound::ShadowMemory.most()
}

/// The name of a file without its extension.
pub(crate) fn stem(path: &Path) -> Cow<'_, str> {
    path.file_stem().map_or("component".into(), |stem| stem.to_string_lossy())
}

impl ComponentHost {
    /// Starts the engine and the guest threads. `cache` is the directory for compiled code. An
    /// unusable one is logged; components are then compiled at every start.
    ///
    /// # Errors
    /// If the engine or a thread cannot be started.
    pub fn start(spec: &ComponentsSpec, cache: &Path) -> Result<Self, ComponentError> {
        Self::start_with(spec, cache, (EPOCH, None))
    }

    /// The same, with a profile of the guests, which costs time. Only for a host with one component.
    ///
    /// # Errors
    /// If the engine or a thread cannot be started.
    pub fn start_profiling(spec: &ComponentsSpec, cache: &Path) -> Result<Self, ComponentError> {
        Self::start_with(spec, cache, (profile::INTERVAL, Some(Arc::default())))
    }

    fn start_with(
        spec: &ComponentsSpec,
        cache: &Path,
        (epoch, recorder): (Duration, Option<Arc<Recorder>>),
    ) -> Result<Self, ComponentError> {
        let failed = |error: &dyn std::fmt::Display| ComponentError::Host(error.to_string());
        let engine = engine().map_err(|error| failed(&format!("{error:#}")))?;
        let shared = Shared {
            services: Services {
                clock: Clock::start(&engine, epoch).map_err(|error| failed(&error))?,
                symbolizer: Arc::new(Symbolizer::new(spec.compiler.clone())),
                memory: Arc::new(TotalMemory::new(spec.totals.memory)),
                recorder,
            },
            shadow_memory: Arc::new(TotalMemory::new(shadow_memory(spec))),
            threads: Arc::new(Threads::start().map_err(|error| failed(&error))?),
            module_caches: ModuleCaches::new(&engine, spec.totals.sockets)
                .map_err(|error| failed(&format!("{error:#}")))?,
            cache: Arc::new(CodeCache::open(cache, &engine)),
            engine,
            spec: Mutex::new(Arc::new(spec.clone())),
            failed: Mutex::default(),
            compile_locks: CompileLocks::default(),
            counters: CounterRegistry::default(),
        };
        Ok(Self(Arc::new(shared), None))
    }

    /// Ends the profile, and writes it in the format of the Firefox Profiler. Returns how many stacks
    /// are in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_profile(&self, out: impl std::io::Write) -> Result<u64, ComponentError> {
        let recorder = self.0.services.recorder.as_ref();
        let written = recorder.map_or(Ok(0), |recorder| recorder.finish(out));
        written.map_err(|error| ComponentError::Host(format!("{error:#}")))
    }

    /// Loads the component of this name from the component path.
    ///
    /// # Errors
    /// If it is not found or not a component of this role.
    pub async fn load<R: CachedRole>(
        &self,
        name: &str,
    ) -> Result<Arc<LoadedComponent<R>>, ComponentError> {
        self.open_as(&self.find(name).await?, name).await
    }

    /// Finds the file of the component of this name: the verified one of a registry, or one on the
    /// component path.
    ///
    /// # Errors
    /// If it is not found, or may not be used without a signature.
    pub async fn find(&self, name: &str) -> Result<PathBuf, ComponentError> {
        let spec = self.spec().await;
        if let Some(path) = load::provided(name, &spec)? {
            return Ok(path);
        }
        let name = name.to_owned();
        self.blocking(move || load::find(&name, &spec.path)).await
    }

    /// The same host with other settings, to find out what they would change. Its instances get the
    /// limits of these settings; running instances are not affected.
    pub async fn with_spec(&self, spec: &ComponentsSpec) -> Self {
        let current = Arc::clone(&*self.0.spec.lock().await);
        Self(Arc::clone(&self.0), Some(Arc::new(reloaded(&current, spec))))
    }

    /// Whether [`ComponentHost::open`] will return without compiling: the code is cached, and
    /// loaded by this call, or the compilation is known to fail.
    ///
    /// # Errors
    /// If the file cannot be read or is not a component of this role.
    pub async fn is_cached<R: CachedRole>(&self, path: &Path) -> Result<bool, ComponentError> {
        let started = Instant::now();
        let (_, digest) = self.read(path).await?;
        let named = (path, &*stem(path));
        if self.lookup::<R>(named, digest).await.is_some() {
            return Ok(true);
        }
        // Loads the code right away: with an interpreter, reading and verifying it takes 0.1 s.
        let Some(code) = self.cached(digest).await? else { return Ok(false) };
        self.register::<R>(named, digest, code, started).await?;
        Ok(true)
    }

    /// The configuration of the component of this name, or of the shadow of one.
    pub async fn component_spec(&self, name: &str) -> ComponentSpec {
        self.spec().await.settings(name)
    }

    /// Loads the component in this file. Reads the file anew, but compiles each content only once.
    /// The component's name is the file name without its extension.
    ///
    /// # Errors
    /// If it cannot be read, cannot be compiled, or is not a component of this role.
    pub async fn open<R: CachedRole>(
        &self,
        path: &Path,
    ) -> Result<Arc<LoadedComponent<R>>, ComponentError> {
        self.open_as(path, &stem(path)).await
    }

    /// The same under another name than that of the file.
    pub(crate) async fn open_as<R: CachedRole>(
        &self,
        path: &Path,
        name: &str,
    ) -> Result<Arc<LoadedComponent<R>>, ComponentError> {
        let started = Instant::now();
        let (bytes, digest) = self.read(path).await?;
        let named = (path, name);
        if let Some(known) = self.lookup(named, digest).await {
            return known;
        }
        let code = match self.cached(digest).await? {
            Some(code) => code,
            None => self.compile::<R>(named, bytes, digest).await?,
        };
        self.register(named, digest, code, started).await
    }

    async fn register<R: CachedRole>(
        &self,
        (path, name): (&Path, &str),
        digest: Digest,
        code: CompiledCode,
        started: Instant,
    ) -> Result<Arc<LoadedComponent<R>>, ComponentError> {
        let cache = R::module_cache(&self.0.module_caches);
        let (loaded, new) = cache.insert((path, name), digest, &code.component).await?;
        if new {
            let elapsed = started.elapsed();
            events::component::loaded(
                &loaded.name,
                path,
                &digest.to_string(),
                code.cached,
                elapsed,
            );
        }
        Ok(loaded)
    }

    /// The threads that guests run on.
    pub fn guest_threads(&self) -> GuestThreads {
        GuestThreads::new(&self.0.threads)
    }

    /// The heartbeats of the threads that guests run on. The agent adds those of its tasks.
    pub fn heartbeats(&self) -> Heartbeats {
        self.0.threads.heartbeats().clone()
    }

    /// The counters of all components in pipelines, in order of creation.
    pub fn list_components(&self) -> Vec<ListedComponent> {
        self.0.counters.list()
    }

    /// Starts an instance and reads its description.
    pub(crate) async fn describe<R: CachedRole>(
        &self,
        loaded: &Arc<LoadedComponent<R>>,
        access: R::NetworkAccess,
    ) -> Result<Description, ComponentError> {
        let counters = Arc::new(ComponentCounters::new(loaded.digest));
        let spec = self.instance_spec(loaded, Map::new(), counters, access).await;
        let work = async move { Unconfigured::new(&spec).await?.describe().await };
        self.0.threads.guest(work).await
    }

    /// Starts a transformer with these options. `location` is its location in the pipeline, such as
    /// `cpu_sink/0`, under which [`ComponentHost::list_components`] lists it. `numbering` is
    /// [`Numbering::Ascending`], except to test whether results depend on numbers.
    ///
    /// # Errors
    /// If the instance fails or the options are invalid.
    pub async fn transformer(
        &self,
        loaded: &Arc<LoadedComponent<TransformerRole>>,
        options: &Map<String, Value>,
        location: &str,
        numbering: Numbering,
    ) -> Result<InstanceHandle<TransformerRole>, ComponentError> {
        let counters = self.0.counters.add(location, &loaded.name, loaded.digest);
        let spec = self.instance_spec(loaded, options.clone(), counters, ()).await;
        self.start_instance(InstanceSpec { numbering, ..spec }).await
    }

    /// Starts a publisher with these options. `url` are the grants of its own URL, in addition to
    /// those of the configuration. `location` is as for [`ComponentHost::transformer`].
    ///
    /// # Errors
    /// If the instance fails or the options are invalid.
    pub async fn publisher(
        &self,
        loaded: &Arc<LoadedComponent<PublisherRole>>,
        url: Vec<Grant>,
        options: Map<String, Value>,
        location: &str,
    ) -> Result<InstanceHandle<PublisherRole>, ComponentError> {
        let counters = self.0.counters.add(location, &loaded.name, loaded.digest);
        let spec = self.component_spec(&loaded.name).await;
        let outbound = &self.0.module_caches.outbound;
        let access = Access::new(&loaded.name, url, &spec.connect, outbound, &counters)
            .trusting(spec.cloud.and_then(|cloud| cloud.ca));
        self.start_instance(self.instance_spec(loaded, options, counters, Arc::new(access)).await)
            .await
    }

    /// Network access of a publisher that is only described: none.
    pub(crate) fn no_access(&self, loaded: &LoadedComponent<PublisherRole>) -> Arc<Access> {
        let counters = Arc::new(ComponentCounters::new(loaded.digest));
        let outbound = &self.0.module_caches.outbound;
        Arc::new(Access::new(&loaded.name, Vec::new(), &[], outbound, &counters))
    }

    async fn start_instance<R: CachedRole>(
        &self,
        spec: InstanceSpec<R>,
    ) -> Result<InstanceHandle<R>, ComponentError> {
        let mut handle = InstanceHandle::new(&self.0.threads, spec);
        handle.rebuild(None).await?;
        Ok(handle)
    }

    /// The digest of the component `name` on the component path, as the file is now.
    ///
    /// # Errors
    /// If it is not found or cannot be read.
    pub async fn identify(&self, name: &str) -> Result<Digest, ComponentError> {
        Ok(self.read(&self.find(name).await?).await?.1)
    }

    /// Changes the limits of new instances, and the totals of all instances. The component path
    /// does not change.
    pub async fn set_spec(&self, spec: &ComponentsSpec) {
        let mut current = self.0.spec.lock().await;
        self.0.services.memory.set(spec.totals.memory);
        self.0.shadow_memory.set(shadow_memory(spec));
        self.0.module_caches.outbound.set_sockets(spec.totals.sockets);
        *current = Arc::new(reloaded(&current, spec));
    }

    async fn spec(&self) -> Arc<ComponentsSpec> {
        match &self.1 {
            Some(spec) => Arc::clone(spec),
            None => Arc::clone(&*self.0.spec.lock().await),
        }
    }

    /// Reads a file. One from a registry must have the content that was verified.
    async fn read(&self, path: &Path) -> Result<(Vec<u8>, Digest), ComponentError> {
        let (file, spec) = (path.to_owned(), self.spec().await);
        self.blocking(move || load::read_verified(&file, &spec)).await
    }

    async fn instance_spec<R: CachedRole>(
        &self,
        loaded: &Arc<LoadedComponent<R>>,
        options: Map<String, Value>,
        counters: Arc<ComponentCounters>,
        access: R::NetworkAccess,
    ) -> InstanceSpec<R> {
        let mut services = self.0.services.clone();
        if live_name(&loaded.name) != &*loaded.name {
            services.memory = Arc::clone(&self.0.shadow_memory);
        }
        InstanceSpec {
            loaded: Arc::clone(loaded),
            limits: self.component_spec(&loaded.name).await.limits,
            options: Arc::new(options),
            access,
            counters,
            services,
            numbering: Numbering::default(),
        }
    }

    /// The loaded component or the failed compilation of this file with this content.
    async fn lookup<R: CachedRole>(
        &self,
        (path, name): (&Path, &str),
        digest: Digest,
    ) -> Option<Result<Arc<LoadedComponent<R>>, ComponentError>> {
        if let Some(reason) = self.0.failed.lock().await.0.get(&digest) {
            return Some(Err(invalid(path, reason.clone())));
        }
        R::module_cache(&self.0.module_caches).get((path, name), digest).await.map(Ok)
    }

    async fn cached(&self, digest: Digest) -> Result<Option<CompiledCode>, ComponentError> {
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        self.blocking(move || Ok(cache.get(&engine, &digest).map(CompiledCode::cached))).await
    }

    /// Compiles a component, unless another task has done so in the meantime.
    async fn compile<R: CachedRole>(
        &self,
        named: (&Path, &str),
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<CompiledCode, ComponentError> {
        let path = named.0;
        let lock = self.0.compile_locks.for_size(bytes.len()).lock_owned().await;
        if let Some(known) = self.lookup::<R>(named, digest).await {
            return known.map(|loaded| CompiledCode::cached(loaded.code().clone()));
        }
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        let compiler = self.spec().await.compiler.clone();
        let work = move || {
            // Held by the work, because the caller may stop waiting for it.
            let _lock = lock;
            if cache.has(&digest)
                && let Some(code) = cache.get(&engine, &digest)
            {
                return Ok(Ok(CompiledCode::cached(code)));
            }
            let compiled = compile(compiler.as_deref(), &engine, &bytes).and_then(|mut code| {
                cache.store(&engine, &digest, &mut code).map_err(CompileFailure::Environment)
            });
            Ok(compiled.map(|component| CompiledCode { component, cached: false }))
        };
        match self.blocking(work).await? {
            Ok(compiled) => Ok(compiled),
            Err(CompileFailure::Environment(reason)) => Err(invalid(path, reason)),
            Err(CompileFailure::Component(reason)) => {
                let reason = format!("cannot be compiled: {reason}");
                events::component::compilation_failed(path, &digest.to_string(), &reason);
                self.0.failed.lock().await.add(digest, &reason);
                Err(invalid(path, reason))
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
    ) -> Result<T, ComponentError> {
        self.0.threads.blocking(work).await
    }
}
