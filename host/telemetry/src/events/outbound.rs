//! Events of outbound connections of publisher components.

use tracing::warn;

/// A component tried to reach a target without a grant. `grant` is an entry for
/// `components.by_name.NAME.grants.connect` that would allow it.
pub fn connection_denied(component: &str, target: &str, reason: &str, grant: &str) {
    warn!(
        component,
        target,
        reason,
        grant = format!("components.by_name.{component}.grants.connect: [\"{grant}\"]"),
        "outbound connection denied"
    );
}

/// This machine trusts no certificate authority: no target can be reached over TLS.
/// `unusable` certificates were skipped.
pub fn no_trusted_authority(reason: &str, unusable: usize) {
    warn!(reason, unusable, "no trusted certificate authority");
}

/// A component requested more than a limit allows. Logged once per limit.
pub fn limit_reached(component: &str, limit: &str, what: &str, max: usize, remedy: &str) {
    warn!(component, limit, what, max, remedy, "outbound limit reached");
}

/// The limit on open files is too low for `components.totals.sockets`; only `effective` sockets
/// are available.
pub fn sockets_lowered(configured: usize, effective: usize, file_descriptors: Option<u64>) {
    warn!(
        configured,
        effective,
        file_descriptors,
        "components.totals.sockets lowered, raise the limit on open files"
    );
}
