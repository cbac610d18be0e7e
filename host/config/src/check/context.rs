//! Settings of the host that publisher URLs depend on.

use std::path::PathBuf;

use crate::broker::BrokerSpec;

/// Settings of the host that publisher URLs depend on.
#[derive(Debug, Default)]
pub(crate) struct PipelineContext {
    /// The broker of `notifier://` without a host.
    pub(crate) broker: BrokerSpec,
    /// `components.path`: an unknown scheme may be the name of a component.
    pub(crate) components: Vec<PathBuf>,
}

impl PipelineContext {
    /// Whether a component with this name exists.
    pub(super) fn has_component(&self, name: &str) -> bool {
        let file = format!("{name}.wasm");
        self.components.iter().any(|folder| folder.join(&file).is_file())
    }
}
