//! The sinks of an explanation: what each of them made of the samples, and its publishers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::ExplainedAgent;
use super::reason::MissingReason;
use super::trace::{SinkTrace, TraceStep, trace, values};
use crate::app::ledger_json::drops;
use crate::app::plan::short_digest;
use crate::app::selection::SampleFilter;
use nephometer_pipeline::{PassOutcome, SinkState, SinkStatus};
use nephometer_telemetry::LedgerSink;

/// One sink.
pub(super) struct ExplainedSink {
    name: Arc<str>,
    /// Whether a source that feeds it has passed.
    passed: bool,
    status: SinkStatus,
    pub(super) trace: SinkTrace,
    publishers: Value,
}

/// All sinks, each with what it made of the selected samples in the last polling cycle of its sources.
pub(super) fn explain(agent: &ExplainedAgent<'_>, wanted: &SampleFilter) -> Vec<ExplainedSink> {
    let ledger = agent.ledger.sinks();
    let one = |(name, handle): &(Arc<str>, nephometer_pipeline::SinkHandle)| {
        let mut whole = SinkTrace::default();
        let mut passed = false;
        let status = handle.status();
        let sources = agent.spec.pipeline.sources.iter();
        for source in sources.filter(|source| source.sinks.contains(name)) {
            let Some(passages) = agent.taps.recent(Some(name), &source.name) else { continue };
            let time = passages.first().map(|first| first.batch.cycle_start.wall);
            let is_last = time == agent.taps.last_cycle(&source.name);
            // A sink that is on hold has processed an earlier cycle; one that runs is about to follow.
            if !is_last && status.state != SinkState::Running {
                continue;
            }
            passed = true;
            whole.add(trace(&passages, wanted));
        }
        let count = ledger.iter().find(|sink| sink.name == *name);
        ExplainedSink {
            name: Arc::clone(name),
            passed,
            status,
            trace: whole,
            publishers: count.map_or_else(|| json!([]), publishers),
        }
    };
    agent.sinks.iter().map(one).collect()
}

fn publishers(sink: &LedgerSink) -> Value {
    let one = |(label, count): &(Arc<str>, Arc<nephometer_telemetry::PublisherCount>)| {
        let pending = count.pending.load(Relaxed);
        json!({
            "publisher": **label,
            "encoded": count.encoded.load(Relaxed),
            "confirmed": count.confirmed.load(Relaxed),
            "pending": pending,
            "dropped": drops(&count.dropped),
            "acknowledged": pending == 0,
        })
    };
    sink.publishers.iter().map(one).collect()
}

impl ExplainedSink {
    /// Whether a transformer dropped or rejected what it got.
    pub(super) fn has_dropped(&self) -> bool {
        self.trace.steps.iter().any(|step| matches!(step.as_str(), "dropped" | "rejected"))
    }

    /// Why its publishers got nothing, if it is the cause.
    pub(super) fn reasons(&self) -> Vec<MissingReason> {
        let mut reasons = Vec::new();
        let state = &self.status.state;
        if *state != SinkState::Running {
            let why = state.reason().map_or(String::new(), |reason| format!(": {reason}"));
            let text = format!("sink {} is {}{why}", self.name, state.as_str());
            reasons.push(MissingReason::new("sink_not_running", text));
        }
        if !self.trace.output.is_empty() {
            return reasons;
        }
        let Some(last) = self.trace.steps.last() else { return reasons };
        let place = self.place(last);
        match (&last.outcome, last.as_str()) {
            (PassOutcome::Rejected(reason), _) => {
                let text = format!("{place} rejected the samples: {reason}");
                reasons.push(MissingReason::new("rejected", text));
            }
            (_, "dropped") => {
                let text = format!("{place} failed, and the samples were dropped (on_error: drop)");
                reasons.push(MissingReason::new("dropped_by_transformer", text));
            }
            (_, "absorbed") => {
                let text = format!("{place} took the samples and made none of them in this cycle");
                reasons.push(MissingReason::new("absorbed", text));
            }
            _ => {}
        }
        reasons
    }

    fn place(&self, step: &TraceStep) -> String {
        let known = self.status.transformers.get(step.index);
        let name = known.map_or("?", |one| &one.component);
        format!("transformer {} ({name}) of sink {}", step.index, self.name)
    }

    pub(super) fn json(&self) -> Value {
        let transformers = self.status.transformers.iter().enumerate().map(|(index, identity)| {
            let steps = self.trace.steps.iter().filter(|step| step.index == index);
            json!({
                "index": index,
                "component": *identity.component,
                "digest": short_digest(&identity.digest),
                "steps": steps.map(step_json).collect::<Vec<_>>(),
            })
        });
        json!({
            "sink": *self.name,
            "state": self.status.state.as_str(),
            "state_reason": self.status.state.reason(),
            "passed": self.passed,
            "entered": values(&self.trace.entered),
            "transformers": transformers.collect::<Vec<_>>(),
            "output": values(&self.trace.output),
            "publishers": self.publishers,
        })
    }
}

fn step_json(step: &TraceStep) -> Value {
    let reason = match &step.outcome {
        PassOutcome::Rejected(reason) => Some(reason),
        _ => None,
    };
    json!({
        "did": step.as_str(),
        "reason": reason,
        "took": values(&step.taken),
        "passed": values(&step.passed),
        "made": values(&step.made),
    })
}
