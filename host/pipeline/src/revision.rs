//! Chain revisions: the transformers of a sink as one unit, which a reload replaces as a whole, and
//! the rollback candidate, which is the revision before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::transform::{
    AppliedAction, BatchLog, Chain, ChainError, FailureAction, Identity, JournaledBatch,
    SampleList, State,
};
use nephometer_config::{OnError, StateMismatch};
use nephometer_model::Offset;
use nephometer_store::{SavedChain, SavedTransformer};
use nephometer_telemetry::events;
use nephometer_wasm::GuestThreads;

/// How long after a takeover a failure of the new revision rolls back to the previous one.
const ROLLBACK_PERIOD: Duration = Duration::from_secs(600);
/// Bounds of what is kept for a rollback: samples since the takeover, about 100 bytes each.
const ROLLBACK_SAMPLES: usize = 90_000;
/// Bytes of them, with their resources.
const ROLLBACK_BYTES: usize = 32 << 20;
/// Batches: fewer than a chain accepts into its history at once.
const ROLLBACK_BATCHES: usize = 500;

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
            self.chain.catch_up(batch).await?;
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
            let Err(error) = self.chain.catch_up(batch.clone()).await else { continue };
            events::component::state_incomplete(&error.sink, &error.component, &error.reason);
            let transformer_index = error.transformer_index;
            let action = AppliedAction { transformer_index, action: FailureAction::Drop };
            self.chain.catch_up(batch.with_action(action)).await?;
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

/// The previous revision, ready to run again if the new one fails.
pub(super) struct RollbackCandidate {
    revision: JoinHandle<ChainRevision>,
    /// Batches since the takeover.
    log: BatchLog,
    expires: Instant,
}

impl RollbackCandidate {
    /// Saves the state of the revision in the background, and drops its instances.
    pub(super) fn new(mut revision: ChainRevision) -> Self {
        let suspending = async move {
            revision.chain.suspend().await;
            revision
        };
        let expires = Instant::now() + ROLLBACK_PERIOD;
        Self { revision: tokio::spawn(suspending), log: BatchLog::default(), expires }
    }

    /// Records a batch that the new revision has processed. Returns false once the candidate has
    /// expired or the log exceeds its bounds.
    pub(super) fn record(&mut self, batch: &JournaledBatch) -> bool {
        self.log.push(batch.clone());
        self.log.samples() <= ROLLBACK_SAMPLES
            && self.log.bytes() <= ROLLBACK_BYTES
            && self.log.batches().len() <= ROLLBACK_BATCHES
            && Instant::now() < self.expires
    }

    /// The revision with the recorded batches in its history: the next batch restores its saved
    /// state and processes them. `None` if the history cannot hold them all.
    pub(super) async fn into_revision(self) -> Option<ChainRevision> {
        let mut revision = self.revision.await.ok()?;
        let mut batches = self.log.into_batches().into_iter();
        let complete = batches.all(|batch| revision.chain.record_unprocessed(batch));
        complete.then_some(revision)
    }
}
