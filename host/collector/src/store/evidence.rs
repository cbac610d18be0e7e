//! What an audit needs of a store: the messages of a stream become batches, whatever the engine.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use nephometer_audit::{BatchEvidence, EvidenceLine, SampleEvidence, Sums, TrustedKeys};
use nephometer_model::{Timestamp, Volume};
use nephometer_proof::{Digest, ProvedValue, SignedRecord};
use serde::Deserialize;

use super::selection::{TimeRange, micros};
use crate::sample::SampleId;

/// Missing numbers within a batch, beyond which the messages before them are no part of it: the agent
/// was killed there.
const INTERRUPTED: u64 = 100_000;

/// What an audit is about.
pub(crate) struct EvidenceQuery<'a> {
    /// The id of the project; empty for samples without one.
    pub(crate) project: String,
    pub(crate) times: TimeRange,
    /// Names or ids of hosts; if empty, all with a trusted key.
    pub(crate) hosts: Vec<String>,
    /// The keys of agents.
    pub(crate) trusted: &'a TrustedKeys,
    /// `store.window`: how much later messages may have arrived.
    pub(crate) window: Duration,
    pub(crate) now: Timestamp,
}

impl EvidenceQuery<'_> {
    /// Whether the streams of a host, by its name or its id, are part of the evidence even without
    /// samples of the project.
    pub(crate) fn wants(&self, host: &str) -> bool {
        match &self.hosts[..] {
            [] => self.trusted.has_host(host),
            some => some.iter().any(|one| one == host),
        }
    }
}

/// Takes lines of evidence, until it breaks.
pub(crate) type TakeEvidence<'a> = dyn FnMut(Vec<EvidenceLine>) -> ControlFlow<()> + 'a;

/// A place of a message: the number of its file and of its row.
pub(crate) type MessagePlace = (usize, i64);

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct ChainMessage {
    pub(crate) sequence: u64,
    pub(crate) body: Digest,
    pub(crate) previous: Digest,
    pub(crate) digest: Digest,
    /// With what is read of it, if it is a checkpoint.
    pub(crate) record: Option<(SignedRecord, Option<CycleBrief>)>,
    pub(crate) refused: BTreeMap<String, u64>,
    /// Where its samples are: in the files of several months or classes.
    pub(crate) places: Vec<MessagePlace>,
}

/// The messages up to a checkpoint.
#[derive(Debug)]
pub(crate) struct ChainBatch {
    /// Its line, without samples.
    pub(crate) line: BatchEvidence,
    pub(crate) cycle: CycleBrief,
    pub(crate) places: Vec<MessagePlace>,
}

/// What has to be known of a checkpoint to find its batch. Auditors read the whole record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CycleBrief {
    /// The start of its cycle, microseconds since the epoch.
    pub(crate) time: i64,
    /// The statement that it names.
    pub(crate) statement: Option<Digest>,
}

impl CycleBrief {
    /// That of a record as it is stored; `None` if it is no checkpoint.
    pub(crate) fn of(signed: &SignedRecord) -> Option<Self> {
        #[derive(Deserialize)]
        struct Brief {
            kind: String,
            #[serde(default)]
            time: String,
            batch: Option<BriefBatch>,
        }
        #[derive(Deserialize)]
        struct BriefBatch {
            statement: Digest,
        }
        let Brief { kind, time, batch } = serde_json::from_str(&signed.record).ok()?;
        let time = Timestamp::parse(&time).ok().filter(|_| kind == "checkpoint")?;
        Some(Self { time: micros(time), statement: batch.map(|batch| batch.statement) })
    }
}

/// Divides the messages of a stream into batches. Those behind the last checkpoint are left out.
pub(crate) fn batches(messages: Vec<ChainMessage>) -> Vec<ChainBatch> {
    let (mut found, mut pending): (Vec<ChainBatch>, Vec<ChainMessage>) = (Vec::new(), Vec::new());
    let (messages, mut rivals) = single(messages);
    for message in messages {
        let rival = rivals.remove(&message.sequence);
        let interrupted = |last: &ChainMessage| message.sequence - last.sequence > INTERRUPTED;
        if pending.last().is_some_and(interrupted) {
            pending.clear();
        }
        match message.record {
            Some((ref record, Some(cycle))) => {
                let record = record.clone();
                found.push(batch(std::mem::take(&mut pending), message, record, cycle));
            }
            _ => pending.push(message),
        }
        // Another checkpoint of this number: the auditor finds that it is repeated.
        if let Some(rival) = rival
            && let Some((record, Some(cycle))) = rival.record.clone()
        {
            found.push(batch(Vec::new(), rival, record, cycle));
        }
    }
    found
}

