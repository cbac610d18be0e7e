//! Settings of the host that the checks of a pipeline depend on.

use std::path::PathBuf;

use crate::broker::BrokerSpec;
use nephometer_model::Release;

/// The meters that an agent has.
#[derive(Debug, Clone, Default)]
pub struct KnownMeters {
    /// Those with fixed names. Without any, `meters` are not checked against them.
    pub names: Vec<String>,
    /// Those of other releases, each with the latest one.
    pub others: Vec<(String, Release)>,
    /// The prefix of those whose names depend on the hypervisor.
    pub prefix: &'static str,
}

/// Settings of the host that the checks of a pipeline depend on.
#[derive(Debug, Default)]
pub(crate) struct PipelineContext {
    /// The broker of `notifier://` without a host.
    pub(crate) broker: BrokerSpec,
    /// `components.path`: an unknown scheme may be the name of a component.
    pub(crate) components: Vec<PathBuf>,
    /// The names of components from registries, likewise.
    pub(crate) fetched: Vec<String>,
    /// The meters of the release.
    pub(crate) meters: KnownMeters,
}

impl PipelineContext {
    /// Whether a component with this name exists.
    pub(super) fn has_component(&self, name: &str) -> bool {
        let file = format!("{name}.wasm");
        self.fetched.iter().any(|one| one == name)
            || self.components.iter().any(|folder| folder.join(&file).is_file())
    }
}
