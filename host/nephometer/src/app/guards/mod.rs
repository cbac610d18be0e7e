//! Guarded changes: which reloads are guarded, and the versions before them.
//!
//! The comparison is up to the sink, and what follows from a rollback to `guard_rollback.rs`.

mod json;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::factory::TransformerKey;
use super::shadow_list::{GuardEntry, ShadowList};
use nephometer_config::{AgentSpec, GuardSpec, SinkSpec};
use nephometer_pipeline::transform::Identity;
use nephometer_pipeline::{GuardPlan, GuardReport, GuardState};
use nephometer_telemetry::events::reload as events;

pub(super) use json::{correction, full, summary};

/// What the guards of all sinks need of the versions before.
#[derive(Default)]
pub(super) struct Guards {
    /// By sink: the transformers before each guarded change, until one has passed.
    before: HashMap<Arc<str>, Vec<Vec<TransformerKey>>>,
}

impl Guards {
    /// The guard of a change; `None` if it has none. Options or transformers that change as well make both
    /// versions incomparable.
    pub(super) fn plan(
        &self,
        spec: &AgentSpec,
        sink: &SinkSpec,
        running: Option<&Vec<TransformerKey>>,
        keys: &[TransformerKey],
    ) -> Option<GuardReport> {
        let running = running?;
        let guard = |key: &TransformerKey| spec.components.settings(&key.identity.component).guard;
        let is_new = |key: &&TransformerKey| {
            let digest = key.identity.digest;
            !running.iter().any(|old| {
                old.identity.component == key.identity.component && old.identity.digest == digest
            })
        };
        let changed = keys.iter().filter(is_new).filter(|key| guard(key).enabled);
        let names: Vec<&str> = changed.clone().map(|key| &*key.identity.component).collect();
        let bounds = changed.map(guard).reduce(GuardSpec::with)?;
        let components = names.join(", ");
        let same = |(old, new): (&TransformerKey, &TransformerKey)| {
            let (old, new) = (&old.identity, &new.identity);
            old.component == new.component && old.options == new.options
        };
        if running.len() != keys.len() || !running.iter().zip(keys).all(same) {
            let reason = "its options, or other transformers of the sink, have changed as well";
            events::guard_ended(&sink.name, &components, reason);
            return None;
        }
        let sources = spec.pipeline.sources.iter();
        let sources = sources.filter(|source| source.sinks.contains(&sink.name));
        let sources = sources.map(|source| (Arc::clone(&source.name), source.interval)).collect();
        Some(GuardReport::new(GuardPlan { bounds, sources, components }))
    }

    /// Records a change that has taken over, with its guard if it has one.
    pub(super) fn begin(
        &mut self,
        guard: Option<GuardReport>,
        (sink, replaced, keys): (&Arc<str>, Option<&Vec<TransformerKey>>, &[TransformerKey]),
        list: &ShadowList,
    ) {
        let (Some(report), Some(replaced)) = (guard, replaced) else {
            self.before.remove(sink);
            return;
        };
        let both = replaced.iter().zip(keys);
        let changed = both.filter(|(old, new)| old.identity.digest != new.identity.digest);
        let components = changed.map(|(old, new)| {
            (Arc::clone(&new.identity.component), old.identity.digest, new.identity.digest)
        });
        let (components, sink) = (components.collect(), Arc::clone(sink));
        self.before.entry(Arc::clone(&sink)).or_default().push(replaced.clone());
        list.add_guard(GuardEntry { sink, components, report, correction: OnceLock::new() });
    }

    /// Forgets the versions before the changes of a sink, unless it guards one.
    pub(super) fn ended(&mut self, sink: &Arc<str>, list: &ShadowList) {
        let is_comparing = |entry: &Arc<GuardEntry>| {
            entry.sink == *sink && entry.report.state() == GuardState::Comparing
        };
        if !list.guards().iter().any(is_comparing) {
            self.before.remove(sink);
        }
    }

    /// The transformers before all guarded changes.
    pub(super) fn before(&self) -> impl Iterator<Item = &TransformerKey> {
        self.before.values().flatten().flatten()
    }

    /// The transformers that run again in a sink.
    pub(super) fn restored(
        &mut self,
        sink: &str,
        identities: &[Identity],
    ) -> Option<Vec<TransformerKey>> {
        let before = self.before.remove(sink)?;
        let same =
            |keys: &Vec<TransformerKey>| keys.iter().map(|key| &key.identity).eq(identities.iter());
        before.into_iter().find(same)
    }
}
