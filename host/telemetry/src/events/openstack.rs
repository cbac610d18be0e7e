//! Events of the client of OpenStack.

use std::error::Error;

use tracing::{info, warn};

use crate::Chain;

/// Keystone or Nova cannot be asked. What is known of servers stays in use.
pub fn nova_unreachable(url: &str, reason: &dyn Error, known_servers: usize) {
    warn!(url, reason = %Chain(reason), known_servers, "nova unreachable");
}

/// Nova was asked, for the first time or again.
pub fn nova_reachable(url: &str, servers: usize) {
    info!(url, servers, "nova reachable");
}
