//! Events of what publishers reach.

use tracing::warn;

/// A component wanted to reach what it was not granted. `grant` is an entry for
/// `components.by_name.NAME.grants.connect`.
pub fn refused(component: &str, target: &str, reason: &str, grant: &str) {
    warn!(
        component,
        target,
        reason,
        grant = format!("components.by_name.{component}.grants.connect: [\"{grant}\"]"),
        "component was refused a connection"
    );
}

/// No certificate authority is trusted, so that nothing can be reached over TLS.
pub fn no_roots(reason: &str, unusable: usize) {
    warn!(reason, unusable, "this machine trusts no certificate authority");
}
