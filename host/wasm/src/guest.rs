//! What belongs to the store of one instance, and the frame of every call into it: limits, time,
//! log, and the words for what went wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wasmtime::Store;

use super::bindings::nephometer::metering::{log, types};
use super::call::GuestCall;
use super::cause::cause;
use super::cpu::Processor;
use super::engine::{AtWork, Clock};
use super::error::ComponentError;
use super::limits::{LimitExceeded, Limiter, TotalMemory};
use super::log::GuestLog;
use super::stats::ComponentCount;
use super::symbolize::{Origin, Symbolizer};
use super::trap;
use nephometer_config::LimitsSpec;
use nephometer_model::Exceeded;
use nephometer_telemetry::events;

/// How wasmtime says that a call handed over more than it may; it has no type for it.
const RETURNED_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";
/// How it says that there are too many instances, memories or tables, likewise.
const TOO_MANY: &str = "resource limit exceeded";

/// What all guests of a host share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) clock: Clock,
    pub(crate) symbolizer: Arc<Symbolizer>,
    pub(crate) memory: Arc<TotalMemory>,
}

/// What belongs to one store: its account, its log and its clock.
pub struct Guest {
    pub(crate) limiter: Limiter,
    name: Arc<str>,
    processor: Arc<Processor>,
    log: GuestLog,
    services: Services,
    origin: Origin,
    at_work: Option<AtWork>,
}

impl Guest {
    /// For an instance of the component `name`, which has `limits`.
    pub(crate) fn new(
        limits: LimitsSpec,
        name: &Arc<str>,
        count: &Arc<ComponentCount>,
        services: &Services,
        origin: Origin,
    ) -> Self {
        let limiter = Limiter::new(limits, Arc::clone(count), Arc::clone(&services.memory));
        let log = GuestLog::new(Arc::clone(name), Arc::clone(count));
        let (name, processor, services) = (Arc::clone(name), Arc::default(), services.clone());
        Self { limiter, name, processor, log, services, origin, at_work: None }
    }

    /// What this call writes has been logged before.
    pub(crate) fn quiet(&mut self) {
        self.log.quiet();
    }

    /// Whether the call has processor time left.
    pub(crate) fn may_go_on(&mut self) -> bool {
        let used = Duration::from_nanos(self.processor.used());
        self.limiter.has_cpu(used)
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

/// A call that has begun.
pub(crate) struct Started {
    call: GuestCall,
    wall: Duration,
    processor: Arc<Processor>,
    pub(crate) count: Arc<ComponentCount>,
}

/// A call begins: all that is counted per call starts anew.
pub(crate) fn begin<D: AsMut<Guest>>(store: &mut Store<D>, call: GuestCall) -> Started {
    store.set_epoch_deadline(1);
    let guest = store.data_mut().as_mut();
    guest.limiter.begin_call();
    guest.limiter.count().called();
    guest.log.begin_call();
    guest.processor.begin_call();
    guest.at_work = Some(guest.services.clock.work());
    let wall = guest.limiter.limits().wall;
    let count = Arc::clone(guest.limiter.count());
    Started { call, wall, processor: Arc::clone(&guest.processor), count }
}

impl Started {
    /// Does the work of the call, for as long as it may take.
    pub(crate) async fn run<T>(
        &self,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<wasmtime::Result<T>, Elapsed> {
        timeout(self.wall, self.count.timed(&self.processor, work)).await
    }

    /// The call has ended: its result, or in words why there is none.
    pub(crate) async fn end<T, D: AsMut<Guest>>(
        &self,
        store: &mut Store<D>,
        result: Result<wasmtime::Result<T>, Elapsed>,
    ) -> Result<T, String> {
        let guest = store.data_mut().as_mut();
        guest.at_work = None;
        guest.log.end_call();
        let (error, hit) = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                let hit = which(&cause(&error), self.call).or(guest.limiter.hit());
                (Some(error), hit)
            }
            Err(_) => (None, Some(LimitExceeded::Wall)),
        };
        let mut reason = String::new();
        if let Some(hit) = hit {
            events::component::limit_exceeded(&guest.name, hit.as_str(), self.call.as_str());
            reason.push_str(&guest.limiter.describe(&guest.name, hit));
        }
        if let Some(error) = &error {
            let (symbolizer, origin) =
                (Arc::clone(&guest.services.symbolizer), guest.origin.clone());
            trap::explain(error, hit, &symbolizer, &origin, &mut reason).await;
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

    /// A bound that shows only when the call is over, in words.
    pub(crate) fn over<D: AsMut<Guest>>(&self, store: &mut Store<D>, exceeded: Exceeded) -> String {
        let reason = exceeded.to_string();
        let guest = store.data_mut().as_mut();
        let bound = exceeded.bound.row().name;
        events::component::limit_exceeded(&guest.name, bound, self.call.as_str());
        guest.limiter.count().failed(true, &reason);
        reason
    }

    /// No instance came of it, for this reason.
    pub(crate) fn failed(&self, name: &str, reason: String) -> ComponentError {
        ComponentError::Failed { component: name.to_owned(), call: self.call, reason }
    }
}

/// The limit that wasmtime names in words only.
fn which(cause: &str, call: GuestCall) -> Option<LimitExceeded> {
    if cause.contains(RETURNED_EXHAUSTED) {
        Some(if call == GuestCall::Save { LimitExceeded::State } else { LimitExceeded::Returned })
    } else if cause.contains(TOO_MANY) {
        Some(LimitExceeded::Parts)
    } else {
        None
    }
}
