//! `/v1/agents` and `/v1/gaps`: what Ceilometer's API has nothing for.

use std::collections::BTreeMap;
use std::time::Duration;

use nephometer_model::Timestamp;
use nephometer_proof::DeclaredDrop;
use serde_json::{Value, json};
use uuid::Uuid;

use super::conditions::Parameters;
use super::error::ApiError;
use crate::sample::clip;
use crate::store::{Reader, Selection, SenderStream, StoreError, StoredSample, TimeRange, age};

/// Agents whose last message is older than this are not listed. The files of whole months are read.
pub(super) const LISTED: Duration = Duration::from_secs(62 * 86_400);
/// Drops that were declared in this time count.
pub(super) const DROPS: Duration = Duration::from_secs(86_400);
/// A stream that ended longer ago than this, while others of its agent go on, was removed.
const REMOVED: Duration = Duration::from_secs(86_400);
/// The interval of agents that have stated none: that of Ceilometer.
const INTERVAL: Duration = Duration::from_secs(600);
/// Shorter times than this are normal, whatever the interval.
const GRACE: Duration = Duration::from_secs(10);
/// Declarations that are no loss: the samples went on in another stream, or were sent before.
const NO_LOSS: [&str; 2] = ["moved", "unclean_stop"];

/// What is wrong with an agent, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AgentState {
    Silent,
    Drops,
    Late,
    Healthy,
}

impl AgentState {
    const ALL: [Self; 4] = [Self::Silent, Self::Drops, Self::Late, Self::Healthy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Drops => "drops",
            Self::Late => "late",
            Self::Healthy => "healthy",
        }
    }
}

/// Which agents an answer has.
pub(super) struct Wanted {
    text: String,
    state: Option<AgentState>,
    limit: usize,
}

impl Wanted {
    pub(super) fn read(parameters: &Parameters, limit: usize) -> Result<Self, ApiError> {
        let last = |name: &str| parameters.iter().rev().find(|(known, _)| known == name);
        let text = last("text").map_or_else(String::new, |(_, text)| text.to_lowercase());
        let state = match last("state").map(|(_, state)| &**state) {
            None | Some("") => None,
            Some(given) => {
                let found = AgentState::ALL.into_iter().find(|state| state.as_str() == given);
                let names = AgentState::ALL.map(AgentState::as_str).join(", ");
                let wrong = || ApiError::invalid("state", given, &format!("One of {names}"));
                Some(found.ok_or_else(wrong)?)
            }
        };
        Ok(Self { text, state, limit })
    }
}

/// The streams of one host id; a stream without a statement is an agent of its own.
struct AgentEntry<'a> {
    streams: Vec<&'a SenderStream>,
    now: Timestamp,
}

