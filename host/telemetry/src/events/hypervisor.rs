//! Events of hypervisors.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};
use uuid::Uuid;

use crate::Chain;

/// libvirt cannot be reached any more, or could not from the start.
pub fn libvirt_lost(uri: &str, reason: &dyn Error) {
    warn!(uri, reason = %Chain(reason), "libvirt cannot be reached");
}

/// libvirt can be reached again.
pub fn libvirt_back(uri: &str) {
    info!(uri, "libvirt is back");
}

/// A call did not end within its deadline; its thread and connection were given up.
pub fn call_abandoned(what: &'static str, deadline: Duration) {
    warn!(what, ?deadline, "libvirt did not answer in time, call abandoned");
}

/// As many calls hang in libvirtd as may: statistics that need QEMU are not asked for.
pub fn monitor_avoided(abandoned: usize) {
    warn!(abandoned, "too many calls hang in libvirt, asking only for what needs no QEMU");
}

/// Calls that hung have ended: all statistics are asked for again.
pub fn monitor_used_again() {
    info!("asking for all statistics again");
}

/// A domain's QEMU holds up everybody who asks it.
pub fn domain_stuck(uuid: Uuid, name: &str, for_ms: u64) {
    warn!(%uuid, name, for_ms, "domain does not answer libvirt");
}

/// A domain whose description cannot be read is not metered.
pub fn domain_unreadable(domain: &str, reason: &dyn Error) {
    warn!(domain, reason = %Chain(reason), "domain is left out: its description cannot be read");
}

/// A recording has statistics of a domain, but no XML.
pub fn domain_without_xml(name: &str, file: &Path) {
    warn!(name, file = %file.display(), "domain is left out: the recording has no XML of it");
}

/// libvirt does not tell any more what happens to domains; they are listed at each tick.
pub fn events_lost(reason: &dyn Error) {
    warn!(reason = %Chain(reason), "libvirt's events are lost");
}

/// It does again.
pub fn events_back() {
    info!("libvirt tells events again");
}
