//! The calls of a transformer, and the conversion of their results.

use std::sync::Arc;

use super::TransformerRole;
use super::handle::CallError;
use crate::bindings::exports::nephometer::metering::transform::Refusal;
use crate::call::GuestCall;
use crate::convert::Transformed;
use crate::error::ComponentError;
use crate::guest::begin_call;
use crate::instance::Configured;
use crate::log::clean;
use crate::state::State;
use crate::stats::ComponentCounters;
use nephometer_model::{Batch, Bound, Sample, Timestamp};

impl Configured<TransformerRole> {
    /// Restores the state of an earlier instance.
    pub(super) async fn restore(&mut self, state: &State) -> Result<(), ComponentError> {
        let unconfigured = &mut self.unconfigured;
        let (name, store) = (&unconfigured.name, &mut unconfigured.store);
        let Some(stateful) = &unconfigured.functions.stateful else { return Ok(()) };
        let call = begin_call(store, GuestCall::Restore);
        if let Err(exceeded) = Bound::State.check(state.bytes.len()) {
            return Err(call.error(name, call.exceeded(store, exceeded)));
        }
        let work = stateful.call_restore(&mut *store, state.version, &state.bytes);
        let result = call.run(work).await;
        let answer = call.end(store, result).await;
        answer
            .and_then(|answer| answer.map_err(|reason| clean(&reason)))
            .map_err(|reason| call.error(name, reason))
    }

    /// Transforms a batch.
    pub(super) async fn transform(&mut self, batch: &Batch) -> Result<Transformed, CallError> {
        let selected = self.converter.select(batch, &self.filter).map_err(CallError::Rejected)?;
        if selected.is_empty() {
            return Ok(Transformed::Unchanged);
        }
        if self.converter.has_new_entries() {
            self.learn().await?;
        }
        let argument = self.converter.argument(&selected);
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let call = begin_call(store, GuestCall::Transform);
        let result = call.run(functions.transform.call_transform(&mut *store, argument)).await;
        let answer = call.end(store, result).await.map_err(CallError::Failed)?;
        let counters = &call.counters;
        let transformed = match answer {
            Ok(outcome) => self
                .converter
                .transformed(outcome, &selected)
                .map_err(|reason| malformed(GuestCall::Transform, &reason, counters)),
            Err(refusal) => Err(refused(refusal, counters)),
        };
        self.converter.forget_removed(&selected);
        let transformed = transformed?;
        let all = batch.samples.len();
        let returned = match &transformed {
            Transformed::Unchanged => all,
            Transformed::Samples(samples) => samples.len(),
        };
        // Bypassed samples are in the result, but not returned by the component.
        counters.count_samples(selected.len(), returned.saturating_sub(all - selected.len()));
        Ok(transformed)
    }

    /// Passes dictionary changes to the component, within the limits of a call.
    async fn learn(&mut self) -> Result<(), CallError> {
        let texts = self.converter.texts();
        let changes = self.converter.changes(&texts);
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let call = begin_call(store, GuestCall::Learn);
        let work = functions.dictionary.call_learn(&mut *store, changes.argument());
        let result = call.run(work).await;
        call.end(store, result).await.map_err(CallError::Failed)?;
        drop(changes);
        self.converter.mark_learned();
        Ok(())
    }

    /// Ends a polling cycle and collects buffered samples.
    pub(super) async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        let store = &mut self.unconfigured.store;
        let Some(stateful) = &self.unconfigured.functions.stateful else { return Ok(Vec::new()) };
        let call = begin_call(store, GuestCall::Flush);
        let result = call.run(stateful.call_flush(&mut *store, now.as_nanos())).await;
        let answer = call.end(store, result).await.map_err(CallError::Failed)?;
        let counters = &call.counters;
        let answer = answer.map_err(|refusal| refused(refusal, counters))?;
        let samples = self
            .converter
            .flushed(answer, now)
            .map_err(|reason| malformed(GuestCall::Flush, &reason, counters))?;
        counters.count_samples(0, samples.len());
        Ok(samples)
    }

    /// Reads the state; `None` for a component without state.
    pub(super) async fn save(&mut self) -> Result<Option<State>, CallError> {
        let version = self.state_version;
        let store = &mut self.unconfigured.store;
        let Some(stateful) = &self.unconfigured.functions.stateful else { return Ok(None) };
        let call = begin_call(store, GuestCall::Save);
        let returned_limit = store.hostcall_fuel();
        // A state may be larger than other results. Its own limit is checked below.
        store.set_hostcall_fuel(returned_limit.max(Bound::State.size() / 4 * 5));
        let result = call.run(stateful.call_save(&mut *store)).await;
        store.set_hostcall_fuel(returned_limit);
        let saved = call.end(store, result).await.map_err(CallError::Failed)?;
        let bytes = saved.map_err(|reason| CallError::Rejected(clean(&reason)))?;
        match Bound::State.check(bytes.len()) {
            Ok(()) => Ok(Some(State { version, bytes: Arc::new(bytes) })),
            Err(exceeded) => Err(CallError::Failed(call.exceeded(store, exceeded))),
        }
    }
}

fn refused(refusal: Refusal, counters: &ComponentCounters) -> CallError {
    match refusal {
        Refusal::Rejected(reason) => CallError::Rejected(clean(&reason)),
        Refusal::Broken(reason) => {
            let reason = format!("component reported broken: {}", clean(&reason));
            counters.count_failure(false, &reason);
            CallError::Failed(reason)
        }
    }
}

fn malformed(call: GuestCall, reason: &str, counters: &ComponentCounters) -> CallError {
    let reason = format!("malformed answer to {call}: {reason}");
    counters.count_failure(false, &reason);
    CallError::Failed(reason)
}
