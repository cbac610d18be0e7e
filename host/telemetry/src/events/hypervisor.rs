//! Events of hypervisors.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};
use uuid::Uuid;

use super::whole_ms;
use crate::Chain;

/// The connection to libvirt was lost, or could not be opened at the start.
pub fn libvirt_unreachable(uri: &str, reason: &dyn Error) {
    warn!(uri, reason = %Chain(reason), "libvirt unreachable");
}

/// libvirt can be reached again.
pub fn libvirt_reachable(uri: &str) {
    info!(uri, "libvirt reachable again");
}

/// A call exceeded its deadline. Its thread and its connection are abandoned.
pub fn call_abandoned(call: &'static str, deadline: Duration) {
    warn!(call, deadline_ms = whole_ms(deadline), "libvirt call abandoned");
}

/// The maximum of abandoned calls hangs in libvirtd: statistics that need QEMU are not requested.
pub fn qemu_statistics_suspended(abandoned_calls: usize) {
    warn!(abandoned_calls, "qemu statistics suspended");
}

/// Abandoned calls have ended: all statistics are requested again.
pub fn qemu_statistics_resumed() {
    info!("qemu statistics resumed");
}

/// A domain's QEMU does not respond, and blocks every client of libvirt that queries it.
pub fn domain_stuck(uuid: Uuid, name: &str, for_ms: u64) {
    warn!(%uuid, name, for_ms, "domain unresponsive in libvirt");
}

/// The XML of a domain cannot be read. It is not metered.
pub fn domain_unreadable(domain: &str, reason: &dyn Error) {
    warn!(domain, reason = %Chain(reason), "domain skipped, description unreadable");
}

/// A recording has statistics of a domain, but no XML.
pub fn domain_without_xml(name: &str, file: &Path) {
    warn!(name, file = %file.display(), "domain skipped, no xml in the recording");
}

/// libvirt's event stream was lost: domains are listed in each polling cycle.
pub fn event_stream_lost(reason: &dyn Error) {
    warn!(reason = %Chain(reason), "libvirt event stream lost");
}

/// libvirt's event stream is back.
pub fn event_stream_restored() {
    info!("libvirt event stream restored");
}
