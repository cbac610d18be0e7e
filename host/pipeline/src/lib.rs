//! The path of a batch from the poller to the publishers.
//!
//! The router appends every batch to the journal. Each sink reads the journal at its own offset,
//! runs batches through its transformer chain and writes the resulting samples into the spools of
//! its publishers; publishers deliver their spools. A sink never blocks the router or another sink.
//! This crate knows neither how batches are polled nor how components are compiled.

pub mod publish;
pub mod transform;

mod applied_actions;
mod commands;
mod drained_sink;
mod failures;
mod fanout;
mod guard_report;
mod guard_run;
mod guarding;
mod handle;
mod quarantine;
mod revision;
mod rollback;
mod router;
mod shadow_report;
mod shadow_run;
mod sink;
mod taps;

pub use drained_sink::DrainedSink;
pub use fanout::{OutputObserver, PublisherFanout, SinkOutput};
pub use guard_report::{
    CorrectedSample, GuardCorrection, GuardPlan, GuardProgress, GuardReport, GuardState,
    SeriesComparison,
};
pub use handle::{Publishers, SinkEvent, SinkHandle, SinkState, SinkStatus, Takeover};
pub use revision::{ChainRevision, Snapshot};
pub use router::{PolledObserver, route};
pub use shadow_report::{
    MeterComparison, SampleDifference, ShadowProgress, ShadowReport, ShadowState, VolumeSum,
};
pub use shadow_run::Shadow;
pub use sink::{Sink, SinkParts};
pub use taps::{KeepNext, PassOutcome, Passage, Tap, TapPoint, TapTarget, Taps};
