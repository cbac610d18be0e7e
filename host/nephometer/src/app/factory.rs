//! Builds transformer chains and publishers for sinks, at the start of the agent and for reloads.
//!
//! Creates transformers from components and publishers from URLs. Does not decide when they are used.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::AppError;
use super::catalog::KeystoneCatalog;
use super::shadow_list::ShadowList;
use nephometer_config::{
    AgentSpec, ComponentSpec, ComponentsSpec, GuardSpec, Location, PublisherSpec, PublisherTarget,
    SinkSpec, StoreSpec, TransformerSpec,
};
use nephometer_model::{Bound, HostId};
use nephometer_pipeline::publish::{
    self, PublisherError, PublisherHandle, PublisherTask, Rotation, StreamContext,
};
use nephometer_pipeline::transform::{
    Chain, ComponentTransformer, Identity, StateBudget, Transformer,
};
use nephometer_pipeline::{ChainRevision, Taps};
use nephometer_store::{SpoolBounds, SpoolClaim, Spools, WhenFull};
use nephometer_telemetry::events::component as events;
use nephometer_telemetry::{self as telemetry, Ledger, TransformerCount};
use nephometer_wasm::{ComponentError, ComponentHost, OptionError, PublisherRole, TransformerRole};
use nephometer_wire::{MessageForm, Signer};

/// A component that cannot be used, and the place in `pipeline.yaml` that names it.
#[derive(Debug, Clone)]
pub struct ComponentProblem {
    /// The place that names the component, or its wrong option.
    pub place: Location,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for ComponentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// The number of problems in a log message or a response. `check` prints all of them.
const MAX_PROBLEMS: usize = 20;

/// Joins problems into a text, one per line.
pub(super) fn join_lines(problems: &[ComponentProblem]) -> String {
    let mut lines: Vec<String> =
        problems.iter().take(MAX_PROBLEMS).map(ToString::to_string).collect();
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        lines.push(format!("and {more} more problems, which `nephometer check` prints"));
    }
    lines.join("\n")
}

/// Everything that a transformer depends on. A reload keeps transformers with equal keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TransformerKey {
    pub(super) identity: Identity,
    pub(super) spec: ComponentSpec,
}

/// Builds chain revisions and publishers.
pub(super) struct Factory {
    pub(super) components: ComponentHost,
    pub(super) host_id: HostId,
    pub(super) spools: Spools,
    /// What the streams have in common; `None` without a store on disk.
    pub(super) streams: Option<Arc<StreamContext>>,
    /// What happens when a spool is full.
    pub(super) when_full: WhenFull,
    pub(super) ledger: Arc<Ledger>,
    /// Bytes of the saved states of all sinks.
    pub(super) states: Arc<StateBudget>,
    /// What a reload may replace under running publishers.
    pub(super) rotation: Rotation,
    /// Where people look at the samples of all sinks.
    pub(super) taps: Taps,
    /// The shadows beside them.
    pub(super) shadows: ShadowList,
    /// Whether sinks get their transformers.
    pub(super) transform: bool,
}

impl Factory {
    /// Divides the size limit of the database. States, gaps and rejected envelopes together get at most
    /// a quarter of it.
    pub(super) fn set_bounds(&self, store: &StoreSpec, components: &ComponentsSpec) {
        let fixed = Bound::GapBytes.most() + Bound::RefusedBytes.most();
        let left = (store.total / 4).saturating_sub(fixed);
        let states = components.totals.states.min(left);
        self.states.set(states);
        self.spools.set_capacity(store.total, states + fixed);
    }

