//! Components from registries: what is here and verified, and the task that pulls the rest.
//!
//! The agent starts and reloads with what is on disk. A registry is asked beside it, and never for
//! longer than a bound that anything waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use nephometer_config::{
    AgentSpec, ComponentOrigin, ComponentsSpec, ContentDigest, Provision, ShadowSource,
    SignaturesSpec, live_name, shadow_name,
};
use nephometer_model::Bound;
use nephometer_registry::{
    PulledComponent, PulledStore, Registries, RegistryError, SignatureError, verify,
};
use nephometer_telemetry::Chain;
use nephometer_telemetry::events::registry as events;

/// The first and the longest delay before registries are asked again.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

/// Why a file cannot be the shadow of a component that needs a signature.
const UNSIGNED: &str = "components.signatures requires a signature, which a file cannot have; name a \
    component in a registry as its shadow, or list it in allow_unsigned";

/// Why a component from a registry cannot be used now.
#[derive(Debug, Error)]
pub(crate) enum SupplyError {
    /// Its tag was never resolved.
    #[error("the tag of {0} has no digest in components.lock; run `nephometer component pull`")]
    Unresolved(String),
    /// It is not on disk.
    #[error("{0} is not here; the running agent pulls it, and so does `nephometer component pull`")]
    Absent(String),
    /// Its signatures do not count.
    #[error("{reference}")]
    Signature {
        /// Where it comes from.
        reference: String,
        /// Why they do not.
        source: SignatureError,
    },
    /// The registry does not have it or does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A component that is here and accepted.
#[derive(Debug)]
pub(crate) struct SuppliedComponent {
    pub(crate) file: PulledComponent,
    /// The name of the key that signed it.
    pub(crate) key: Option<String>,
}

/// A component on disk, if it may be used. The shadow of a component is a version of it, and is kept
/// beside the others.
///
/// # Errors
/// With the reason and the remedy.
pub(crate) fn supplied(
    store: &PulledStore,
    name: &str,
    origin: &ComponentOrigin,
    signatures: &SignaturesSpec,
) -> Result<SuppliedComponent, SupplyError> {
    let (reference, name) = (origin.reference.to_string(), live_name(name));
    let Some(digest) = origin.digest() else { return Err(SupplyError::Unresolved(reference)) };
    let Some(file) = store.find(name, digest) else { return Err(SupplyError::Absent(reference)) };
    match verify(name, digest, &file.signatures, signatures) {
        Ok(key) => Ok(SuppliedComponent { file, key }),
        Err(source) => Err(SupplyError::Signature { reference, source }),
    }
}

/// What the components with `from`, and all shadows, are now, from disk alone.
pub(crate) fn provisions(spec: &AgentSpec) -> BTreeMap<String, Provision> {
    let store = PulledStore::new(&spec.cache);
    let signatures = &spec.components.signatures;
    let from_registries = spec.components.origins().map(|(name, origin)| {
        let provision = match supplied(&store, &name, origin, signatures) {
            Ok(found) => Provision::File { path: found.file.path, digest: found.file.content },
            Err(error) => Provision::Missing(Chain(&error).to_string()),
        };
        (name, provision)
    });
    let files = spec.components.by_name.iter().filter_map(|(name, spec)| {
        let ShadowSource::File(path) = &spec.shadow.as_ref()?.source else { return None };
        let provision = match signatures.requires(name, false) {
            true => Provision::Missing(UNSIGNED.to_owned()),
            false => Provision::Local(path.clone()),
        };
        Some((shadow_name(name), provision))
    });
    from_registries.chain(files).collect()
}

/// Pulls a component at a digest into the folder and verifies it. What is here already gets the
/// signatures that the registry has now.
///
/// # Errors
/// If the registry does not have it, or its signatures do not count.
pub(crate) async fn pull(
    work: &PullWork,
    name: &str,
    origin: &ComponentOrigin,
    digest: ContentDigest,
) -> Result<SuppliedComponent, SupplyError> {
    let reference = origin.reference.at(digest);
    let store = work.store.clone();
    let here = store.find(live_name(name), digest).filter(PulledComponent::is_intact);
    let kept = match here {
        Some(file) => {
            let signatures = work.registries.signatures(&reference, digest).await?;
            blocking(move || store.keep_signatures(&file, &signatures)).await
        }
        None => {
            let fetched = work.registries.pull(&reference).await?;
            let name = live_name(name).to_owned();
            blocking(move || store.keep(&name, &fetched).map(drop)).await
        }
    };
    kept?;
    let pinned = ComponentOrigin { locked: Some(digest), ..origin.clone() };
    supplied(&work.store, name, &pinned, &work.signatures)
}

async fn blocking(
    write: impl FnOnce() -> Result<(), RegistryError> + Send + 'static,
) -> Result<(), RegistryError> {
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|panic| {
        Err(RegistryError::Folder {
            path: "the folder of pulled components".to_owned(),
            source: std::io::Error::other(panic),
        })
    })
}

