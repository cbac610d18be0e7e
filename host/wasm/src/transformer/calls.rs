//! The calls of a transformer, with what its answers become.

use std::sync::Arc;

use super::TransformerRole;
use super::handle::CallError;
use crate::bindings::exports::nephometer::metering::transform::Refusal;
use crate::call::GuestCall;
use crate::convert::Transformed;
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
        let unconfigured = &mut self.unconfigured;
        let (name, store) = (&unconfigured.name, &mut unconfigured.store);
        let Some(stateful) = &unconfigured.functions.stateful else { return Ok(()) };
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

    /// What replaces the batch's samples.
    pub(super) async fn transform(&mut self, batch: &Batch) -> Result<Transformed, CallError> {
        let picked = self.converter.pick(batch, &self.filter).map_err(CallError::Rejected)?;
        if picked.is_empty() {
            return Ok(Transformed::Unchanged);
        }
        if self.converter.has_news() {
            self.learn().await?;
        }
        let argument = self.converter.argument(&picked);
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let started = begin(store, GuestCall::Transform);
        let result = started.run(functions.transform.call_transform(&mut *store, argument)).await;
        let answer = started.end(store, result).await.map_err(CallError::Failed)?;
        let count = &started.count;
        let made = match answer {
            Ok(outcome) => self
                .converter
                .transformed(outcome, &picked)
                .map_err(|reason| malformed(GuestCall::Transform, &reason, count)),
            Err(refusal) => Err(refused(refusal, count)),
        };
        self.converter.forget(&picked);
        let made = made?;
        let all = batch.samples.len();
        let returned = match &made {
            Transformed::Unchanged => all,
            Transformed::Samples(samples) => samples.len(),
        };
        // Samples that bypassed it are in the answer, but are not its own.
        count.rows(picked.len(), returned.saturating_sub(all - picked.len()));
        Ok(made)
    }

    /// Sends new dictionary entries. It may take as long as a batch.
    async fn learn(&mut self) -> Result<(), CallError> {
        let texts = self.converter.texts();
        let news = self.converter.news(&texts);
        let (store, functions) = (&mut self.unconfigured.store, &self.unconfigured.functions);
        let started = begin(store, GuestCall::Learn);
        let work = functions.dictionary.call_learn(&mut *store, news.argument());
        let result = started.run(work).await;
        started.end(store, result).await.map_err(CallError::Failed)?;
        drop(news);
        self.converter.learned();
        Ok(())
    }

    /// What was held back until now.
    pub(super) async fn flush(&mut self, now: Timestamp) -> Result<Vec<Sample>, CallError> {
        let store = &mut self.unconfigured.store;
        let Some(stateful) = &self.unconfigured.functions.stateful else { return Ok(Vec::new()) };
        let started = begin(store, GuestCall::Flush);
        let result = started.run(stateful.call_flush(&mut *store, now.as_nanos())).await;
        let answer = started.end(store, result).await.map_err(CallError::Failed)?;
        let count = &started.count;
        let answer = answer.map_err(|refusal| refused(refusal, count))?;
        let made = self
            .converter
            .flushed(answer, now)
            .map_err(|reason| malformed(GuestCall::Flush, &reason, count))?;
        count.rows(0, made.len());
        Ok(made)
    }

    /// The state; `None` for a component that does not remember.
    pub(super) async fn save(&mut self) -> Result<Option<State>, CallError> {
        let version = self.state_version;
        let store = &mut self.unconfigured.store;
        let Some(stateful) = &self.unconfigured.functions.stateful else { return Ok(None) };
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
