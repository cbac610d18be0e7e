//! Replaces the transformers of a running sink.
//!
//! Builds a new chain revision beside the running one, brings it to the same state and hands it to
//! the sink. A failure before that leaves the running transformers in place.

use std::fmt;
use std::time::Duration;

use super::factory::{Factory, join_lines};
use nephometer_config::{AgentSpec, SinkSpec};
use nephometer_pipeline::{ChainRevision, GuardReport, SinkHandle, Takeover};
use nephometer_telemetry::events::reload as events;

/// How often a new revision catches up by itself before the sink waits for it. Each round has fewer
/// batches to process.
const CATCH_UP_ROUNDS: usize = 10;
/// How often it restarts from a new snapshot because its catch-up log overflowed.
const SNAPSHOTS: usize = 3;

/// Why the running transformers stay in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SwapError {
    /// The new transformers failed, and would fail again.
    Refused(String),
    /// The new transformers never caught up with the sink, because of its load.
    Overtaken,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(reason),
            Self::Overtaken => f.write_str(
                "batches arrive faster than the new transformers process them; the reload is retried soon",
            ),
        }
    }
}

impl From<String> for SwapError {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// Replaces the transformers of a sink, guarded or not. Returns how long the sink was paused.
///
/// # Errors
/// If the new transformers cannot be built, cannot restore the state, or never catch up.
pub(super) async fn swap(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
    handle: &SinkHandle,
    guard: Option<&GuardReport>,
) -> Result<Duration, SwapError> {
    let swapped = attempt(factory, agent, sink, handle, guard).await;
    if swapped.is_err() {
        handle.abandon_takeover().await;
    }
    swapped
}

async fn attempt(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
    handle: &SinkHandle,
    guard: Option<&GuardReport>,
) -> Result<Duration, SwapError> {
    let mut revision = build(factory, agent, sink).await?;
    events::step(&sink.name, "configured");
    for _ in 0..SNAPSHOTS {
        let snapshot = handle.snapshot_for_takeover().await;
        let snapshot = snapshot.ok_or_else(|| "the sink has stopped".to_owned())?;
        revision.restore(&snapshot).await.map_err(|error| {
            let remedy = if error.state_refused {
                format!(
                    "; to start without the state, set components.by_name.{}.on_state_mismatch: reset",
                    error.component
                )
            } else {
                String::new()
            };
            format!("{error}{remedy}")
        })?;
        events::step(&sink.name, "caught up");
        let mut rounds = 0;
        revision = loop {
            match handle.take_over(revision, rounds >= CATCH_UP_ROUNDS, guard).await {
                Takeover::Done(pause) => {
                    events::step(&sink.name, "taken over");
                    return Ok(pause);
                }
                Takeover::Behind(behind, missing) => {
                    revision = *behind;
                    revision.process_missing(missing).await.map_err(|error| error.to_string())?;
                }
                Takeover::Stale(stale) => break *stale,
                Takeover::Failed(reason) => return Err(reason.into()),
            }
            rounds += 1;
        };
    }
    Err(SwapError::Overtaken)
}

/// The new revision. What it ignores is logged.
async fn build(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
) -> Result<ChainRevision, String> {
    let built = factory.revision(agent, sink, &mut Vec::new()).await;
    built.map_err(|problems| join_lines(&problems))
}

/// Does everything but the takeover, to find out whether a swap would fail.
///
/// # Errors
/// As [`swap`].
pub(super) async fn dry_run(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
    handle: &SinkHandle,
) -> Result<(), String> {
    let mut revision = build(factory, agent, sink).await?;
    let snapshot = handle.peek_snapshot().await.ok_or("the sink has stopped")?;
    revision.restore(&snapshot).await.map_err(|error| error.to_string())
}