/// The answer of `/v1/agents`: agents worst first, and how many there are of each state.
pub(super) fn agents(streams: &[SenderStream], wanted: &Wanted, now: Timestamp) -> Value {
    let mut hosts: BTreeMap<Uuid, Vec<&SenderStream>> = BTreeMap::new();
    for stream in streams.iter().filter(|stream| age(now, stream.arrived) <= LISTED) {
        let host = stream.statement.as_ref().map_or(stream.stream, |stated| stated.host_id);
        hosts.entry(host).or_default().push(stream);
    }
    let all = hosts.into_values().map(|streams| AgentEntry { streams, now });
    let mut judged: Vec<(AgentState, AgentEntry<'_>)> =
        all.map(|agent| (agent.state(), agent)).collect();
    // Within a state, the agent that was heard of longest ago is first.
    judged.sort_by_key(|(state, agent)| (*state, agent.arrived()));
    let count = |state| judged.iter().filter(|(found, _)| *found == state).count();
    let states: serde_json::Map<String, Value> = AgentState::ALL
        .map(|state| (state.as_str().to_owned(), json!(count(state))))
        .into_iter()
        .collect();
    let fitting = judged.iter().filter(|(state, agent)| {
        wanted.state.is_none_or(|wanted| wanted == *state) && agent.contains(&wanted.text)
    });
    let fitting: Vec<_> = fitting.collect();
    let shown = fitting.iter().take(wanted.limit).map(|(state, agent)| agent.entry(*state));
    json!({"time": now.iso(), "all": judged.len(), "count": fitting.len(), "states": states,
        "agents": shown.collect::<Vec<_>>()})
}

impl AgentEntry<'_> {
    fn arrived(&self) -> Timestamp {
        let newest = self.streams.iter().map(|stream| stream.arrived).max();
        newest.unwrap_or_else(|| Timestamp::from_nanos(0))
    }

    fn is_silent(&self, stream: &SenderStream) -> bool {
        age(self.now, stream.arrived) > (3 * interval(stream)).max(GRACE)
    }

    /// Streams that are not left over from an earlier configuration.
    fn present(&self) -> impl Iterator<Item = &SenderStream> {
        let newest = self.arrived();
        let here = move |stream: &&&SenderStream| age(newest, stream.arrived) <= REMOVED;
        self.streams.iter().filter(here).copied()
    }

    fn state(&self) -> AgentState {
        let late = |stream: &SenderStream| {
            self.is_silent(stream) || delay(stream) > Some(interval(stream).max(GRACE))
        };
        if self.present().all(|stream| self.is_silent(stream)) {
            AgentState::Silent
        } else if self.dropped().values().sum::<u64>() > 0 {
            AgentState::Drops
        } else if self.present().any(late) {
            AgentState::Late
        } else {
            AgentState::Healthy
        }
    }

    /// Samples that were lost, by reason.
    fn dropped(&self) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for (reason, samples) in self.streams.iter().flat_map(|stream| lost(stream)) {
            *sums.entry(reason).or_default() += samples;
        }
        sums
    }

    fn contains(&self, text: &str) -> bool {
        let has = |known: &str| known.to_lowercase().contains(text);
        self.streams.iter().any(|stream| {
            let stated = stream.statement.as_ref();
            has(&stream.stream.to_string())
                || stated
                    .is_some_and(|stated| has(&stated.host) || has(&stated.host_id.to_string()))
        })
    }

    fn entry(&self, state: AgentState) -> Value {
        let stated = self.streams.iter().filter(|stream| stream.statement.is_some());
        let newest = stated.max_by_key(|stream| stream.arrived);
        let stated = newest.and_then(|stream| stream.statement.as_ref());
        let dropped = self.dropped();
        let reasons: serde_json::Map<String, Value> = dropped
            .iter()
            .map(|(reason, samples)| ((*reason).to_owned(), json!(samples)))
            .collect();
        json!({
            "host": stated.map(|stated| &stated.host),
            "host_id": stated.map(|stated| stated.host_id),
            "version": stated.map(|stated| &stated.agent),
            "state": state.as_str(),
            "last_seen": self.arrived().iso(),
            "delay": self.present().filter_map(delay).max().map(|delay| delay.as_secs_f64()),
            "dropped": dropped.values().sum::<u64>(),
            "drops": reasons,
            "streams": self.streams.iter().map(|stream| self.stream(stream)).collect::<Vec<_>>(),
        })
    }

    fn stream(&self, stream: &SenderStream) -> Value {
        let stated = stream.statement.as_ref();
        json!({
            "stream": stream.stream,
            "sink": stated.map(|stated| &stated.sink),
            "publisher": stated.map(|stated| &stated.publisher),
            "interval": stated.map(|_| interval(stream).as_secs_f64()),
            "last_seen": stream.arrived.iso(),
            "silent": self.is_silent(stream),
            "delay": delay(stream).map(|delay| delay.as_secs_f64()),
            "dropped": lost(stream).map(|(_, samples)| samples).sum::<u64>(),
        })
    }
}

/// The shortest interval of the sources of a stream: each batch ends with a checkpoint.
fn interval(stream: &SenderStream) -> Duration {
    let stated = stream.statement.as_ref();
    let sources = stated.map_or(&[][..], |stated| &stated.sources);
    let lengths =
        sources.iter().filter_map(|source| Duration::try_from_secs_f64(source.interval).ok());
    lengths.min().unwrap_or(INTERVAL)
}

/// From the start of a polling cycle to the arrival of its last message.
fn delay(stream: &SenderStream) -> Option<Duration> {
    stream.checkpoint.map(|newest| age(newest.arrived, newest.cycle))
}

fn lost(stream: &SenderStream) -> impl Iterator<Item = (&str, u64)> {
    let losses = stream.drops.iter().filter(|drop| !NO_LOSS.contains(&&*drop.reason));
    losses.map(|drop| (&*drop.reason, drop.samples))
}

/// The answer of `/v1/gaps`: declared drops, and gaps that agents have sent as samples. Counts are those
/// of a whole host, and not for projects.
pub(super) fn gaps(drops: &[DeclaredDrop], sent: &[StoredSample], counts: bool) -> Value {
    let lost = drops.iter().filter(|drop| drop.reason != "moved").map(|drop| {
        json!({
            "start": Timestamp::from_nanos(drop.begin).iso(),
            "end": Timestamp::from_nanos(drop.until).iso(),
            "kind": "dropped",
            "reason": drop.reason,
            "samples": counts.then_some(drop.samples),
        })
    });
    let unread = sent.iter().filter_map(|sample| {
        let metadata: Value = serde_json::from_str(&sample.metadata).ok()?;
        let gap = &metadata["gap"];
        let [start, end, reason] = ["from", "until", "reason"].map(|key| gap[key].as_str());
        let [start, end] = [start?, end?].map(Timestamp::parse);
        Some(json!({
            "start": start.ok()?.iso(), "end": end.ok()?.iso(), "kind": "not_read",
            "reason": clip(reason?), "samples": null,
        }))
    });
    let mut all: Vec<Value> = lost.chain(unread).collect();
    all.sort_by_key(|gap| [gap["start"].to_string(), gap["end"].to_string()]);
    Value::Array(all)
}

/// The meter of gaps.
const GAP_METER: &str = "nephometer.gap";
/// A gap that has not ended is sent in parts, one for each polling cycle, at their ends.
const PART: i64 = 86_400_000_000;
/// Gaps of one resource in one answer.
const GAPS: usize = 1_000;

