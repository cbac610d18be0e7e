//! What a sink does when a transformer fails: failure actions, quarantine, dead letters, fixtures.

use tokio::time::Instant;

use super::applied_actions;
use super::handle::SinkState;
use super::sink::{Sink, spread};
use crate::publish;
use crate::transform::{AppliedAction, ChainError, FailureAction};
use nephometer_config::OnError;
use nephometer_model::{Offset, Sample};
use nephometer_proof::DeclaredDrop;
use nephometer_store::{FailedBatch, JournalEntry, Manifest};
use nephometer_telemetry::{Dropped, events};

impl Sink {
    /// The failure action that `on_error` asks for, persisted before it is applied. `None`: the
    /// batch stays pending.
    pub(super) async fn choose_action(
        &mut self,
        entry: &JournalEntry,
        error: &ChainError,
        actions: &mut Vec<AppliedAction>,
    ) -> Option<AppliedAction> {
        let transformer_index = error.transformer_index;
        let on_error = self.on_error(transformer_index);
        let samples = entry.batch.samples.len();
        let message = error.to_string();
        if self.inbox.status.borrow().state == SinkState::Running {
            events::pipeline::component_failed(&self.name, samples, on_error.as_str(), error);
            self.save_failed_input(entry.offset, error).await;
        }
        let spread = spread(&entry.batch);
        let quarantine = self.quarantine.get_mut(transformer_index);
        if quarantine.is_some_and(|one| one.record_failure(Instant::now(), spread)) {
            if !matches!(self.inbox.status.borrow().state, SinkState::Quarantined(_)) {
                events::pipeline::quarantined(&self.name, &error.component, &error.reason);
            }
            self.set_state(SinkState::Quarantined(message));
        } else {
            self.set_state(SinkState::Failing(message));
        }
        let applied = |action: &AppliedAction| action.transformer_index == transformer_index;
        let action = match on_error {
            OnError::Hold => return None,
            _ if actions.iter().any(applied) => return None,
            OnError::Drop => FailureAction::Drop,
            OnError::Keep => FailureAction::Keep,
        };
        let action = AppliedAction { transformer_index, action };
        actions.push(action);
        self.persist_actions(entry.offset, actions).await;
        Some(action)
    }

    /// Saves the input that a component failed on as a fixture for its author. Best effort: an
    /// error is logged.
    async fn save_failed_input(&self, offset: Offset, error: &ChainError) {
        let (Some(revision), Some(input)) = (&self.revision, &error.input) else { return };
        let identities = revision.chain.identities();
        let Some(identity) = identities.get(error.transformer_index) else { return };
        let text = publish::render_fixture(&error.to_string(), &identity.options, input);
        let name = format!("{}-{offset}", error.component);
        match self.dead_letters.keep_fixture(&name, &text).await {
            Ok(Some(path)) => {
                events::pipeline::failed_input_saved(&self.name, &error.component, &path);
            }
            Ok(None) => {}
            Err(error) => events::store::write_failed(&error),
        }
    }

    async fn persist_actions(&self, offset: Offset, actions: &[AppliedAction]) {
        if let Err(error) = self.journal.note(offset, &applied_actions::encode(actions)).await {
            events::store::write_failed(&error);
        }
    }

    pub(super) fn on_error(&self, transformer_index: usize) -> OnError {
        let revision = self.revision.as_ref();
        revision.and_then(|one| one.on_error.get(transformer_index)).copied().unwrap_or_default()
    }

    /// Failure actions for transformers in quarantine. With `on_error: hold` there is none.
    pub(super) fn actions_in_quarantine(&self) -> Vec<AppliedAction> {
        let now = Instant::now();
        let skipped = self.quarantine.iter().enumerate().filter(|(_, one)| one.is_active(now));
        skipped
            .filter_map(|(transformer_index, _)| {
                let action = match self.on_error(transformer_index) {
                    OnError::Hold => return None,
                    OnError::Drop => FailureAction::Drop,
                    OnError::Keep => FailureAction::Keep,
                };
                Some(AppliedAction { transformer_index, action })
            })
            .collect()
    }

    /// Writes the samples that failure actions dropped as dead letters.
    pub(super) async fn write_dead_letters(&mut self, entry: &JournalEntry) {
        let Some(revision) = &mut self.revision else { return };
        let dropped = revision.chain.take_dropped();
        if dropped.is_empty() {
            return;
        }
        let identities = revision.chain.identities();
        let reason = self.inbox.status.borrow().state.reason().unwrap_or_default().to_owned();
        for one in dropped {
            self.fanout.declare(&declared_drop(&one.samples)).await;
            let Some(identity) = identities.get(one.transformer_index) else { continue };
            let letter = FailedBatch {
                sink: &self.name,
                transformer: one.transformer_index,
                component: &identity.component,
                digest: &identity.digest,
                reason: &reason,
                offset: entry.offset,
                source: &entry.batch.source,
                cycle_start: entry.batch.cycle_start.wall,
                samples: &one.samples,
            };
            if let Err(error) = self.dead_letters.append(letter).await {
                events::store::write_failed(&error);
            }
        }
    }
}

/// The declaration that a transformer's failure has cost these samples.
fn declared_drop(samples: &[Sample]) -> DeclaredDrop {
    let manifest = Manifest::from_samples(samples);
    let meters = manifest.by_meter().into_iter();
    let times = || samples.iter().map(|sample| sample.taken.wall.as_nanos());
    DeclaredDrop {
        reason: Dropped::Failed.as_str().to_owned(),
        numbers: None,
        samples: samples.len() as u64,
        meters: meters.map(|(meter, count)| (meter.to_owned(), count)).collect(),
        begin: times().min().unwrap_or(0),
        until: times().max().unwrap_or(0),
    }
}
