use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compile::{NotCompiled, compile};
use super::convert::Numbering;
use super::description::Description;
use super::digest::Digest;
use super::engine::{Clock, engine};
use super::error::{ComponentError, unfit};
use super::guest::Services;
use super::handle::InstanceHandle;
use super::instance::{InstanceSpec, Unconfigured};
use super::limits::TotalMemory;
use super::load;
use super::module_cache::Loaded;
use super::module_caches::{CachedRole, ModuleCaches};
use super::outbound::Access;
use super::publisher::PublisherRole;
use super::stats::{ComponentCount, Counted, Counts};
use super::symbolize::Symbolizer;
use super::threads::{GuestThreads, Threads};
use super::transformer::TransformerRole;
use nephometer_config::{ComponentSpec, ComponentsSpec, Grant};
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
    threads: Arc<Threads>,
    engine: Engine,
    module_caches: ModuleCaches,
    /// Replaced as a whole when the configuration is read again.
    spec: Mutex<Arc<ComponentsSpec>>,
    cache: Arc<Cache>,
    refused: Mutex<Refused>,
    lanes: Lanes,
    counts: Counts,
}

/// The code of a component.
struct FoundCode {
    component: Component,
    /// It was compiled before.
    cached: bool,
}

impl FoundCode {
    fn cached(component: Component) -> Self {
        Self { component, cached: true }
    }
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

/// Components that cannot be compiled, and why: not tried again until the file changes.
#[derive(Default)]
struct Refused(HashMap<Digest, String>);

impl Refused {
    fn add(&mut self, digest: Digest, reason: &str) {
        if self.0.len() >= REFUSED {
            self.0.clear();
        }
        self.0.insert(digest, reason.to_owned());
    }
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
            threads: Arc::new(Threads::start().map_err(|error| failed(&error))?),
            module_caches: ModuleCaches::new(&engine, spec.totals.sockets)
                .map_err(|error| failed(&format!("{error:#}")))?,
            cache: Arc::new(Cache::open(cache, &engine)),
            engine,
            spec: Mutex::new(Arc::new(spec.clone())),
            refused: Mutex::default(),
            lanes: Lanes::default(),
            counts: Counts::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The component of this name on the component path.
    ///
    /// # Errors
    /// If there is none, or it does not fit.
    pub async fn load<R: CachedRole>(&self, name: &str) -> Result<Arc<Loaded<R>>, ComponentError> {
        self.open(&self.find(name).await?).await
    }

    /// The file of the component of this name on the component path.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find(&self, name: &str) -> Result<PathBuf, ComponentError> {
        let (name, folders) = (name.to_owned(), self.spec().await.path.clone());
        self.blocking(move || load::find(&name, &folders)).await
    }