/// What pulling needs.
#[derive(Debug, Clone)]
pub(crate) struct PullWork {
    pub(crate) store: PulledStore,
    pub(crate) registries: Registries,
    pub(crate) signatures: SignaturesSpec,
}

impl PullWork {
    pub(crate) fn new(spec: &AgentSpec) -> Self {
        Self {
            store: PulledStore::new(&spec.cache),
            registries: Registries::new(&spec.components),
            signatures: spec.components.signatures.clone(),
        }
    }
}

/// Pulls what is missing, beside the agent.
#[derive(Default)]
pub(super) struct Supply {
    task: Option<JoinHandle<()>>,
    /// What the task was started for.
    wanted: Option<ComponentsSpec>,
    rounds: Option<watch::Receiver<u64>>,
    arrived: Arc<Notify>,
}

impl Drop for Supply {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A component to pull, at this digest.
type Missing = (String, ComponentOrigin, ContentDigest);

impl Supply {
    /// Starts to pull what a configuration lacks. With `waits`, a task that waits for its next attempt
    /// for the same components goes on waiting.
    pub(super) fn start(&mut self, spec: &AgentSpec, waits: bool) {
        let same = self.wanted.as_ref().is_some_and(|wanted| {
            let new = &spec.components;
            wanted.origins().eq(new.origins())
                && (&wanted.registries, &wanted.signatures) == (&new.registries, &new.signatures)
        });
        if waits && same && self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let work = PullWork::new(spec);
        let missing = missing(&work, &spec.components);
        self.wanted = Some(spec.components.clone());
        self.rounds = None;
        if missing.is_empty() {
            return;
        }
        let (rounds, receiver) = watch::channel(0);
        self.rounds = Some(receiver);
        self.task =
            Some(tokio::spawn(keep_pulling(work, missing, rounds, Arc::clone(&self.arrived))));
    }

    /// Waits until everything was tried once, at most for [`Bound::RegistryWait`].
    pub(super) async fn first_attempt(&mut self) {
        let Some(rounds) = &mut self.rounds else { return };
        let most = Duration::from_millis(Bound::RegistryWait.most());
        // Without an answer, the caller goes on with what is here.
        drop(timeout(most, rounds.wait_for(|done| *done > 0)).await);
    }

    /// Waits until a component has arrived.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// What is not here, or not accepted with the signatures that are here.
fn missing(work: &PullWork, spec: &ComponentsSpec) -> Vec<Missing> {
    let lacking = |(name, origin): (String, &ComponentOrigin)| {
        let found = supplied(&work.store, &name, origin, &work.signatures);
        found.is_err().then(|| Some((name, origin.clone(), origin.digest()?)))?
    };
    spec.origins().filter_map(lacking).collect()
}

/// Tries until everything is here.
async fn keep_pulling(
    work: PullWork,
    mut missing: Vec<Missing>,
    rounds: watch::Sender<u64>,
    arrived: Arc<Notify>,
) {
    let (mut delay, longest) = RETRY_DELAY;
    let mut reported: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let mut left = Vec::new();
        for (name, origin, digest) in missing {
            let reference = origin.reference.at(digest).to_string();
            match pull(&work, &name, &origin, digest).await {
                Ok(found) => {
                    events::component_pulled(&name, &reference, found.key.as_deref());
                    arrived.notify_one();
                }
                Err(error) => {
                    // Once, and again when the reason changes.
                    let reason = Chain(&error).to_string();
                    if reported.insert(name.clone(), reason.clone()) != Some(reason) {
                        events::component_pull_failed(&name, &reference, &error);
                    }
                    left.push((name, origin, digest));
                }
            }
        }
        rounds.send_modify(|done| *done += 1);
        if left.is_empty() {
            return;
        }
        missing = left;
        sleep(delay).await;
        delay = longest.min(delay * 2);
    }
}
