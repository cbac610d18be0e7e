//! Shadows of transformers: which ones run beside the sinks, and what they have found.
//!
//! Starts and ends their tasks. A shadow never delays a sink, a reload or the end of the agent.

mod json;
mod promotions;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::factory::{Factory, TransformerKey};
use super::shadow_list::ShadowEntry;
pub(super) use json::{full, number, promoted, summary};
use nephometer_config::{AgentSpec, ShadowSpec, StateMismatch, TransformerSpec, shadow_name};
use nephometer_pipeline::transform::ComponentTransformer;
use nephometer_pipeline::{Shadow, ShadowReport, SinkHandle};
use nephometer_telemetry::{Chain, events};
use nephometer_wasm::ComponentHost;
pub(super) use promotions::Promotions;

/// Everything that a shadow depends on: with an equal key it goes on after a reload.
#[derive(Debug, PartialEq)]
struct ShadowKey {
    sink: Arc<str>,
    index: usize,
    live: TransformerKey,
    shadow: ShadowSpec,
    /// Its digest, or why it cannot be found.
    found: Result<[u8; 32], String>,
}

/// A shadow and its task, which ends with it.
#[derive(Debug)]
struct RunningShadow {
    key: ShadowKey,
    entry: Arc<ShadowEntry>,
    task: Option<JoinHandle<()>>,
}

impl Drop for RunningShadow {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The running shadows.
#[derive(Debug, Default)]
pub(super) struct Shadows(Vec<RunningShadow>);

impl Shadows {
    /// Starts the shadows that the configuration has beside the running transformers, and ends all
    /// others.
    pub(super) async fn sync(
        &mut self,
        factory: &Arc<Factory>,
        spec: &AgentSpec,
        sinks: &[(Arc<str>, SinkHandle)],
        running: &HashMap<Arc<str>, Vec<TransformerKey>>,
    ) {
        let mut before = std::mem::take(&mut self.0);
        let host = factory.components.with_spec(&spec.components).await;
        for sink in &spec.pipeline.sinks {
            let handle = sinks.iter().find(|(name, _)| *name == sink.name);
            let (Some(keys), Some((_, handle))) = (running.get(&sink.name), handle) else {
                continue;
            };
            for (index, (live, transformer)) in keys.iter().zip(&sink.transformers).enumerate() {
                let Some(key) = key(&host, spec, (&sink.name, index), live).await else { continue };
                let shadow = match before.iter().position(|one| one.key == key) {
                    Some(same) => before.swap_remove(same),
                    None => start(factory, &host, key, (transformer, handle)),
                };
                self.0.push(shadow);
            }
        }
        factory.shadows.replace(self.0.iter().map(|one| Arc::clone(&one.entry)).collect());
    }
}

/// What the shadow of a transformer would be; `None` if it has none.
async fn key(
    host: &ComponentHost,
    spec: &AgentSpec,
    (sink, index): (&Arc<str>, usize),
    live: &TransformerKey,
) -> Option<ShadowKey> {
    let component = &live.identity.component;
    let shadow = spec.components.by_name.get(&**component)?.shadow.clone()?;
    let found = host.identify(&shadow_name(component)).await;
    let found = match found {
        Ok(digest) if *digest.as_bytes() == live.identity.digest => {
            Err("it is the same as the live component".to_owned())
        }
        Ok(digest) => Ok(*digest.as_bytes()),
        Err(error) => Err(Chain(&error).to_string()),
    };
    Some(ShadowKey { sink: Arc::clone(sink), index, live: live.clone(), shadow, found })
}

/// The shadow of a transformer: another component with the same options.
pub(super) fn shadow_of(transformer: &TransformerSpec) -> TransformerSpec {
    TransformerSpec { name: shadow_name(&transformer.name).into(), ..transformer.clone() }
}

fn start(
    factory: &Arc<Factory>,
    host: &ComponentHost,
    key: ShadowKey,
    (transformer, handle): (&TransformerSpec, &SinkHandle),
) -> RunningShadow {
    let component = &key.live.identity.component;
    let place = format!("{}/{}", key.sink, key.index);
    let entry = Arc::new(ShadowEntry {
        sink: Arc::clone(&key.sink),
        index: key.index,
        component: Arc::clone(component),
        source: key.shadow.source.to_string(),
        live: key.live.identity.digest,
        digest: key.found.as_ref().ok().copied(),
        before: json::stats(&factory.components, &place, component),
        report: ShadowReport::default(),
    });
    if let Err(reason) = &key.found {
        events::component::shadow_stopped(&key.sink, component, reason);
        entry.report.stop(reason.clone());
        return RunningShadow { key, entry, task: None };
    }
    let shadow = Shadow {
        sink: handle.clone(),
        sink_name: Arc::clone(&key.sink),
        index: key.index,
        live: key.live.identity.clone(),
        may_reset: key.live.spec.on_state_mismatch == StateMismatch::Reset,
        threads: host.guest_threads(),
        report: entry.report.clone(),
    };
    let transformer = shadow_of(transformer);
    // It may have to be compiled: nobody waits for it.
    let host = host.clone();
    let task = tokio::spawn(async move {
        match ComponentTransformer::create(&host, &transformer, &place).await {
            Ok(transformer) => shadow.run(Box::new(transformer)).await,
            Err(error) => {
                let reason = Chain(&error).to_string();
                events::component::shadow_stopped(
                    &shadow.sink_name,
                    &shadow.live.component,
                    &reason,
                );
                shadow.report.stop(reason);
            }
        }
    });
    RunningShadow { key, entry, task: Some(task) }
}
