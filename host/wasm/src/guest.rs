//! The store data of one instance, and the frame of every call: limits, time, log, and the error
//! text of a failed call.

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
use super::engine::{Clock, ClockGuard};
use super::error::ComponentError;
use super::limits::{LimitExceeded, Limiter, TotalMemory};
use super::log::GuestLog;
use super::profile::Recorder;
use super::stats::ComponentCounters;
use super::symbolize::{ComponentFile, Symbolizer};
use super::trap;
use nephometer_config::LimitsSpec;
use nephometer_model::Exceeded;
use nephometer_telemetry::events;

/// wasmtime's text, it has no type, for a call that passed more bytes to the host than allowed.
const RETURNED_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";
/// wasmtime's text for too many instances, memories or tables.
const RESOURCE_LIMIT: &str = "resource limit exceeded";

/// Services that all guests of a host share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) clock: Clock,
    pub(crate) symbolizer: Arc<Symbolizer>,
    pub(crate) memory: Arc<TotalMemory>,
    /// Profiles guests.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

/// The store data of one instance: limits, log and clock.
pub struct Guest {
    pub(crate) limiter: Limiter,
    name: Arc<str>,
    processor: Arc<Processor>,
    log: GuestLog,
    services: Services,
    file: ComponentFile,
    clock_guard: Option<ClockGuard>,
}

impl Guest {
    /// The data of an instance of the component `name` with these limits.
    pub(crate) fn new(
        limits: LimitsSpec,
        name: &Arc<str>,
        counters: &Arc<ComponentCounters>,
        services: &Services,
        file: ComponentFile,
    ) -> Self {
        let limiter = Limiter::new(limits, Arc::clone(counters), Arc::clone(&services.memory));
        let log = GuestLog::new(Arc::clone(name), Arc::clone(counters));
        let (name, processor, services) = (Arc::clone(name), Arc::default(), services.clone());
        Self { limiter, name, processor, log, services, file, clock_guard: None }
    }

    /// Demotes the lines of this call to debug: an equal instance has logged them before.
    pub(crate) fn demote_log(&mut self) {
        self.log.demote();
    }

    /// What profiles this guest.
    pub(crate) fn recorder(&self) -> Option<Arc<Recorder>> {
        self.services.recorder.clone()
    }

    /// Whether the call has processor time left.
    pub(crate) fn has_cpu_left(&mut self) -> bool {
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

/// A call in progress.
pub(crate) struct ActiveCall {
    call: GuestCall,
    wall: Duration,
    processor: Arc<Processor>,
    pub(crate) counters: Arc<ComponentCounters>,
}

/// Begins a call: resets everything that is counted per call.
pub(crate) fn begin_call<D: AsMut<Guest>>(store: &mut Store<D>, call: GuestCall) -> ActiveCall {
    store.set_epoch_deadline(1);
    let guest = store.data_mut().as_mut();
    guest.limiter.begin_call();
    guest.limiter.counters().count_call();
    guest.log.begin_call();
    guest.processor.begin_call();
    guest.clock_guard = Some(guest.services.clock.start_call());
    let wall = guest.limiter.limits().wall;
    let counters = Arc::clone(guest.limiter.counters());
    ActiveCall { call, wall, processor: Arc::clone(&guest.processor), counters }
}

impl ActiveCall {
    /// Runs the call, for at most its wall clock limit.
    pub(crate) async fn run<T>(
        &self,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<wasmtime::Result<T>, Elapsed> {
        timeout(self.wall, self.counters.measure(&self.processor, work)).await
    }

    /// Ends the call and returns its result.
    ///
    /// # Errors
    /// The cause of the failure, with the exceeded limit, the guest's stack and its last log lines.
    pub(crate) async fn end<T, D: AsMut<Guest>>(
        &self,
        store: &mut Store<D>,
        result: Result<wasmtime::Result<T>, Elapsed>,
    ) -> Result<T, String> {
        let guest = store.data_mut().as_mut();
        guest.clock_guard = None;
        guest.log.end_call();
        let (error, exceeded) = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                let exceeded = limit_of(&cause(&error), self.call).or(guest.limiter.exceeded());
                (Some(error), exceeded)
            }
            Err(_) => (None, Some(LimitExceeded::Wall)),
        };
        let mut reason = String::new();
        if let Some(limit) = exceeded {
            events::component::limit_exceeded(&guest.name, limit.as_str(), self.call.as_str());
            reason.push_str(&guest.limiter.describe(&guest.name, limit));
        }
        if let Some(error) = &error {
            let (symbolizer, file) = (Arc::clone(&guest.services.symbolizer), guest.file.clone());
            trap::explain(error, exceeded, &symbolizer, &file, &mut reason).await;
        }
        let guest = store.data_mut().as_mut();
        let lines: Vec<String> = guest.log.tail().collect();
        if !lines.is_empty() {
            reason.push_str("; last log lines: ");
            reason.push_str(&lines.join(" | "));
        }
        guest.limiter.counters().count_failure(exceeded.is_some(), &reason);
        Err(reason)
    }

    /// Counts and logs a bound that is checked after the call, and returns the reason.
    pub(crate) fn exceeded<D: AsMut<Guest>>(
        &self,
        store: &mut Store<D>,
        exceeded: Exceeded,
    ) -> String {
        let reason = exceeded.to_string();
        let guest = store.data_mut().as_mut();
        let bound = exceeded.bound.row().name;
        events::component::limit_exceeded(&guest.name, bound, self.call.as_str());
        guest.limiter.counters().count_failure(true, &reason);
        reason
    }

    /// The error of an instance that could not be started.
    pub(crate) fn error(&self, name: &str, reason: String) -> ComponentError {
        ComponentError::Failed { component: name.to_owned(), call: self.call, reason }
    }
}

/// The limit that wasmtime reports by text only.
fn limit_of(cause: &str, call: GuestCall) -> Option<LimitExceeded> {
    if cause.contains(RETURNED_EXHAUSTED) {
        Some(if call == GuestCall::Save { LimitExceeded::State } else { LimitExceeded::Returned })
    } else if cause.contains(RESOURCE_LIMIT) {
        Some(LimitExceeded::Parts)
    } else {
        None
    }
}
