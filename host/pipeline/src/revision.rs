use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::transform::{
    AppliedAction, Chain, ChainError, FailureAction, Identity, JournaledBatch, SampleList, State,
    Window,
};
use nephometer_config::{OnError, StateMismatch};
use nephometer_model::Offset;
use nephometer_store::{SavedChain, SavedTransformer};
use nephometer_telemetry::events;
use nephometer_wasm::GuestThreads;

/// How long after a swap the generation before comes back if the new one fails.
const WINDOW: Duration = Duration::from_secs(600);
/// What is kept at most for that: rows of the events since the swap, about 100 bytes each.
const WINDOW_ROWS: usize = 90_000;
/// And bytes of them, with the resources that they are of.
const WINDOW_BYTES: usize = 32 << 20;
/// And events: fewer than what a chain takes into its history at once.
const WINDOW_EVENTS: usize = 500;

/// The transformers of a sink, as one: what a reload replaces as a whole.
pub struct ChainRevision {
    /// The transformers.
    pub chain: Chain,
    /// Per transformer: what becomes of a batch that it failed on twice.
    pub on_error: Vec<OnError>,
    /// Per transformer: what happens if it does not take the state that it is to start from.
    pub on_state_mismatch: Vec<StateMismatch>,
}

/// What a new generation starts from: the states at one place, and what came since.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Where the states were saved.
    pub offset: Offset,
    /// Component and state of every stage.
    pub slots: Vec<(Arc<str>, Option<State>)>,
    /// What came since.
    pub events: Vec<JournaledBatch>,
}

impl Snapshot {
    /// As it was saved.
    pub(super) fn saved(saved: SavedChain, events: Vec<JournaledBatch>) -> Self {
        let slot = |slot: SavedTransformer| {
            let version = slot.version;
            let state = slot.state.map(|bytes| State { version, bytes });
            (slot.component.into(), state)
        };
        let slots = saved.transformers.into_iter().map(slot).collect();
        Self { offset: saved.offset, slots, events }
    }

    /// As a running chain has it.
    pub(super) fn running(chain: &Chain) -> Self {
        let (offset, states, events) = chain.snapshot();
        let names = chain.identities().into_iter().map(|identity| identity.component);
        Self { offset, slots: names.zip(states).collect(), events }
    }

    /// The state for each of these components: that of the same component, the first one for the
    /// first one of that name and so on. What is new starts from nothing.
    fn states(&self, wanted: &[Identity]) -> Vec<Option<State>> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        wanted
            .iter()
            .map(|identity| {
                let nth = seen.entry(&identity.component).or_insert(0);
                let mut same = self.slots.iter().filter(|(name, _)| *name == identity.component);
                let state = same.nth(*nth).and_then(|(_, state)| state.clone());
                *nth += 1;
                state
            })
            .collect()
    }
}

impl ChainRevision {
    /// Brings fresh instances to where the base ends.
    pub async fn catch_up(&mut self, snapshot: &Snapshot) -> Result<(), ChainError> {
        let identities = self.chain.identities();
        let mut states = snapshot.states(&identities);
        while let Err(error) = self.chain.resume(snapshot.offset, states.clone()).await {
            let mismatch = self.on_state_mismatch.get(error.slot).copied().unwrap_or_default();
            if !error.state_refused || mismatch == StateMismatch::KeepOld {
                return Err(error);
            }
            events::reload::state_reset(&error.sink, &error.component, &error.reason);
            states[error.slot] = None;
        }
        self.follow(snapshot.events.clone()).await
    }

    /// Runs a batch through all transformers, where guests run if `threads` is given: one switch there and
    /// one back.
    pub(super) async fn process(
        mut self,
        event: JournaledBatch,
        threads: Option<&GuestThreads>,
    ) -> (Self, Result<Vec<SampleList>, ChainError>) {
        let work = async move {
            let processed = self.chain.process(event).await;
            (self, processed)
        };
        match threads {
            Some(threads) => threads.run(work).await,
            None => work.await,
        }
    }

    /// Runs events that another generation has worked on.
    pub async fn follow(&mut self, since: Vec<JournaledBatch>) -> Result<(), ChainError> {
        for event in since {
            self.chain.replay(event).await?;
        }
        Ok(())
    }

    /// The same for a generation that has nobody to fall back on: an event that it fails on is
    /// left out of its state.
    pub(super) async fn follow_all(
        &mut self,
        since: Vec<JournaledBatch>,
    ) -> Result<(), ChainError> {
        for event in since {
            let Err(error) = self.chain.replay(event.clone()).await else { continue };
            events::component::state_incomplete(&error.sink, &error.component, &error.reason);
            let action = AppliedAction { slot: error.slot, action: FailureAction::Drop };
            self.chain.replay(event.with(action)).await?;
        }
        Ok(())
    }

    /// What a save on disk says of it.
    pub(super) fn to_save(&self) -> SavedChain {
        let (offset, states, _) = self.chain.snapshot();
        let slot = |(identity, state): (Identity, Option<State>)| SavedTransformer {
            component: identity.component.to_string(),
            digest: identity.digest,
            options: identity.options,
            version: state.as_ref().map_or(0, |state| state.version),
            state: state.map(|state| state.bytes),
        };
        let slots = self.chain.identities().into_iter().zip(states).map(slot).collect();
        SavedChain { offset, transformers: slots }
    }
}

/// The generation before, ready to come back.
pub(super) struct RollbackCandidate {
    revision: JoinHandle<ChainRevision>,
    since: Window,
    until: Instant,
}

impl RollbackCandidate {
    /// Saves it beside the running one, and lets go of its instances.
    pub(super) fn new(mut revision: ChainRevision) -> Self {
        let saving = async move {
            revision.chain.retire().await;
            revision
        };
        let until = Instant::now() + WINDOW;
        Self { revision: tokio::spawn(saving), since: Window::default(), until }
    }

    /// What it has to know to come back. False when the window is over.
    pub(super) fn remember(&mut self, event: &JournaledBatch) -> bool {
        self.since.push(event.clone());
        self.since.rows() <= WINDOW_ROWS
            && self.since.bytes() <= WINDOW_BYTES
            && self.since.events().len() <= WINDOW_EVENTS
            && Instant::now() < self.until
    }

    /// It comes back: with the next event it starts from its save.
    pub(super) async fn back(self) -> Option<ChainRevision> {
        let mut revision = self.revision.await.ok()?;
        let whole =
            self.since.into_events().into_iter().all(|event| revision.chain.remember(event));
        whole.then_some(revision)
    }
}