/// Gaps that agents have sent as samples: of the resource, of its instance if it is a device of one, and
/// of its host, where no machine was read.
pub(super) fn sent_gaps(
    reader: &mut dyn Reader,
    selection: &Selection,
) -> Result<Vec<StoredSample>, StoreError> {
    let newest = reader.newest(selection, 1, &mut |_| true)?;
    let Some(newest) = newest.first() else { return Ok(Vec::new()) };
    let metadata: Value = serde_json::from_str(&newest.metadata).unwrap_or_default();
    let mut resources = vec![newest.owner.resource_id.to_string()];
    let others = ["instance_id", "instance_host"].map(|key| metadata[key].as_str());
    resources.extend(others.into_iter().flatten().map(str::to_owned));
    resources.dedup();
    let mut found = Vec::new();
    for resource in resources {
        let TimeRange { start, end } = selection.times;
        let gaps = Selection {
            meter: Some(GAP_METER.to_owned()),
            resource: Some(resource),
            times: TimeRange { start, end: end.saturating_add(PART) },
            ..Selection::default()
        };
        found.extend(reader.newest(&gaps, GAPS, &mut |_| true)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use nephometer_proof::{SourceState, Statement};

    use super::*;
    use crate::store::ArrivedCheckpoint;

    const NOW: u64 = 1_800_000_000;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    /// A stream of a host with a source each minute, `silent` seconds after its last message, which
    /// took `delay` seconds.
    fn stream(number: u128, host: u128, [silent, delay]: [u64; 2]) -> SenderStream {
        let source = SourceState { interval: 60.0, ..SourceState::default() };
        let arrived = at(NOW - silent);
        SenderStream {
            arrived,
            checkpoint: Some(ArrivedCheckpoint { arrived, cycle: at(NOW - silent - delay) }),
            statement: Some(Statement {
                stream: Uuid::from_u128(number),
                host_id: Uuid::from_u128(host),
                host: format!("compute-{host}"),
                sources: vec![source],
                ..Statement::default()
            }),
            ..SenderStream::new(Uuid::from_u128(number))
        }
    }

    fn states(streams: &[SenderStream]) -> Vec<(String, String)> {
        let wanted = Wanted { text: String::new(), state: None, limit: 100 };
        let found = agents(streams, &wanted, at(NOW));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = found["agents"].as_array().unwrap().iter();
        all.map(|one| (text(&one["host"]), text(&one["state"]))).collect()
    }

    #[test]
    fn the_worst_agent_is_first() {
        let dropped = |reason: &str, stream: SenderStream| SenderStream {
            drops: vec![DeclaredDrop { reason: reason.into(), samples: 5, ..Default::default() }],
            ..stream
        };
        let streams = [
            stream(1, 1, [30, 2]),
            stream(2, 2, [30, 61]),
            dropped("spool_full", stream(3, 3, [30, 2])),
            dropped("moved", stream(4, 4, [40, 2])),
            stream(5, 5, [181, 2]),
            stream(6, 6, [5_000, 2]),
            // One of two streams is silent; after a day it counts as removed.
            stream(7, 7, [20, 2]),
            stream(8, 7, [3_600, 2]),
            stream(9, 8, [20, 2]),
            stream(10, 8, [90_000, 2]),
        ];
        let expected = [
            ("compute-6", "silent"),
            ("compute-5", "silent"),
            ("compute-3", "drops"),
            ("compute-2", "late"),
            ("compute-7", "late"),
            ("compute-4", "healthy"),
            ("compute-1", "healthy"),
            ("compute-8", "healthy"),
        ];
        let expected = expected.map(|(host, state)| (host.to_owned(), state.to_owned()));
        assert_eq!(states(&streams), expected);
        // Without a statement the interval is that of Ceilometer.
        let unknown = |silent| SenderStream { statement: None, ..stream(1, 1, [silent, 2]) };
        assert_eq!(states(&[unknown(1_700)])[0].1, "healthy");
        assert_eq!(states(&[unknown(1_900)])[0].1, "silent");
    }

    #[test]
    fn answers_are_narrowed_by_text_and_state() {
        let streams = [stream(1, 1, [30, 2]), stream(2, 12, [5_000, 2]), stream(3, 3, [30, 2])];
        let found = |text: &str, state: &str, limit| {
            let parameters =
                [("text".to_owned(), text.to_owned()), ("state".to_owned(), state.to_owned())];
            let wanted = Wanted::read(&parameters, limit).unwrap();
            let found = agents(&streams, &wanted, at(NOW));
            let shown = found["agents"].as_array().unwrap().len();
            (found["all"].as_u64(), found["count"].as_u64(), shown)
        };
        assert_eq!(found("", "", 2), (Some(3), Some(3), 2));
        assert_eq!(found("COMPUTE-1", "", 9), (Some(3), Some(2), 2));
        assert_eq!(found("compute-1", "silent", 9), (Some(3), Some(1), 1));
        let wrong = Wanted::read(&[("state".to_owned(), "ill".to_owned())], 1);
        assert_eq!(wrong.err().unwrap().status, 400);
    }
}
