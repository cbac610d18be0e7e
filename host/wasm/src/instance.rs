//! One instance of a component: a store of its own, used by one call at a time.
//!
//! Whatever goes wrong in a call, the instance is not used again: a trap leaves it unusable, and
//! a guest that answers nonsense cannot be trusted with its own state either.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wasmtime::component::HasSelf;
use wasmtime::{Engine, Store, UpdateDeadline};

use super::bindings;
use super::bindings::exports::nephometer::metering as exported;
use super::bindings::nephometer::metering::{log, types};
use super::contract;
use super::convert::{self, Columns, Filter, Texts};
use super::engine::{AtWork, Clock};
use super::error::ComponentError;
use super::handle::State;
use super::host::Recipe;
use super::limits::{Hit, Limiter, TotalMemory};
use super::log::{GuestLog, clean};
use super::outbound::exceeded;
use super::stats::ComponentCount;
use super::symbolize::{Origin, Symbolizer};
use super::trap;
use nephometer_config::LimitsSpec;
use nephometer_model::{Batch, Bound, Exceeded, Sample, Timestamp};
use nephometer_telemetry::events;

/// How wasmtime says that a call handed over more than it may; it has no type for it.
const RETURNED_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";
/// How it says that there are too many instances, memories or tables, likewise.
const TOO_MANY: &str = "resource limit exceeded";

/// What all guests of a host share.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) clock: Clock,
    pub(super) symbolizer: Arc<Symbolizer>,
    pub(super) memory: Arc<TotalMemory>,
}

/// What belongs to one store: its account, its log and its clock.
pub(super) struct Guest {
    pub(super) limiter: Limiter,
    log: GuestLog,
    services: Services,
    origin: Origin,
    at_work: Option<AtWork>,
}

impl Guest {
    pub(super) fn new(
        limits: LimitsSpec,
        name: &Arc<str>,
        count: &Arc<ComponentCount>,
        services: &Services,
        origin: Origin,
    ) -> Self {
        let limiter = Limiter::new(limits, Arc::clone(count), Arc::clone(&services.memory));
        let log = GuestLog::new(Arc::clone(name), Arc::clone(count));
        Self { limiter, log, services: services.clone(), origin, at_work: None }
    }

    /// What this call writes has been logged before.
    pub(super) fn quiet(&mut self) {
        self.log.quiet();
    }
}

impl AsMut<Guest> for Guest {
    fn as_mut(&mut self) -> &mut Guest {
        self
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) {
        self.log.write(level, &message);
    }
}

impl types::Host for Guest {}

/// The imports of every component.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<wasmtime::component::Linker<Guest>> {
    let mut linker = wasmtime::component::Linker::new(engine);
    bindings::StatefulTransformer::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The component says that this input cannot be worked on. The instance is well.
    Rejected(String),
    /// The instance is gone, with what happened.
    Failed(String),
}

/// What a component tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name, as in `pipeline.yaml`.
    pub name: String,
    /// Its own version, free text.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// JSON Schema of the options; empty if anything goes.
    pub options_schema: String,
    /// Version of the format of its state; 0 if it keeps none.
    pub state_version: u32,
}

impl From<exported::component::Description> for Description {
    fn from(given: exported::component::Description) -> Self {
        Self {
            name: clean(&given.name),
            version: clean(&given.version),
            summary: clean(&given.summary),
            options_schema: given.options_schema,
            state_version: given.state_version,
        }
    }
}

/// An instance with its functions, not configured yet.
pub(super) struct Bare {
    name: Arc<str>,
    store: Store<Guest>,
    component: exported::component::Guest,
    transform: exported::transform::Guest,
    stateful: Option<exported::stateful::Guest>,
}

/// A configured instance.
pub(super) struct Instance {
    bare: Bare,
    filter: Filter,
    texts: Texts,
    state_version: u32,
}

