//! Events of components from registries.

use std::error::Error;

use tracing::{info, warn};

use crate::Chain;

/// A component is here and verified. It is loaded by the reload that follows.
pub fn component_pulled(component: &str, reference: &str, key: Option<&str>) {
    info!(component, reference, key, "component pulled");
}

/// A component cannot be pulled. It is tried again less and less often; what runs stays.
pub fn component_pull_failed(component: &str, reference: &str, reason: &dyn Error) {
    warn!(component, reference, reason = %Chain(reason), "component pull failed");
}
