//! Chain revisions: the transformers of a sink as one unit, which a reload replaces as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::transform::{
    AppliedAction, Chain, ChainError, FailureAction, Identity, JournaledBatch, SampleList, State,
};
use nephometer_config::{OnError, StateMismatch};
use nephometer_model::Offset;
use nephometer_store::{SavedChain, SavedTransformer};
use nephometer_telemetry::events;
use nephometer_wasm::GuestThreads;

/// The transformers of a sink with their failure policies.
pub struct ChainRevision {
    /// The transformers.
    pub chain: Chain,
    /// Per transformer: what happens to a batch that it failed on twice.
    pub on_error: Vec<OnError>,
    /// Per transformer: what happens if it does not accept the state of the previous revision.
    pub on_state_mismatch: Vec<StateMismatch>,
}

/// What a new revision starts from: saved states, and the batches since.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Offset at which the states were saved.
    pub offset: Offset,
    /// Component name and state of every transformer.
    pub transformers: Vec<(Arc<str>, Option<State>)>,
    /// Batches after `offset`.
    pub batches: Vec<JournaledBatch>,
}

impl Snapshot {
    /// The snapshot on disk, and the batches since.
    pub(super) fn saved(saved: SavedChain, batches: Vec<JournaledBatch>) -> Self {
        let transformer = |saved: SavedTransformer| {
            let version = saved.version;
            let state = saved.state.map(|bytes| State { version, bytes });
            (saved.component.into(), state)
        };
        let transformers = saved.transformers.into_iter().map(transformer).collect();
        Self { offset: saved.offset, transformers, batches }
    }

    /// The snapshot of a running chain.
    pub(super) fn running(chain: &Chain) -> Self {
        let (offset, states, batches) = chain.snapshot();
        let names = chain.identities().into_iter().map(|identity| identity.component);
        Self { offset, transformers: names.zip(states).collect(), batches }
    }

    /// The state for each of these transformers: the nth use of a component gets the state of the
    /// nth use of that component. A new transformer starts without a state.
    fn states(&self, identities: &[Identity]) -> Vec<Option<State>> {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        identities
            .iter()
            .map(|identity| {
                let nth = uses.entry(&identity.component).or_insert(0);
                let saved = self.transformers.iter();
                let mut same = saved.filter(|(name, _)| *name == identity.component);
                let state = same.nth(*nth).and_then(|(_, state)| state.clone());
                *nth += 1;
                state
            })
            .collect()
    }
}

impl ChainRevision {
    /// Restores new instances from a snapshot: its states, then its batches.
    ///
    /// # Errors
    /// If a transformer fails, or rejects its state and `on_state_mismatch` is `keep_old`.
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), ChainError> {
        let identities = self.chain.identities();
        let mut states = snapshot.states(&identities);
        while let Err(error) = self.chain.restore(snapshot.offset, states.clone()).await {
            let index = error.transformer_index;
            let mismatch = self.on_state_mismatch.get(index).copied().unwrap_or_default();
            if !error.state_refused || mismatch == StateMismatch::KeepOld {
                return Err(error);
            }
            events::reload::state_reset(&error.sink, &error.component, &error.reason);
            states[index] = None;
        }
        self.process_missing(snapshot.batches.clone()).await
    }

    /// Runs a batch for which another revision publishes its output, on `threads` if given.
    pub(super) async fn process_silently(
        mut self,
        batch: JournaledBatch,
        threads: Option<&GuestThreads>,
    ) -> (Self, Result<Vec<SampleList>, ChainError>) {
        let work = async move {
            let processed = self.chain.process_silently(batch).await;
            (self, processed)
        };
        match threads {
            Some(threads) => threads.run(work).await,
            None => work.await,
        }
    }

    /// Runs a batch through all transformers, on `threads` if given: one switch there, one back.
    pub(super) async fn process(
        mut self,
        batch: JournaledBatch,
        threads: Option<&GuestThreads>,
    ) -> (Self, Result<Vec<SampleList>, ChainError>) {
        let work = async move {
            let processed = self.chain.process(batch).await;
            (self, processed)
        };
        match threads {
            Some(threads) => threads.run(work).await,
            None => work.await,
        }
    }

    /// Processes batches that the running revision has published, for their effect on the state.
    ///
    /// # Errors
    /// If a transformer fails on one of them.
    pub async fn process_missing(
        &mut self,
        missing: Vec<JournaledBatch>,
    ) -> Result<(), ChainError> {
        for batch in missing {
            self.chain.process_silently(batch).await?;
        }
        Ok(())
    }

    /// The same for a revision without a predecessor to keep: the state skips a batch that a
    /// transformer fails on.
    pub(super) async fn process_missing_or_skip(
        &mut self,
        missing: Vec<JournaledBatch>,
    ) -> Result<(), ChainError> {
        for batch in missing {
            let Err(error) = self.chain.process_silently(batch.clone()).await else { continue };
            events::component::state_incomplete(&error.sink, &error.component, &error.reason);
            let transformer_index = error.transformer_index;
            let action = AppliedAction { transformer_index, action: FailureAction::Drop };
            self.chain.process_silently(batch.with_action(action)).await?;
        }
        Ok(())
    }

    /// The last saved states in the form of the store.
    pub(super) fn to_save(&self) -> SavedChain {
        let (offset, states, _) = self.chain.snapshot();
        let transformer = |(identity, state): (Identity, Option<State>)| SavedTransformer {
            component: identity.component.to_string(),
            digest: identity.digest,
            options: identity.options,
            version: state.as_ref().map_or(0, |state| state.version),
            state: state.map(|state| state.bytes),
        };
        let identities = self.chain.identities().into_iter();
        SavedChain { offset, transformers: identities.zip(states).map(transformer).collect() }
    }
}
