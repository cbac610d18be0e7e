//! One instance of a component: a store of its own, used by one call at a time.
//!
//! Whatever goes wrong in a call, the instance is not used again: a trap leaves it unusable, and
//! a guest that answers nonsense cannot be trusted with its own state either.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wasmtime::component::HasSelf;
use wasmtime::{Engine, Store, UpdateDeadline, WasmBacktrace};

use super::bindings;
use super::bindings::exports::nephometer::metering as exported;
use super::bindings::nephometer::metering::{log, types};
use super::convert::{self, Columns, Filter, Texts};
use super::error::{ComponentError, OptionFault};
use super::handle::State;
use super::host::Recipe;
use super::limits::{Hit, Limiter};
use super::log::{GuestLog, clean};
use super::options;
use super::stats::{ComponentCount, Timed};
use crate::model::{Batch, Sample, Timestamp};
use crate::telemetry::events;

/// Frames of the guest's stack that are told with a trap.
const FRAMES: usize = 5;
/// How wasmtime says that a call handed over more than it may; it has no type for it.
const RETURNED_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";
/// Handles to resources, of which the contract has none.
const HANDLES: usize = 100;

/// What belongs to one store: its account and its log.
pub(super) struct Guest {
    limiter: Limiter,
    log: GuestLog,
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
    count: Arc<ComponentCount>,
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
        let Recipe { loaded, limits, count, .. } = recipe;
        let (limits, count) = (*limits, Arc::clone(count));
        count.instances.fetch_add(1, Relaxed);
        let name = Arc::clone(&loaded.name);
        let guest = Guest { limiter: Limiter::new(limits), log: GuestLog::new(Arc::clone(&name)) };
        let mut store = Store::new(loaded.pre.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.returned).unwrap_or(usize::MAX));
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(|mut store| {
            let within = store.data_mut().limiter.tick();
            Ok(if within { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt })
        });
        let wall = begin(&mut store);
        let call = loaded.pre.instantiate_async(&mut store);
        let instance = timed(wall, &count, call).await;
        let instance = end(&mut store, (&name, &count), "instantiate", instance)
            .map_err(failed(&name, "instantiate"))?;
        let unfit = |error: wasmtime::Error| failed(&name, "instantiate")(format!("{error:#}"));
        let exports = &loaded.exports;
        let component = exports.component.load(&mut store, &instance).map_err(unfit)?;
        let transform = exports.transform.load(&mut store, &instance).map_err(unfit)?;
        let stateful = match &exports.stateful {
            Some(stateful) => Some(stateful.load(&mut store, &instance).map_err(unfit)?),
            None => None,
        };
        Ok(Self { name, store, component, transform, stateful, count })
    }

    pub(super) async fn describe(&mut self) -> Result<Description, ComponentError> {
        let wall = begin(&mut self.store);
        let call = self.component.call_describe(&mut self.store);
        let result = timed(wall, &self.count, call).await;
        end(&mut self.store, (&self.name, &self.count), "describe", result)
            .map(Into::into)
            .map_err(failed(&self.name, "describe"))
    }

    /// Checks the options, and hands them over if they fit.
    pub(super) async fn configure(
        mut self,
        description: &Description,
        given: &Map<String, Value>,
    ) -> Result<Instance, ComponentError> {
        let wrong = |faults| ComponentError::Options { component: self.name.to_string(), faults };
        match options::check(&description.options_schema, given) {
            Err(reason) => return Err(failed(&self.name, "describe")(reason)),
            Ok(faults) if !faults.is_empty() => return Err(wrong(faults)),
            Ok(_) => {}
        }
        let text = Value::Object(given.clone()).to_string();
        let wall = begin(&mut self.store);
        let call = self.component.call_configure(&mut self.store, &text);
        let result = timed(wall, &self.count, call).await;
        let settings = end(&mut self.store, (&self.name, &self.count), "configure", result)
            .map_err(failed(&self.name, "configure"))?
            .map_err(|errors| {
                let faults = errors.into_iter().map(|error| OptionFault {
                    pointer: error.pointer,
                    reason: clean(&error.reason),
                });
                let component = self.name.to_string();
                ComponentError::Options { component, faults: faults.collect() }
            })?;
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
        let Bare { name, store, stateful, count, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(()) };
        let wall = begin(store);
        let result = timed(wall, count, stateful.call_restore(&mut *store, version, state)).await;
        end(store, (name, count), "restore", result)
            .and_then(|answer| answer.map_err(|reason| clean(&reason)))
            .map_err(failed(name, "restore"))
    }

    pub(super) async fn transform(&mut self, batch: &Batch) -> Result<Vec<Sample>, CallError> {
        let columns = Columns::new(batch, &self.filter).map_err(CallError::Rejected)?;
        if columns.is_empty() {
            return Ok(batch.samples.clone());
        }
        let parts = columns.parts(&mut self.texts);
        let Bare { name, store, transform, count, .. } = &mut self.bare;
        let argument = columns.argument(&parts);
        let wall = begin(store);
        let result = timed(wall, count, transform.call_transform(&mut *store, argument)).await;
        let answer = end(store, (name, count), "transform", result).map_err(CallError::Failed)?;
        let outcome = answer.map_err(refused)?;
        count.rows_in.fetch_add(columns.len(), Relaxed);
        let samples = convert::transformed(outcome, &columns)
            .map_err(|reason| malformed("transform", &reason))?;
        count.rows_out.fetch_add((samples.len() - columns.passed_by()) as u64, Relaxed);
        Ok(samples)
    }

    pub(super) async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        let Bare { name, store, stateful, count, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(Vec::new()) };
        let wall = begin(store);
        let result = timed(wall, count, stateful.call_flush(&mut *store, now.as_nanos())).await;
        let answer = end(store, (name, count), "flush", result).map_err(CallError::Failed)?;
        let answer = answer.map_err(refused)?;
        let samples =
            convert::flushed(answer, now).map_err(|reason| malformed("flush", &reason))?;
        count.rows_out.fetch_add(samples.len() as u64, Relaxed);
        Ok(samples)
    }

    pub(super) async fn save(&mut self) -> Result<Option<State>, CallError> {
        let version = self.state_version;
        let Bare { name, store, stateful, count, .. } = &mut self.bare;
        let Some(stateful) = stateful else { return Ok(None) };
        let wall = begin(store);
        let result = timed(wall, count, stateful.call_save(&mut *store)).await;
        end(store, (name, count), "save", result)
            .map_err(CallError::Failed)?
            .map(|bytes| Some(State { version, bytes }))
            .map_err(|reason| CallError::Rejected(clean(&reason)))
    }
}