    /// Whether [`ComponentHost::open`] will return without compiling: because the code is there and
    /// has been loaded by this, or because it is known already that there is none to be had.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub async fn is_cached<R: CachedRole>(&self, path: &Path) -> Result<bool, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (_, digest) = self.blocking(move || load::read(&file)).await?;
        if self.known::<R>(path, digest).await.is_some() {
            return Ok(true);
        }
        // Code of a component with an interpreter takes 0.1 s to read and check: once is enough.
        let Some(code) = self.cached(digest).await? else { return Ok(false) };
        self.keep::<R>(path, digest, code, begun).await?;
        Ok(true)
    }

    /// What the configuration says of the component of this name.
    pub async fn component_spec(&self, name: &str) -> ComponentSpec {
        self.spec().await.by_name.get(name).cloned().unwrap_or_default()
    }

    /// The component in this file, read anew; what was compiled before is not compiled again. Its
    /// name is the file's without the ending.
    ///
    /// # Errors
    /// If it cannot be read, cannot be compiled, or does not fit.
    pub async fn open<R: CachedRole>(&self, path: &Path) -> Result<Arc<Loaded<R>>, ComponentError> {
        let begun = Instant::now();
        let file = path.to_owned();
        let (bytes, digest) = self.blocking(move || load::read(&file)).await?;
        if let Some(known) = self.known(path, digest).await {
            return known;
        }
        let made = match self.cached(digest).await? {
            Some(code) => code,
            None => self.compile::<R>(path, bytes, digest).await?,
        };
        self.keep(path, digest, made, begun).await
    }

    async fn keep<R: CachedRole>(
        &self,
        path: &Path,
        digest: Digest,
        code: FoundCode,
        begun: Instant,
    ) -> Result<Arc<Loaded<R>>, ComponentError> {
        let (loaded, new) =
            R::module_cache(&self.0.module_caches).keep(path, digest, &code.component).await?;
        if new {
            let took = begun.elapsed();
            events::component::loaded(&loaded.name, path, &digest.to_string(), code.cached, took);
        }
        Ok(loaded)
    }

    /// Where guests run.
    pub fn guest_threads(&self) -> GuestThreads {
        GuestThreads::new(&self.0.threads)
    }

    /// The count of every place that has an instance, in the order in which they were made.
    pub fn counts(&self) -> Vec<Counted> {
        self.0.counts.list()
    }

    /// What a component reports about itself. It reaches nothing meanwhile.
    pub(crate) async fn describe<R: CachedRole>(
        &self,
        loaded: &Arc<Loaded<R>>,
        reach: R::Reach,
    ) -> Result<Description, ComponentError> {
        let count = Arc::new(ComponentCount::new(loaded.digest));
        let spec = self.instance_spec(loaded, Map::new(), count, reach).await;
        let describing = async move { Unconfigured::new(&spec).await?.describe().await };
        self.0.threads.guest(describing).await
    }

    /// A new transformer with these options, ready to take batches. `place` is where in the pipeline
    /// it stands, such as `cpu_sink/0`: what [`ComponentHost::counts`] lists it under. `numbering` is
    /// [`Numbering::Ascending`], except to see whether results depend on numbers.
    ///
    /// # Errors
    /// If an instance cannot be made, or the options do not fit.
    pub async fn transformer(
        &self,
        loaded: &Arc<Loaded<TransformerRole>>,
        options: &Map<String, Value>,
        place: &str,
        numbering: Numbering,
    ) -> Result<InstanceHandle<TransformerRole>, ComponentError> {
        let count = self.0.counts.add(place, &loaded.name, loaded.digest);
        let spec = self.instance_spec(loaded, options.clone(), count, ()).await;
        self.place(InstanceSpec { numbering, ..spec }).await
    }

    /// A new publisher with these options, ready to take envelopes. `url` is what its own URL grants;
    /// what the configuration grants and limits is known here. `place` is what
    /// [`ComponentHost::counts`] lists it under.
    ///
    /// # Errors
    /// If an instance cannot be made, or the options do not fit.
    pub async fn publisher(
        &self,
        loaded: &Arc<Loaded<PublisherRole>>,
        url: Vec<Grant>,
        options: Map<String, Value>,
        place: &str,
    ) -> Result<InstanceHandle<PublisherRole>, ComponentError> {
        let count = self.0.counts.add(place, &loaded.name, loaded.digest);
        let connect = self.component_spec(&loaded.name).await.connect;
        let outbound = &self.0.module_caches.outbound;
        let access = Access::new(&loaded.name, url, &connect, outbound, &count);
        self.place(self.instance_spec(loaded, options, count, Arc::new(access)).await).await
    }

    /// What a publisher may reach of which nothing is asked but what it is.
    pub(crate) fn no_access(&self, loaded: &Loaded<PublisherRole>) -> Arc<Access> {
        let count = Arc::new(ComponentCount::new(loaded.digest));
        let outbound = &self.0.module_caches.outbound;
        Arc::new(Access::new(&loaded.name, Vec::new(), &[], outbound, &count))
    }

    async fn place<R: CachedRole>(
        &self,
        spec: InstanceSpec<R>,
    ) -> Result<InstanceHandle<R>, ComponentError> {
        let mut handle = InstanceHandle::new(&self.0.threads, spec);
        handle.rebuild(None).await?;
        Ok(handle)
    }

    /// What is called `name` on the component path: the digest of its file, as it is now.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub async fn identify(&self, name: &str) -> Result<Digest, ComponentError> {
        let path = self.find(name).await?;
        self.blocking(move || Ok(load::read(&path)?.1)).await
    }

    /// From now on new instances have these limits, and all together these totals. The component path
    /// stays as it is.
    pub async fn set_spec(&self, spec: &ComponentsSpec) {
        let mut current = self.0.spec.lock().await;
        let (by_name, totals) = (spec.by_name.clone(), spec.totals);
        self.0.services.memory.set(totals.memory);
        self.0.module_caches.outbound.set_sockets(totals.sockets);
        *current = Arc::new(ComponentsSpec { by_name, totals, ..(**current).clone() });
    }

    async fn spec(&self) -> Arc<ComponentsSpec> {
        Arc::clone(&*self.0.spec.lock().await)
    }

    async fn instance_spec<R: CachedRole>(
        &self,
        loaded: &Arc<Loaded<R>>,
        options: Map<String, Value>,
        count: Arc<ComponentCount>,
        reach: R::Reach,
    ) -> InstanceSpec<R> {
        InstanceSpec {
            loaded: Arc::clone(loaded),
            limits: self.component_spec(&loaded.name).await.limits,
            options: Arc::new(options),
            reach,
            count,
            services: self.0.services.clone(),
            numbering: Numbering::default(),
        }
    }

    /// What is known of this file with this content.
    async fn known<R: CachedRole>(
        &self,
        path: &Path,
        digest: Digest,
    ) -> Option<Result<Arc<Loaded<R>>, ComponentError>> {
        if let Some(reason) = self.0.refused.lock().await.0.get(&digest) {
            return Some(Err(unfit(path, reason.clone())));
        }
        R::module_cache(&self.0.module_caches).last(path, digest).await.map(Ok)
    }

    async fn cached(&self, digest: Digest) -> Result<Option<FoundCode>, ComponentError> {
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        self.blocking(move || Ok(cache.get(&engine, &digest).map(FoundCode::cached))).await
    }

    /// Compiles, unless that has happened while others were compiled. Says which.
    async fn compile<R: CachedRole>(
        &self,
        path: &Path,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<FoundCode, ComponentError> {
        let turn = self.0.lanes.of(bytes.len()).lock_owned().await;
        if let Some(known) = self.known::<R>(path, digest).await {
            return known.map(|loaded| FoundCode::cached(loaded.code().clone()));
        }
        let (engine, cache) = (self.0.engine.clone(), Arc::clone(&self.0.cache));
        let compiler = self.spec().await.compiler.clone();
        let work = move || {
            // Not the waiting for it, which may be given up, but the work holds the turn.
            let _turn = turn;
            if cache.has(&digest)
                && let Some(code) = cache.get(&engine, &digest)
            {
                return Ok(Ok(FoundCode::cached(code)));
            }
            let made = compile(compiler.as_deref(), &engine, &bytes).and_then(|mut code| {
                cache.adopt(&engine, &digest, &mut code).map_err(NotCompiled::Machine)
            });
            Ok(made.map(|component| FoundCode { component, cached: false }))
        };
        match self.blocking(work).await? {
            Ok(made) => Ok(made),
            Err(NotCompiled::Machine(reason)) => Err(unfit(path, reason)),
            Err(NotCompiled::Component(reason)) => {
                let reason = format!("it cannot be compiled: {reason}");
                events::component::compilation_failed(path, &digest.to_string(), &reason);
                self.0.refused.lock().await.add(digest, &reason);
                Err(unfit(path, reason))
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
