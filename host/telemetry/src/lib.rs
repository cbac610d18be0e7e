//! Telemetry of the agent itself: the log, its named events, and the ledger of counters.
//!
//! Lines of level info and above come only from [`events`], one function per event, so that wording
//! and fields stay consistent. Every crate that does IO may use this one.

mod account;
mod counts;
mod deliveries;
pub mod events;
mod ledger;
mod log;
mod polling;
mod service;
mod task_cpu;

pub use account::Account;
pub use counts::{DropCounts, Dropped, PublisherCount, SinkCount, TransformerCount};
pub use deliveries::{DELIVERY_SECONDS, Deliveries, DeliveryStats};
pub use ledger::{Ledger, LedgerSink};
pub use log::{LogFormat, RecordedLog, record, start, tail};
pub use polling::{CYCLE_SECONDS, CycleSummary, IntervalStats, PollingStats, SourceStats};
pub use service::{Heartbeats, Service, ServiceThread, StatusLine, Watched};
pub use task_cpu::{MeasuredTask, TaskCpu, TaskTimes};

use std::error::Error;
use std::fmt;

/// Displays an error and its sources, separated by colons, for a log field.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