impl Bare {
    pub(super) async fn new(recipe: &Recipe) -> Result<Self, ComponentError> {
        let Recipe { loaded, limits, count, services, .. } = recipe;
        let (name, limits) = (Arc::clone(&loaded.name), *limits);
        let origin = Origin { path: loaded.path.clone(), digest: loaded.digest };
        let guest = Guest::new(limits, &name, count, services, origin);
        let mut store = Store::new(loaded.pre.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.returned).unwrap_or(usize::MAX));
        store.set_max_component_handles(Bound::Handles.size());
        store.epoch_deadline_callback(|mut store| {
            let within = store.data_mut().limiter.tick();
            Ok(if within { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt })
        });
        let wall = begin(&mut store);
        let work = count.timed(loaded.pre.instantiate_async(&mut store));
        let instance = timeout(wall, work).await;
        let instance = end(&mut store, &name, "instantiate", instance)
            .await
            .map_err(failed(&name, "instantiate"))?;
        count.made();
        let unfit = |error: wasmtime::Error| failed(&name, "instantiate")(cause(&error));
        let exports = &loaded.exports;
        let component = exports.component.load(&mut store, &instance).map_err(unfit)?;
        let transform = exports.transform.load(&mut store, &instance).map_err(unfit)?;
        let stateful = match &exports.stateful {
            Some(stateful) => Some(stateful.load(&mut store, &instance).map_err(unfit)?),
            None => None,
        };
        Ok(Self { name, store, component, transform, stateful })
    }

    pub(super) async fn describe(&mut self) -> Result<Description, ComponentError> {
        contract::describe(&self.name, &mut self.store, &self.component).await
    }

    /// Checks the options, and hands them over if they fit.
    pub(super) async fn configure(
        mut self,
        description: &Description,
        given: &Map<String, Value>,
    ) -> Result<Instance, ComponentError> {
        let (schema, store) = (&description.options_schema, &mut self.store);
        let settings =
            contract::configure(&self.name, store, &self.component, schema, given).await?;
        let filter = Filter::new(&settings.meters).map_err(|error| {
            failed(&self.name, "configure")(format!("settings.meters: {error}"))
        })?;
        let (texts, state_version) = (Texts::new(settings.metadata), description.state_version);
        Ok(Instance { bare: self, filter, texts, state_version })
    }
}

impl Instance {
    /// Gives an earlier instance's state to this one.
    pub(super) async fn restore(
        &mut self,
        version: u32,
        state: &[u8],
    ) -> Result<(), ComponentError> {
        let Bare { name, store, stateful, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(()) };
        let count = counted(store);
        let wall = begin(store);
        if let Err(exceeded) = Bound::State.check(state.len()) {
            return Err(failed(name, "restore")(over(store, name, "restore", exceeded)));
        }
        let work = count.timed(stateful.call_restore(&mut *store, version, state));
        let result = timeout(wall, work).await;
        end(store, name, "restore", result)
            .await
            .and_then(|answer| answer.map_err(|reason| clean(&reason)))
            .map_err(failed(name, "restore"))
    }

    pub(super) async fn transform(&mut self, batch: &Batch) -> Result<Vec<Sample>, CallError> {
        let columns = Columns::new(batch, &self.filter).map_err(CallError::Rejected)?;
        if columns.is_empty() {
            return Ok(batch.samples.clone());
        }
        let parts = columns.parts(&mut self.texts);
        let Bare { name, store, transform, .. } = &mut self.bare;
        let argument = columns.argument(&parts);
        let count = counted(store);
        let wall = begin(store);
        let work = count.timed(transform.call_transform(&mut *store, argument));
        let result = timeout(wall, work).await;
        let answer = end(store, name, "transform", result).await.map_err(CallError::Failed)?;
        let outcome = answer.map_err(|refusal| refused(refusal, &count))?;
        let made = convert::transformed(outcome, &columns)
            .map_err(|reason| malformed("transform", &reason, &count))?;
        // What passed by it is in the answer, but has not been its own.
        let by = batch.samples.len() - columns.len();
        count.rows(columns.len(), made.len().saturating_sub(by));
        Ok(made)
    }

    pub(super) async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        let Bare { name, store, stateful, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(Vec::new()) };
        let count = counted(store);
        let wall = begin(store);
        let work = count.timed(stateful.call_flush(&mut *store, now.as_nanos()));
        let result = timeout(wall, work).await;
        let answer = end(store, name, "flush", result).await.map_err(CallError::Failed)?;
        let answer = answer.map_err(|refusal| refused(refusal, &count))?;
        let made =
            convert::flushed(answer, now).map_err(|reason| malformed("flush", &reason, &count))?;
        count.rows(0, made.len());
        Ok(made)
    }

    pub(super) async fn save(&mut self) -> Result<Option<State>, CallError> {
        let version = self.state_version;
        let Bare { name, store, stateful, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(None) };
        let count = counted(store);
        let wall = begin(store);
        let ordinary = store.hostcall_fuel();
        // A state may be larger than an answer; its own limit is looked at below.
        store.set_hostcall_fuel(ordinary.max(Bound::State.size() / 4 * 5));
        let work = count.timed(stateful.call_save(&mut *store));
        let result = timeout(wall, work).await;
        store.set_hostcall_fuel(ordinary);
        let saved = end(store, name, "save", result).await.map_err(CallError::Failed)?;
        match saved {
            Ok(bytes) => match Bound::State.check(bytes.len()) {
                Ok(()) => Ok(Some(State { version, bytes: Arc::new(bytes) })),
                Err(exceeded) => Err(CallError::Failed(over(store, name, "save", exceeded))),
            },
            Err(reason) => Err(CallError::Rejected(clean(&reason))),
        }
    }
}