fn refused(refusal: exported::transform::Refusal) -> CallError {
    match refusal {
        exported::transform::Refusal::Rejected(reason) => CallError::Rejected(clean(&reason)),
        exported::transform::Refusal::Broken(reason) => {
            CallError::Failed(format!("it says that it is broken: {}", clean(&reason)))
        }
    }
}

fn malformed(call: &str, reason: &str) -> CallError {
    CallError::Failed(format!("its answer to {call} is malformed: {reason}"))
}

fn failed(name: &str, call: &'static str) -> impl Fn(String) -> ComponentError {
    let component = name.to_owned();
    move |reason| ComponentError::Failed { component: component.clone(), call, reason }
}

/// A call begins: all that is counted per call starts anew. How long it may take.
fn begin(store: &mut Store<Guest>) -> Duration {
    let guest = store.data_mut();
    guest.limiter.begin_call();
    guest.log.begin_call();
    let wall = guest.limiter.limits().wall;
    store.set_epoch_deadline(1);
    wall
}

/// A call within its time, whose processor time is counted.
async fn timed<T>(
    wall: Duration,
    count: &ComponentCount,
    call: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    timeout(wall, Timed { call: Box::pin(call), cpu: &count.cpu }).await
}

/// A call has ended: its result, or in words why there is none.
fn end<T>(
    store: &mut Store<Guest>,
    (name, count): (&str, &ComponentCount),
    call: &str,
    result: Result<wasmtime::Result<T>, Elapsed>,
) -> Result<T, String> {
    let guest = store.data_mut();
    count.lines_dropped.fetch_add(guest.log.end_call(), Relaxed);
    count.calls.fetch_add(1, Relaxed);
    count.memory.store(guest.limiter.memory(), Relaxed);
    count.memory_peak.fetch_max(guest.limiter.memory(), Relaxed);
    let (error, hit) = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => {
            let hit = if error.to_string().contains(RETURNED_EXHAUSTED) {
                Some(Hit::Returned)
            } else {
                guest.limiter.hit()
            };
            (Some(error), hit)
        }
        Err(_) => (None, Some(Hit::Wall)),
    };
    count.failures.fetch_add(1, Relaxed);
    let mut reason = String::new();
    if let Some(hit) = hit {
        count.limits_hit.fetch_add(1, Relaxed);
        events::component::limit_hit(name, hit.as_str(), call);
        reason.push_str(&hit.describe(name, guest.limiter.limits()));
    }
    if let Some(error) = &error {
        explain(error, hit, &mut reason);
    }
    let said: Vec<&str> = guest.log.tail().collect();
    if !said.is_empty() {
        reason.push_str("; its last words: ");
        reason.push_str(&said.join(" | "));
    }
    Err(reason)
}

/// What happened, and where in the guest.
fn explain(error: &wasmtime::Error, hit: Option<Hit>, reason: &mut String) {
    // A call that was ended by a limit says no more than that.
    if !matches!(hit, Some(Hit::Cpu | Hit::Returned)) {
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(&clean(&error.root_cause().to_string()));
    }
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return };
    let frames = functions(&trace.to_string());
    if !frames.is_empty() {
        reason.push_str("; in ");
        reason.push_str(&frames.join(" < "));
    }
}

/// The functions of a stack as wasmtime writes it, which is the only way to get their names as
/// their author wrote them: lines like `0: 0x1234 - module.wasm!crate::function`.
fn functions(trace: &str) -> Vec<String> {
    /// What stands above the author's own function whenever it panics.
    const MACHINERY: [&str; 5] = ["std::", "core::", "alloc::", "__rustc", "<alloc::"];
    trace
        .lines()
        .filter_map(|line| line.split_once(" - ")?.1.split_once('!'))
        .map(|(_, function)| without_hashes(&clean(function)))
        .filter(|function| !MACHINERY.iter().any(|machinery| function.starts_with(machinery)))
        .take(FRAMES)
        .collect()
}

/// A Rust name without the hashes of its crates: `top[ca99daa004e58a7a]::divide`.
fn without_hashes(name: &str) -> String {
    let mut parts = name.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((hash, rest))
                if hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                plain.push_str(rest);
            }
            _ => {
                plain.push('[');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_told_without_the_machinery_of_panics() {
        let trace = "error while executing at wasm backtrace:\n    \
             0:   0x71 - top.wasm!core[c4124321cdeb024c]::panicking::panic_fmt\n    \
             1:   0x99 - top.wasm!top[ca99daa004e58a7a]::divide::<[u8]>\n                    at src/lib.rs:3\n    \
             2:   0xa1 - <unknown>!nephometer:metering/transform@0.1.0#transform\n";
        assert_eq!(
            functions(trace),
            ["top::divide::<[u8]>", "nephometer:metering/transform@0.1.0#transform"]
        );
    }
}
