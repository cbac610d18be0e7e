//! Runs a shadow beside a transformer: begins from the live state, makes the same calls, and compares
//! what comes back.
//!
//! Has a task of its own. Nothing of it reaches the sink, which it asks for one thing: the live state
//! between two batches, with a queue for what follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::handle::SinkHandle;
use super::shadow_report::{ShadowReport, ShadowState};
use crate::transform::{
    Identity, ShadowBatch, ShadowCall, ShadowFeed, TransformError, Transformed, Transformer,
};
use nephometer_model::{Bound, Sample};
use nephometer_telemetry::events;
use nephometer_wasm::GuestThreads;

/// Delay before a shadow begins again: after a failure or a queue that was full, and while the live
/// transformer is being replaced.
const RESTART_DELAY: Duration = Duration::from_secs(10);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A shadow of one transformer of a sink.
pub struct Shadow {
    /// The sink.
    pub sink: SinkHandle,
    /// Its name.
    pub sink_name: Arc<str>,
    /// Index of the transformer in the sink, from 0.
    pub index: usize,
    /// The live transformer.
    pub live: Identity,
    /// Whether it may begin without a state if it refuses the live one.
    pub may_reset: bool,
    /// Where transformers run.
    pub threads: GuestThreads,
    /// Where it reports.
    pub report: ShadowReport,
}

/// Why a shadow does not go on.
enum ShadowEnd {
    /// The sink has ended.
    Sink,
    /// The live state cannot be had now.
    Later(String),
    /// It missed a batch.
    Behind,
    /// It failed.
    Failed(String),
    /// It cannot begin from the live state.
    Refused(String),
}

/// The instance of a shadow.
type Instance = Box<dyn Transformer>;

impl Shadow {
    /// Runs until the sink ends, or the shadow has failed too often.
    pub async fn run(self, mut transformer: Instance) {
        loop {
            let (returned, end) = self.follow(transformer).await;
            transformer = returned;
            let delay = match end {
                ShadowEnd::Sink => return,
                ShadowEnd::Later(reason) => {
                    self.report.set_state(ShadowState::Waiting(reason));
                    RETRY_DELAY
                }
                ShadowEnd::Behind => {
                    let reason = "it has missed batches".to_owned();
                    self.report.set_state(ShadowState::Waiting(reason));
                    RESTART_DELAY
                }
                ShadowEnd::Refused(reason) => return self.stop(&mut *transformer, reason),
                ShadowEnd::Failed(reason) => {
                    let failures = self.report.failed(&reason);
                    events::component::shadow_failed(
                        &self.sink_name,
                        &self.live.component,
                        &reason,
                    );
                    if failures >= Bound::ShadowFailures.most() {
                        let reason = format!("it failed {failures} times, the last time: {reason}");
                        return self.stop(&mut *transformer, reason);
                    }
                    transformer.discard();
                    self.report.set_state(ShadowState::Waiting(reason));
                    RESTART_DELAY
                }
            };
            sleep(delay).await;
        }
    }

    fn stop(&self, transformer: &mut dyn Transformer, reason: String) {
        events::component::shadow_stopped(&self.sink_name, &self.live.component, &reason);
        transformer.discard();
        self.report.stop(reason);
    }

    /// Begins from the live state and follows until it cannot go on.
    async fn follow(&self, mut transformer: Instance) -> (Instance, ShadowEnd) {
        let (feed, mut queue) = ShadowFeed::new(self.index, self.report.missed());
        let state = match self.sink.attach_shadow(self.live.clone(), feed).await {
            None => return (transformer, ShadowEnd::Sink),
            Some(Err(reason)) => return (transformer, ShadowEnd::Later(reason)),
            Some(Ok(state)) => state,
        };
        let mut is_reset = false;
        let mut rebuilt = transformer.rebuild(state.as_ref()).await;
        if matches!(rebuilt, Err(TransformError::State { .. })) && self.may_reset {
            is_reset = true;
            rebuilt = transformer.rebuild(None).await;
        }
        match rebuilt {
            Ok(()) => self.report.started(is_reset),
            Err(TransformError::State { reason, .. }) => {
                let reason = format!("it refuses the state of the live component: {reason}");
                return (transformer, ShadowEnd::Refused(reason));
            }
            Err(error) => return (transformer, ShadowEnd::Failed(error.reason().to_owned())),
        }
        while let Some(batch) = queue.next().await {
            let report = self.report.clone();
            let work = async move {
                let done = process(&mut *transformer, &batch, &report).await;
                (transformer, done)
            };
            let done;
            (transformer, done) = self.threads.run(work).await;
            if let Err(error) = done {
                return (transformer, ShadowEnd::Failed(error.reason().to_owned()));
            }
        }
        (transformer, ShadowEnd::Behind)
    }
}

/// Makes the calls of a batch and compares what they return.
async fn process(
    transformer: &mut dyn Transformer,
    batch: &ShadowBatch,
    report: &ShadowReport,
) -> Result<(), TransformError> {
    for call in &batch.calls {
        match call {
            ShadowCall::Transform(input, live) => {
                let samples: Vec<Sample>;
                let returned = match transformer.transform(input).await {
                    Ok(Transformed::Unchanged) => &input.samples,
                    Ok(Transformed::Samples(found)) => {
                        samples = found;
                        &samples
                    }
                    Err(TransformError::Rejected { .. }) => &Vec::new(),
                    Err(error) => return Err(error),
                };
                report.compare(&live.samples, returned);
            }
            ShadowCall::Flush(now, live) => {
                let returned = match transformer.flush(*now).await {
                    Ok(samples) => samples,
                    Err(TransformError::Rejected { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                };
                let live = live.as_ref().map_or(&[][..], |batch| &batch.samples);
                report.compare(live, &returned);
            }
            ShadowCall::Skipped(input) => report.skip(input.samples.len()),
        }
        tokio::task::yield_now().await;
    }
    report.end_batch();
    Ok(())
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