/// Messages in the order of their numbers, each once; and another one by its number, where there are
/// several. The one is taken that follows the message before it.
fn single(mut messages: Vec<ChainMessage>) -> (Vec<ChainMessage>, BTreeMap<u64, ChainMessage>) {
    let mut rivals = BTreeMap::new();
    messages.sort_by_key(|message| message.sequence);
    let mut all: Vec<ChainMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        let before = all.len().checked_sub(2).map(|at| all[at].digest);
        match all.last_mut().filter(|last| last.sequence == message.sequence) {
            Some(last) if last.body == message.body => {
                last.places.extend(message.places);
                if message.refused.is_empty() {
                    last.refused.clear();
                }
            }
            Some(last) => {
                let links = |one: &ChainMessage| {
                    one.previous.link(one.sequence, &one.body).digest == one.digest
                        && before.is_none_or(|digest| digest == one.previous)
                };
                let better = links(&message) && !links(last);
                let rival = if better { std::mem::replace(last, message) } else { message };
                rivals.insert(rival.sequence, rival);
            }
            None => all.push(message),
        }
    }
    (all, rivals)
}

fn batch(
    messages: Vec<ChainMessage>,
    checkpoint: ChainMessage,
    record: SignedRecord,
    cycle: CycleBrief,
) -> ChainBatch {
    let from = messages.first().map_or(checkpoint.sequence, |first| first.sequence);
    let (mut bodies, mut number, mut previous) = (Vec::new(), from, checkpoint.previous);
    let (mut places, mut refused) = (checkpoint.places, BTreeMap::new());
    let mut whole = false;
    for message in messages {
        while number < message.sequence {
            bodies.push(None);
            number += 1;
            whole = false;
        }
        if !whole {
            (previous, whole) = (message.previous, true);
        }
        bodies.push(Some(message.body));
        number += 1;
        places.extend(message.places);
        for (reason, count) in message.refused {
            *refused.entry(reason).or_default() += count;
        }
    }
    if number < checkpoint.sequence {
        previous = checkpoint.previous;
        bodies.resize(bodies.len() + distance(number, checkpoint.sequence), None);
    }
    let body = checkpoint.body;
    let samples = Vec::new();
    let line = BatchEvidence { from, bodies, previous, record, body, samples, refused };
    ChainBatch { line, cycle, places }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or(usize::MAX)
}

/// The batches that a range needs: from the last one at or before its start to the first one at or
/// behind its end. `None` if the stream began later or ended before.
pub(crate) fn needed(batches: &[ChainBatch], times: TimeRange) -> Option<Range<usize>> {
    let first = batches.iter().position(|batch| batch.cycle.time > times.start);
    let last = batches.iter().rposition(|batch| batch.cycle.time < times.end)?;
    let reaches = batches.iter().any(|batch| batch.cycle.time >= times.start);
    let first = first.unwrap_or(batches.len()).saturating_sub(1);
    reaches.then(|| first..(last + 2).min(batches.len()).max(first + 1))
}

/// Ids of one batch, which may have come in several of its messages.
pub(crate) type BatchIds = HashSet<Box<str>>;

/// A sample of the project. There may be ten million of them, so that it is small.
pub(crate) struct OwnSample {
    pub(crate) file: u16,
    /// Whether it is in a batch.
    pub(crate) used: bool,
    pub(crate) series: u32,
    pub(crate) message: i64,
    pub(crate) time: i64,
    pub(crate) id: SampleId,
    pub(crate) value: OwnValue,
}

/// A value as engines have it.
pub(crate) enum OwnValue {
    Null,
    Double(f64),
    Integer(i64),
}

impl OwnValue {
    pub(crate) fn of(volume: Option<Volume>) -> Self {
        match volume {
            None => Self::Null,
            Some(Volume::Float(value)) => Self::Double(value),
            Some(whole @ Volume::Integer(value)) => {
                i64::try_from(value).map_or_else(|_| Self::Double(whole.as_f64()), Self::Integer)
            }
        }
    }
}

impl OwnSample {
    pub(crate) fn place(&self) -> MessagePlace {
        (usize::from(self.file), self.message)
    }

    pub(crate) fn evidence(&self) -> SampleEvidence {
        let value = match self.value {
            OwnValue::Null => ProvedValue::Null,
            OwnValue::Double(value) => ProvedValue::Double(value),
            OwnValue::Integer(value) => ProvedValue::integer(value.into()),
        };
        SampleEvidence(self.series, self.id.to_string().into(), self.time, value)
    }
}

/// The sums of a day of a series.
pub(crate) struct DayRow {
    pub(crate) series: i64,
    /// Microseconds since the epoch.
    pub(crate) start: i64,
    /// `None` if they have to be counted again.
    pub(crate) now: Option<Sums>,
    /// As they were when the month was closed, if they have changed since.
    pub(crate) closed: Option<Sums>,
}