fn refused(refusal: exported::transform::Refusal, count: &ComponentCount) -> CallError {
    match refusal {
        exported::transform::Refusal::Rejected(reason) => CallError::Rejected(clean(&reason)),
        exported::transform::Refusal::Broken(reason) => {
            let reason = format!("it says that it is broken: {}", clean(&reason));
            count.failed(false, &reason);
            CallError::Failed(reason)
        }
    }
}

fn malformed(call: &str, reason: &str, count: &ComponentCount) -> CallError {
    let reason = format!("its answer to {call} is malformed: {reason}");
    count.failed(false, &reason);
    CallError::Failed(reason)
}

/// What counts for this instance's place.
pub(super) fn counted<T: AsMut<Guest>>(store: &mut Store<T>) -> Arc<ComponentCount> {
    Arc::clone(store.data_mut().as_mut().limiter.count())
}

/// A bound that shows only when the call is over, in words.
pub(super) fn over<T: AsMut<Guest>>(
    store: &mut Store<T>,
    name: &str,
    call: &str,
    exceeded: Exceeded,
) -> String {
    let reason = exceeded.to_string();
    events::component::limit_hit(name, exceeded.bound.row().name, call);
    store.data_mut().as_mut().limiter.count().failed(true, &reason);
    reason
}

pub(super) fn failed(name: &str, call: &'static str) -> impl Fn(String) -> ComponentError {
    let component = name.to_owned();
    move |reason| ComponentError::Failed { component: component.clone(), call, reason }
}

/// A call begins: all that is counted per call starts anew. How long it may take.
pub(super) fn begin<T: AsMut<Guest>>(store: &mut Store<T>) -> Duration {
    let guest = store.data_mut().as_mut();
    guest.limiter.begin_call();
    guest.limiter.count().called();
    guest.log.begin_call();
    guest.at_work = Some(guest.services.clock.work());
    let wall = guest.limiter.limits().wall;
    store.set_epoch_deadline(1);
    wall
}

/// A call has ended: its result, or in words why there is none.
pub(super) async fn end<T, D: AsMut<Guest>>(
    store: &mut Store<D>,
    name: &str,
    call: &str,
    result: Result<wasmtime::Result<T>, Elapsed>,
) -> Result<T, String> {
    let guest = store.data_mut().as_mut();
    guest.at_work = None;
    guest.log.end_call();
    let (error, hit) = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => {
            let hit = which(&cause(&error), call).or(guest.limiter.hit());
            (Some(error), hit)
        }
        Err(_) => (None, Some(Hit::Wall)),
    };
    let mut reason = String::new();
    if let Some(hit) = hit {
        events::component::limit_hit(name, hit.as_str(), call);
        reason.push_str(&guest.limiter.describe(name, hit));
    }
    if let Some(error) = &error {
        let (symbolizer, origin) = (Arc::clone(&guest.services.symbolizer), guest.origin.clone());
        trap::explain(error, hit, (&symbolizer, &origin), &mut reason).await;
    }
    let guest = store.data_mut().as_mut();
    let lines: Vec<String> = guest.log.tail().collect();
    if !lines.is_empty() {
        reason.push_str("; its last words: ");
        reason.push_str(&lines.join(" | "));
    }
    guest.limiter.count().failed(hit.is_some(), &reason);
    Err(reason)
}

/// The limit that wasmtime names in words only.
fn which(cause: &str, call: &str) -> Option<Hit> {
    if cause.contains(RETURNED_EXHAUSTED) {
        Some(if call == "save" { Hit::State } else { Hit::Returned })
    } else if cause.contains(TOO_MANY) {
        Some(Hit::Parts)
    } else {
        None
    }
}

/// What made a call fail, on one line. Never the error as a whole: its text holds the guest's stack, whose
/// names may be of any length and number.
pub(super) fn cause(error: &wasmtime::Error) -> String {
    match exceeded(error) {
        Some(exceeded) => exceeded.to_string(),
        None => clean(&error.root_cause().to_string()),
    }
}
