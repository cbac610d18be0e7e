//! Events of the client of OpenStack.

use std::error::Error;
use std::path::Path;

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

/// The file with the last known servers cannot be read or written. Check the folder of the store; while
/// Nova answers, nothing is missing.
pub fn known_servers_unusable(path: &Path, reason: &dyn Error) {
    warn!(path = %path.display(), reason = %Chain(reason), "known servers unusable");
}
