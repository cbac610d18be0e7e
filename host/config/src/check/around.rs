//! What the meaning of a publisher's URL depends on.

use std::path::PathBuf;

use crate::broker::BrokerSpec;

/// What the meaning of a publisher's URL depends on.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// What `notifier://` without a host means.
    pub(crate) broker: BrokerSpec,
    /// `components.path`: a scheme that is none of this version may be a component's name.
    pub(crate) components: Vec<PathBuf>,
}

impl Around {
    /// Whether there is a file of a component with this name.
    pub(super) fn has_component(&self, name: &str) -> bool {
        let file = format!("{name}.wasm");
        self.components.iter().any(|folder| folder.join(&file).is_file())
    }
}
