//! Log events of the agent: one function per event, one file per subject.
//!
//! Messages are lower case without a full stop and name the event first; everything variable is a
//! field. Shared field names: `sink`, `component`, `publisher`, `reason`, `offset` (in the journal),
//! `samples`, and `*_ms` for durations. A lasting condition is logged when it begins and when it
//! ends, not at each attempt.

use std::time::Duration;

pub mod collector;
pub mod component;
pub mod control;
pub mod http;
pub mod hypervisor;
pub mod openstack;
pub mod outbound;
pub mod pipeline;
pub mod poll;
pub mod process;
pub mod publish;
pub mod registry;
pub mod reload;
pub mod store;

/// Whole milliseconds, for settings and long waits.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with three decimals, for what may take less than one.
fn precise_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
