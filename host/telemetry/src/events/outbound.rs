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

/// A component had as much of something as it may have, and asked for more. Once for each bound.
pub fn over(component: &str, bound: &str, what: &str, most: usize, remedy: &str) {
    warn!(component, bound, what, most, remedy, "component was refused more than its bound");
}

/// There are not enough file descriptors for as many sockets as publishers may have.
pub fn sockets_lowered(setting: usize, most: usize, descriptors: Option<u64>) {
    warn!(
        setting,
        most,
        descriptors,
        "too few file descriptors for components.totals.sockets, raise the limit on open files"
    );
}