    fn transformers<'a>(&self, sink: &'a SinkSpec) -> &'a [TransformerSpec] {
        if self.transform { &sink.transformers } else { &[] }
    }

    /// Builds the transformers of a sink, configured and without state. May have to compile them.
    /// Adds to `warnings`, and logs, what is ignored.
    pub(super) async fn revision(
        &self,
        agent: &AgentSpec,
        sink: &SinkSpec,
        warnings: &mut Vec<ComponentProblem>,
    ) -> Result<ChainRevision, Vec<ComponentProblem>> {
        let mut transformers: Vec<(Box<dyn Transformer>, Arc<TransformerCount>)> = Vec::new();
        let (mut on_error, mut on_state_mismatch) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        let mut occurrences: HashMap<&str, usize> = HashMap::new();
        // For a plan these are other settings than those in effect.
        let host = self.components.with_spec(&agent.components).await;
        for (index, spec) in self.transformers(sink).iter().enumerate() {
            let nth = occurrences.entry(&spec.name).or_insert(0);
            let count = self.ledger.transformer(&sink.name, &spec.name, *nth);
            *nth += 1;
            let place = format!("{}/{index}", sink.name);
            match ComponentTransformer::create(&host, spec, &place).await {
                Ok(transformer) => {
                    warnings.extend(placed(spec, transformer.ignored_options()));
                    transformers.push((Box::new(transformer), count));
                }
                Err(error) => problems.extend(problems_of(spec, error)),
            }
            let component = component(agent, &spec.name);
            on_error.push(component.on_error);
            on_state_mismatch.push(component.on_state_mismatch);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        for warning in &*warnings {
            events::option_ignored(&warning.place.to_string(), &warning.reason);
        }
        let chain = Chain::new(&sink.name, self.host_id, transformers)
            .with_state_budget(&self.states)
            .with_taps(&self.taps);
        Ok(ChainRevision { chain, on_error, on_state_mismatch })
    }

    /// The keys of the transformers of a sink, without building them.
    pub(super) async fn keys(
        &self,
        agent: &AgentSpec,
        sink: &SinkSpec,
    ) -> Result<Vec<TransformerKey>, Vec<ComponentProblem>> {
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        let host = self.components.with_spec(&agent.components).await;
        for spec in self.transformers(sink) {
            match host.identify(&spec.name).await {
                Ok(digest) => keys.push(TransformerKey {
                    identity: Identity {
                        component: Arc::clone(&spec.name),
                        digest: *digest.as_bytes(),
                        options: serde_json::Value::Object(spec.parameters.clone()).to_string(),
                    },
                    spec: component(agent, &spec.name),
                }),
                Err(error) => problems.extend(problems_of(spec, error)),
            }
        }
        if problems.is_empty() { Ok(keys) } else { Err(problems) }
    }

    /// Whether all transformers of a sink are in the compile cache. One that is still to come from a
    /// registry is not.
    pub(super) async fn is_ready(&self, sink: &SinkSpec) -> Result<bool, Vec<ComponentProblem>> {
        let (mut ready, mut problems) = (true, Vec::new());
        for spec in self.transformers(sink) {
            let cached = match self.components.find(&spec.name).await {
                Ok(path) => self.components.is_cached::<TransformerRole>(&path).await,
                Err(error) => Err(error),
            };
            match cached {
                Ok(cached) => ready &= cached,
                Err(ComponentError::NotProvided { .. }) => ready = false,
                Err(error) => problems.extend(problems_of(spec, error)),
            }
        }
        if problems.is_empty() { Ok(ready) } else { Err(problems) }
    }

    /// Checks the publishers that are components. Without `compile`, those that are not in the compile
    /// cache are skipped and checked later.
    pub(super) async fn check_publishers(
        &self,
        publishers: &[PublisherSpec],
        compile: bool,
    ) -> Vec<ComponentProblem> {
        let mut problems = Vec::new();
        for spec in publishers {
            let PublisherTarget::Component(url) = &spec.target else { continue };
            let cached = match self.components.find(&url.name).await {
                Ok(path) => self.components.is_cached::<PublisherRole>(&path).await,
                Err(error) => Err(error),
            };
            let checked = match cached {
                Ok(cached) if cached || compile => {
                    publish::try_component(&self.components, url).await
                }
                Ok(_) => Ok(()),
                Err(ComponentError::NotProvided { .. }) if !compile => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                let reason = format!("{}: {}", spec.label, telemetry::Chain(&error));
                problems.push(ComponentProblem { place: spec.location.clone(), reason });
            }
        }
        problems
    }

    /// Builds the publisher at an index in the list of its sink, its spool, and the task that empties
    /// the spool.
    pub(super) async fn publisher(
        &self,
        agent: &AgentSpec,
        sink: &SinkSpec,
        at: usize,
    ) -> Result<(PublisherHandle, PublisherTask), AppError> {
        let spec = &sink.publishers[at];
        let failed =
            |source: PublisherError| AppError::Publisher { label: Arc::clone(&spec.label), source };
        let alike = sink.publishers.iter().filter(|other| other.label == spec.label);
        let claim = SpoolClaim {
            sink: &sink.name,
            label: &spec.label,
            receiver: self.host_id.name(&["receiver", spec.url.reveal()], &[]),
            nth: sink.publishers[..at].iter().filter(|other| other.url == spec.url).count(),
            alone: alike.count() == 1,
        };
        let claimed = self.spools.claim(claim).await;
        let (name, number) = claimed.map_err(|error| failed(error.into()))?;
        let settings = publish::PublisherSettings {
            host: agent.host.clone(),
            messages: message_form(agent),
            rotation: self.rotation.clone(),
            host_id: self.host_id,
            spools: self.spools.clone(),
            bounds: SpoolBounds {
                bytes: agent.store.bytes,
                count: None,
                age: Some(agent.store.age),
                evict_last: agent.store.last.clone(),
            },
            when_full: self.when_full,
            components: self.components.clone(),
            catalog: Arc::new(KeystoneCatalog),
            sink: Arc::clone(&sink.name),
            streams: self.streams.clone(),
        };
        let name_in_ledger = match number {
            1 => Arc::clone(&spec.label),
            number => format!("{}#{number}", spec.label).into(),
        };
        let count = self.ledger.publisher(&sink.name, &name_in_ledger);
        publish::open(spec, &name, &settings, &count).await.map_err(failed)
    }
}

