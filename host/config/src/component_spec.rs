//! Components as other crates use them: where they come from, and what each may use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::discovery::CloudSpec;
use super::grant::Grant;
use super::proxies::Proxies;
use super::registry::{ComponentOrigin, Provision, RegistrySpec, SignaturesSpec};
use nephometer_model::Bound;

/// Where components are found and what each may use.
#[derive(Debug, Clone, Default)]
pub struct ComponentsSpec {
    /// `components.path`: folders; the first match is used.
    pub path: Vec<PathBuf>,
    /// `components.by_name`.
    pub by_name: BTreeMap<String, ComponentSpec>,
    /// `components.registries`, by host and port.
    pub registries: BTreeMap<String, RegistrySpec>,
    /// `components.signatures`
    pub signatures: SignaturesSpec,
    /// `components.guard`: of components that have no settings of their own.
    pub guard: GuardSpec,
    /// `components.totals`: what all components may use together.
    pub totals: TotalsSpec,
    /// The program that compiles components in a separate process, called with the argument
    /// `compile`. Not a key: `cli` sets it. `None` compiles them in this process.
    pub compiler: Option<PathBuf>,
    /// The proxies of the environment. Not a key.
    pub proxies: Proxies,
    /// The components with `from`, and all shadows, by name. Not a key: the agent sets it before it loads components.
    pub provided: BTreeMap<String, Provision>,
}

/// Settings of one component, for all of its uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ComponentSpec {
    /// `from`: where it comes from, in place of a file.
    pub from: Option<ComponentOrigin>,
    /// `shadow`: another version that runs beside it.
    pub shadow: Option<ShadowSpec>,
    /// `guard`
    pub guard: GuardSpec,
    /// `limits`
    pub limits: LimitsSpec,
    /// `on_error`
    pub on_error: OnError,
    /// `on_state_mismatch`
    pub on_state_mismatch: StateMismatch,
    /// `grants.connect`: what a publisher may reach besides the host of its URL.
    pub connect: Vec<Grant>,
    /// `grants.service_credentials`: the credentials of the cloud, which the component gets as options.
    pub cloud: Option<CloudSpec>,
    /// `options`: of a publisher, wherever it is used; the parts of its URL win over them. May hold
    /// secrets.
    pub options: SecretOptions,
}

impl ComponentsSpec {
    /// What comes from registries: components with `from` by their names, and their shadows by
    /// theirs ([`shadow_name`]).
    pub fn origins(&self) -> impl Iterator<Item = (String, &ComponentOrigin)> {
        self.by_name.iter().flat_map(|(name, spec)| {
            let shadow = match spec.shadow.as_ref().map(|shadow| &shadow.source) {
                Some(ShadowSource::Registry(origin)) => Some((shadow_name(name), origin)),
                _ => None,
            };
            let own = spec.from.as_ref().map(|origin| (name.clone(), origin));
            own.into_iter().chain(shadow)
        })
    }

    /// The settings of a component, or of the shadow of one ([`shadow_name`]).
    pub fn settings(&self, name: &str) -> ComponentSpec {
        let live = live_name(name);
        let other = || ComponentSpec { guard: self.guard, ..ComponentSpec::default() };
        let mut settings = self.by_name.get(live).cloned().unwrap_or_else(other);
        if live != name
            && let Some(shadow) = settings.shadow.take()
        {
            settings.limits = shadow.limits;
        }
        settings
    }
}

/// What the name of a component is followed by in that of its shadow.
const SHADOW: &str = "/shadow";

/// The name of the shadow of a component. No component has such a name: it has a slash.
pub fn shadow_name(component: &str) -> String {
    format!("{component}{SHADOW}")
}

/// The component whose shadow has this name; any other name is that of the component.
pub fn live_name(name: &str) -> &str {
    name.strip_suffix(SHADOW).unwrap_or(name)
}

/// Another version of a component, which gets the same batches.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSpec {
    /// `shadow`
    pub source: ShadowSource,
    /// `shadow_limits`
    pub limits: LimitsSpec,
}

/// Where a shadow comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowSource {
    /// A file.
    File(PathBuf),
    /// A registry.
    Registry(ComponentOrigin),
}

impl fmt::Display for ShadowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Registry(origin) => write!(f, "{}", origin.reference),
        }
    }
}

/// How a change of a component is guarded: when the version before takes over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSpec {
    /// `enabled`
    pub enabled: bool,
    /// `cycles`: polling cycles of each source that are compared.
    pub cycles: u32,
    /// `sums`: percent by which the sum of a meter may differ.
    pub sums: u32,
    /// `samples`: percent by which the number of samples of a meter may differ.
    pub samples: u32,
    /// `absent`: series that only the version before may have.
    pub absent: u64,
    /// `cost`: how many times the processor time per sample may be.
    pub cost: u32,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self { enabled: false, cycles: 10, sums: 10, samples: 10, absent: 0, cost: 10 }
    }
}

impl GuardSpec {
    /// The guard of a change that both guard: the strictest bounds, over the longest time.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            enabled: self.enabled || other.enabled,
            cycles: self.cycles.max(other.cycles),
            sums: self.sums.min(other.sums),
            samples: self.samples.min(other.samples),
            absent: self.absent.min(other.absent),
            cost: self.cost.min(other.cost),
        }
    }
}

/// Limits of one component. Exceeding one is logged with its key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitsSpec {
    /// `memory`: bytes of linear memory.
    pub memory: u64,
    /// `cpu`: processor time of one call.
    pub cpu: Duration,
    /// `wall`: elapsed time of one call.
    pub wall: Duration,
    /// `returned`: bytes that one call may return.
    pub returned: u64,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            memory: Bound::Memory.most(),
            cpu: Duration::from_millis(Bound::Cpu.most()),
            wall: Duration::from_millis(Bound::Wall.most()),
            returned: Bound::Returned.most(),
        }
    }
}

/// What all components together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotalsSpec {
    /// `memory`: bytes of linear memory of all instances.
    pub memory: u64,
    /// `states`: bytes of the saved states of all transformers.
    pub states: u64,
    /// `sockets`: sockets and connections open at once.
    pub sockets: usize,
}

impl Default for TotalsSpec {
    fn default() -> Self {
        Self {
            memory: Bound::TotalMemory.most(),
            states: Bound::TotalStates.most(),
            sockets: Bound::TotalSockets.size(),
        }
    }
}

/// The failure action for a batch that a component failed on twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The sink waits and retries; batches wait in the journal.
    #[default]
    Hold,
    /// The samples are dropped and counted.
    Drop,
    /// The samples pass unchanged.
    Keep,
}

impl OnError {
    /// The value in `nephometer.yaml` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Drop => "drop",
            Self::Keep => "keep",
        }
    }
}

/// What happens if a new version of a component refuses the state of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateMismatch {
    /// The old version stays in use; without one, the sink is on hold.
    #[default]
    KeepOld,
    /// The new version starts without state.
    Reset,
}

/// JSON that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretOptions(Map<String, Value>);

impl SecretOptions {
    /// Wraps `options`.
    pub fn new(options: Map<String, Value>) -> Self {
        Self(options)
    }

    /// The options themselves: for the component only.
    pub fn reveal(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl fmt::Debug for SecretOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
