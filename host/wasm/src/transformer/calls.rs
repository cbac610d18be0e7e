//! The calls of a transformer, with what its answers become.

use std::sync::Arc;

use super::TransformerRole;
use super::handle::CallError;
use crate::bindings::exports::nephometer::metering::transform::Refusal;
use crate::call::GuestCall;
use crate::convert::{self, Columns};
use crate::error::ComponentError;
use crate::guest::begin;
use crate::instance::Configured;
use crate::log::clean;
use crate::state::State;
use crate::stats::ComponentCount;
use nephometer_model::{Batch, Bound, Sample, Timestamp};

impl Configured<TransformerRole> {
    /// Gives an earlier instance's state to this one.
    pub(super) async fn restore(&mut self, state: &State) -> Result<(), ComponentError> {
        let bare = &mut self.bare;
        let (name, store) = (&bare.name, &mut bare.store);
        let Some(stateful) = &bare.functions.stateful else { return Ok(()) };
        let started = begin(store, GuestCall::Restore);
        if let Err(exceeded) = Bound::State.check(state.bytes.len()) {
            return Err(started.failed(name, started.over(store, exceeded)));
        }
        let work = stateful.call_restore(&mut *store, state.version, &state.bytes);
        let result = started.run(work).await;
        let answer = started.end(store, result).await;
        answer
            .and_then(|answer| answer.map_err(|reason| clean(&reason)))
            .map_err(|reason| started.failed(name, reason))
    }

    /// What takes the place of the batch's samples.
    pub(super) async fn transform(&mut self, batch: &Batch) -> Result<Vec<Sample>, CallError> {
        let columns = Columns::new(batch, &self.filter).map_err(CallError::Rejected)?;
        if columns.is_empty() {
            return Ok(batch.samples.clone());
        }
        let parts = columns.parts(&mut self.texts);
        let argument = columns.argument(&parts);
        let (store, functions) = (&mut self.bare.store, &self.bare.functions);
        let started = begin(store, GuestCall::Transform);
        let result = started.run(functions.transform.call_transform(&mut *store, argument)).await;
        let answer = started.end(store, result).await.map_err(CallError::Failed)?;
        let count = &started.count;
        let outcome = answer.map_err(|refusal| refused(refusal, count))?;
        let made = convert::transformed(outcome, &columns)
            .map_err(|reason| malformed(GuestCall::Transform, &reason, count))?;
        // What passed by it is in the answer, but has not been its own.
        let by = batch.samples.len() - columns.len();
        count.rows(columns.len(), made.len().saturating_sub(by));
        Ok(made)
    }

    /// What was held back until now.
    pub(super) async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        let store = &mut self.bare.store;
        let Some(stateful) = &self.bare.functions.stateful else { return Ok(Vec::new()) };
        let started = begin(store, GuestCall::Flush);
        let result = started.run(stateful.call_flush(&mut *store, now.as_nanos())).await;
        let answer = started.end(store, result).await.map_err(CallError::Failed)?;
        let count = &started.count;
        let answer = answer.map_err(|refusal| refused(refusal, count))?;
        let made = convert::flushed(answer, now)
            .map_err(|reason| malformed(GuestCall::Flush, &reason, count))?;
        count.rows(0, made.len());
        Ok(made)
    }

    /// The state; `None` for a component that does not remember.
    pub(super) async fn save(&mut self) -> Result<Option<State>, CallError> {
        let version = self.state_version;
        let store = &mut self.bare.store;
        let Some(stateful) = &self.bare.functions.stateful else { return Ok(None) };
        let started = begin(store, GuestCall::Save);
        let ordinary = store.hostcall_fuel();
        // A state may be larger than an answer; its own limit is looked at below.
        store.set_hostcall_fuel(ordinary.max(Bound::State.size() / 4 * 5));
        let result = started.run(stateful.call_save(&mut *store)).await;
        store.set_hostcall_fuel(ordinary);
        let saved = started.end(store, result).await.map_err(CallError::Failed)?;
        let bytes = saved.map_err(|reason| CallError::Rejected(clean(&reason)))?;
        match Bound::State.check(bytes.len()) {
            Ok(()) => Ok(Some(State { version, bytes: Arc::new(bytes) })),
            Err(exceeded) => Err(CallError::Failed(started.over(store, exceeded))),
        }
    }
}

fn refused(refusal: Refusal, count: &ComponentCount) -> CallError {
    match refusal {
        Refusal::Rejected(reason) => CallError::Rejected(clean(&reason)),
        Refusal::Broken(reason) => {
            let reason = format!("it says that it is broken: {}", clean(&reason));
            count.failed(false, &reason);
            CallError::Failed(reason)
        }
    }
}

fn malformed(call: GuestCall, reason: &str, count: &ComponentCount) -> CallError {
    let reason = format!("its answer to {call} is malformed: {reason}");
    count.failed(false, &reason);
    CallError::Failed(reason)
}