/// The form and signature of metering messages.
pub(super) fn message_form(agent: &AgentSpec) -> MessageForm {
    MessageForm {
        signer: Signer::new(&agent.message.telemetry_secret, agent.message.signature),
        release: agent.metering.release,
    }
}

/// The settings of a component, without its shadow and its guard: these change nothing of it.
pub(super) fn component(agent: &AgentSpec, name: &str) -> ComponentSpec {
    let guard = GuardSpec::default();
    ComponentSpec { shadow: None, guard, ..agent.components.settings(name) }
}

/// At their options, problems with these.
fn placed(
    spec: &TransformerSpec,
    errors: &[OptionError],
) -> impl Iterator<Item = ComponentProblem> {
    errors.iter().map(|error| ComponentProblem {
        place: spec.locations.location(&error.pointer).clone(),
        reason: format!("{}: {}: {}", spec.name, error.pointer, error.reason),
    })
}

/// Places errors in options at these options, and other errors where the file names the component.
pub(super) fn problems_of(spec: &TransformerSpec, error: ComponentError) -> Vec<ComponentProblem> {
    match error {
        ComponentError::Options { errors, omitted, .. } => {
            let kept = errors.len();
            let mut problems: Vec<ComponentProblem> = placed(spec, &errors).collect();
            if let Err(bound) = Bound::OptionErrors.check(kept + omitted) {
                let reason = format!("{}: and {omitted} more; {bound}", spec.name);
                problems.push(ComponentProblem { place: spec.location.clone(), reason });
            }
            problems
        }
        error => vec![ComponentProblem {
            place: spec.location.clone(),
            reason: telemetry::Chain(&error).to_string(),
        }],
    }
}
