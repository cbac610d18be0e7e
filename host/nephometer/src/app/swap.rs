//! One sink gets new transformers while it works.

use std::fmt;
use std::time::Duration;

use super::factory::{Factory, lines};
use nephometer_config::{AgentSpec, SinkSpec};
use nephometer_pipeline::{SinkHandle, Takeover};
use nephometer_telemetry::events::reload as events;

/// How often a new generation tries to be at the head by itself, before the sink is asked to wait
/// for it. Each time there is less to catch up with.
const ROUNDS: usize = 10;
/// How often it starts over because too much came while it was being made.
const STARTS: usize = 3;

/// Why the transformers at work stay at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SwapError {
    /// The new ones are of no use as they are.
    Refused(String),
    /// They never got to the head. That is the load's doing and none of theirs.
    Overtaken,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(reason),
            Self::Overtaken => {
                f.write_str("batches arrive faster than the new transformers process them; the reload is retried soon")
            }
        }
    }
}

impl From<String> for SwapError {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// Makes the transformers beside those at work, brings them to where those are, and hands over.
/// Whatever fails before that leaves those at work as they are. How long no batch was worked on.
pub(super) async fn swap(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
    handle: &SinkHandle,
) -> Result<Duration, SwapError> {
    let swapped = attempt(factory, agent, sink, handle).await;
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
) -> Result<Duration, SwapError> {
    let made = factory.revision(agent, sink).await.map_err(|problems| lines(&problems))?;
    events::step(&sink.name, "configured");
    let mut revision = made;
    for _ in 0..STARTS {
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
            match handle.take_over(revision, rounds >= ROUNDS).await {
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

/// All of it but the last step: what would fail.
pub(super) async fn rehearse(
    factory: &Factory,
    agent: &AgentSpec,
    sink: &SinkSpec,
    handle: &SinkHandle,
) -> Result<(), String> {
    let made = factory.revision(agent, sink).await.map_err(|problems| lines(&problems))?;
    let mut revision = made;
    let snapshot = handle.peek_snapshot().await.ok_or("the sink has stopped")?;
    revision.restore(&snapshot).await.map_err(|error| error.to_string())
}
