//! One stream: its numbers, its digests, its records.

use std::collections::{HashMap, HashSet};

use nephometer_proof::{Checkpoint, DeclaredDrop, Digest, KeyId, Record, SignedRecord, Statement};
use uuid::Uuid;

use super::evidence::{BatchEvidence, StreamEvidence};
use super::fault::Fault;
use super::findings::Faults;
use super::holes::{Holes, NumberRange};
use super::trusted::{TrustedKey, TrustedKeys, micros, shown};

/// A gap between cycles is one that is longer than their interval by this factor.
pub(crate) const TOLERANCE: f64 = 1.75;

/// A record whose signature is right.
pub(crate) struct OpenedRecord {
    pub(crate) record: Record,
    key: KeyId,
    host: String,
}

/// A time in which samples are missing, and why.
#[derive(Debug, Clone)]
pub(crate) struct ReasonSpan {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reason: String,
    /// The missing numbers; `None` if none are missing.
    pub(crate) numbers: Option<NumberRange>,
    /// Samples that the agent has declared; `None` where it does not know.
    pub(crate) samples: Option<u64>,
}

/// What was found of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchResult {
    /// The samples are those that the agent has signed.
    Proved,
    /// Some were dropped and declared: the others cannot be proved.
    Partial,
    /// A fault was found.
    Faulty,
}

/// A stream that is being verified.
pub(crate) struct StreamAudit {
    pub(crate) stream: Uuid,
    statements: HashMap<Digest, Statement>,
    holes: Holes,
    /// The key that signs, and those that it has replaced.
    key: Option<KeyId>,
    replaced: HashSet<KeyId>,
    /// The number of the first message of the first batch.
    pub(crate) first: Option<u64>,
    /// The number behind the last checkpoint, and the digest of the stream up to there.
    next: Option<(u64, Digest)>,
    /// Times of the first and the last cycle.
    pub(crate) cycles: Option<[i64; 2]>,
    pub(crate) spans: Vec<ReasonSpan>,
    pub(crate) batches: u64,
    /// The statement of the last batch.
    pub(crate) current: Option<Digest>,
    /// Those of all batches, in their order.
    pub(crate) used: Vec<Digest>,
}

/// Verifies a signature, and that the key is trusted at the time of the record.
pub(crate) fn open(
    signed: &SignedRecord,
    trusted: &TrustedKeys,
) -> Result<OpenedRecord, (Fault, String)> {
    let Some(TrustedKey { host, public, revoked, .. }) = trusted.get(&signed.key) else {
        return Err((Fault::UnknownKey, format!("key {}", signed.key)));
    };
    let record = signed.verify(std::slice::from_ref(public));
    let record = record.map_err(|error| (Fault::WrongSignature, error.to_string()))?;
    let time = match &record {
        Record::Statement(statement) => &statement.clock.wall,
        Record::Checkpoint(checkpoint) => &checkpoint.time,
        Record::Drops(drops) => &drops.time,
    };
    let time = micros(time).map_err(|error| (Fault::WrongSignature, error))?;
    if let Some(revoked) = revoked.filter(|revoked| time >= *revoked) {
        let text = format!("key {} of {host}, revoked since {}", signed.key, shown(revoked));
        return Err((Fault::KeyRevoked, text));
    }
    Ok(OpenedRecord { record, key: signed.key.clone(), host: host.clone() })
}

impl StreamAudit {
    /// Reads what the stream states and declares.
    pub(crate) fn new(line: &StreamEvidence, trusted: &TrustedKeys, faults: &mut Faults) -> Self {
        let (mut statements, mut drops) = (HashMap::new(), Vec::<DeclaredDrop>::new());
        for signed in line.statements.iter().chain(&line.drops) {
            let opened = match open(signed, trusted) {
                Ok(opened) => opened,
                Err((fault, text)) => {
                    faults.add(fault, format!("stream {}: {text}", line.stream));
                    continue;
                }
            };
            if opened.record.stream() != line.stream {
                let text =
                    format!("stream {}: a record of {}", line.stream, opened.record.stream());
                faults.add(Fault::WrongStream, text);
                continue;
            }
            match opened.record {
                Record::Statement(statement) => {
                    if !is_host(&statement, &opened.host) {
                        let text = format!("{} with a key of {}", statement.host, opened.host);
                        faults.add(Fault::WrongHost, text);
                    }
                    statements.insert(Digest::of(signed.record.as_bytes()), *statement);
                }
                Record::Drops(declared) => drops.extend(declared.drops),
                Record::Checkpoint(_) => {}
            }
        }
        Self {
            stream: line.stream,
            statements,
            holes: Holes::new(drops),
            key: None,
            replaced: HashSet::new(),
            first: None,
            next: None,
            cycles: None,
            spans: Vec::new(),
            batches: 0,
            current: None,
            used: Vec::new(),
        }
    }

    /// The statement of the last batch.
    pub(crate) fn statement(&self) -> Option<&Statement> {
        self.statements.get(&self.current?)
    }

    pub(crate) fn statement_of(&self, digest: &Digest) -> Option<&Statement> {
        self.statements.get(digest)
    }

    /// The name of its host, or its id.
    pub(crate) fn name(&self) -> String {
        let stated = self.statement().or_else(|| self.statements.values().next());
        stated.map_or_else(|| format!("stream {}", self.stream), |one| one.host.clone())
    }

    /// Whether its host has this name or id.
    pub(crate) fn is_of(&self, host: &str) -> bool {
        self.statements.values().any(|statement| is_host(statement, host))
    }

    /// Takes the next batch, with what the samples in it are: their number and their digest.
    pub(crate) fn batch(
        &mut self,
        line: &BatchEvidence,
        opened: &Result<OpenedRecord, (Fault, String)>,
        (project, found): (Digest, (u64, Digest)),
        faults: &mut Faults,
    ) -> BatchResult {
        match self.checked(line, opened, project, found) {
            Ok(result) => result,
            Err((fault, text)) => {
                faults.add(fault, format!("{}: {text}", self.name()));
                BatchResult::Faulty
            }
        }
    }

    fn checked(
        &mut self,
        line: &BatchEvidence,
        opened: &Result<OpenedRecord, (Fault, String)>,
        project: Digest,
        found: (u64, Digest),
    ) -> Result<BatchResult, (Fault, String)> {
        let opened = opened.as_ref().map_err(Clone::clone)?;
        let Record::Checkpoint(checkpoint) = &opened.record else {
            return Err((Fault::NoCheckpoint, "a batch ends with another record".to_owned()));
        };
        let number = checkpoint.sequence.saturating_add(1);
        let at = format!("number {number}, {}", checkpoint.time);
        if checkpoint.stream != self.stream {
            return Err((Fault::WrongStream, at));
        }
        let Some(batch) = &checkpoint.batch else { return Err((Fault::NoContents, at)) };
        let holes = self.numbers(line, checkpoint, batch.first)?;
        self.signer(opened, &at)?;
        if self.current != Some(batch.statement) {
            let Some(statement) = self.statements.get(&batch.statement) else {
                return Err((Fault::NoStatement, at));
            };
            if !is_host(statement, &opened.host) {
                return Err((Fault::WrongHost, format!("{at}, a key of {}", opened.host)));
            }
            self.current = Some(batch.statement);
            self.used.push(batch.statement);
        }
        let time = micros(&checkpoint.time).map_err(|error| (Fault::WrongSignature, error))?;
        self.cycle(time, &holes);
        let stated = batch.contents.iter().find(|one| one.project == project);
        let stated = stated.map_or((0, found.1), |one| (one.samples, one.digest));
        let here = holes.iter().any(|[_, last]| *last >= batch.first);
        match stated == found {
            true => Ok(BatchResult::Proved),
            false if here && found.0 < stated.0 => Ok(BatchResult::Partial),
            false if !line.refused.is_empty() => {
                let why: Vec<&str> = line.refused.keys().map(String::as_str).collect();
                Err((Fault::SamplesRefused, format!("{at}: {}", why.join(", "))))
            }
            false => {
                let text = format!("{at}: {} samples, signed are {}", found.0, stated.0);
                Err((Fault::ContentsDiffer, text))
            }
        }
    }

    /// Checks numbers and digests. Returns the missing numbers before the checkpoint.
    fn numbers(
        &mut self,
        line: &BatchEvidence,
        checkpoint: &Checkpoint,
        first: u64,
    ) -> Result<Vec<NumberRange>, (Fault, String)> {
        let from = line.from;
        let end = checkpoint.sequence.saturating_add(1);
        let at = format!("number {end}, {}", checkpoint.time);
        let (mut holes, mut number, mut digest) = (Vec::new(), from, line.previous);
        for body in &line.bodies {
            match body {
                Some(body) => digest = digest.link(number, body).digest,
                None => {
                    digest = line.previous;
                    holes.push([number, number]);
                }
            }
            number += 1;
        }
        // The digest starts anew behind each missing one, so that only the last part has to fit.
        if number != end || digest != checkpoint.digest {
            return Err((Fault::ChainBroken, at));
        }
        let unaccounted = (from < first).then_some((Fault::MessagesUnaccounted, at.clone()));
        let before = self.next.map(|(next, _)| next);
        let expected = before.unwrap_or(first);
        if from < expected {
            return Err((Fault::NumbersRepeated, at));
        }
        if from > expected {
            holes.insert(0, [expected, from - 1]);
        }
        let whole = holes.is_empty();
        if whole && self.next.is_some_and(|(_, known)| known != line.previous) {
            return Err((Fault::ChainBroken, at));
        }
        if before.is_none() && first == 1 && whole && line.previous != Digest::start(self.stream) {
            return Err((Fault::ChainBroken, at));
        }
        holes.iter().for_each(|range| self.holes.add(*range));
        self.first.get_or_insert(first);
        self.next = Some((end + 1, digest.link(end, &line.body).digest));
        self.batches += 1;
        unaccounted.map_or(Ok(holes), Err)
    }

    /// A key that was replaced must not sign again.
    fn signer(&mut self, opened: &OpenedRecord, at: &str) -> Result<(), (Fault, String)> {
        if self.key.as_ref() == Some(&opened.key) {
            return Ok(());
        }
        if self.replaced.contains(&opened.key) {
            return Err((Fault::OldKeyUsed, format!("{at}, key {}", opened.key)));
        }
        self.replaced.extend(self.key.replace(opened.key.clone()));
        Ok(())
    }

    /// Takes the time of a cycle; keeps the time since the one before if something is missing.
    fn cycle(&mut self, time: i64, holes: &[NumberRange]) {
        let [first, last] = self.cycles.unwrap_or([time, time]);
        for range in holes {
            let declared = self.holes.declaration(*range);
            let reason = declared.map_or("hole_undeclared", |drop| &drop.reason).to_owned();
            let samples = declared.filter(|drop| drop.samples > 0).map(|drop| drop.samples);
            let (from, to) = (last.min(time), last.max(time));
            self.spans.push(ReasonSpan { from, to, reason, numbers: Some(*range), samples });
        }
        let shortest = self.statement().and_then(shortest).unwrap_or(f64::INFINITY);
        let silent = (time - last) as f64 > TOLERANCE * shortest * 1e6;
        if silent && holes.is_empty() {
            let reason = "agent_silent".to_owned();
            let span = ReasonSpan { from: last, to: time, reason, numbers: None, samples: None };
            self.spans.push(span);
        }
        self.cycles = Some([first, last.max(time)]);
    }

    /// Adds what is known only at the end: undeclared holes, drops without numbers, missing ends.
    pub(crate) fn finish(&mut self, [from, to]: [i64; 2], faults: &mut Faults) {
        let name = self.name();
        for [first, last] in self.holes.undeclared() {
            faults.add(Fault::HoleUndeclared, format!("{name}: numbers {first} to {last}"));
        }
        let times = |drop: &DeclaredDrop| {
            [drop.begin, drop.until].map(|time| i64::try_from(time / 1_000).unwrap_or(i64::MAX))
        };
        for drop in self.holes.unnumbered() {
            let [begin, until] = times(drop);
            if begin < to && until >= from {
                let (reason, samples) = (drop.reason.clone(), Some(drop.samples));
                let span = ReasonSpan { from: begin, to: until, reason, numbers: None, samples };
                self.spans.push(span);
            }
        }
        let Some([begin, end]) = self.cycles else { return };
        if begin > from && self.first != Some(1) {
            faults
                .add(Fault::StreamStartMissing, format!("{name}: nothing before {}", shown(begin)));
        }
        if end < to {
            faults.add(Fault::StreamEndMissing, format!("{name}: nothing after {}", shown(end)));
        }
    }
}

fn is_host(statement: &Statement, host: &str) -> bool {
    statement.host == host || statement.host_id.to_string() == host
}

/// The shortest interval of its sources, in seconds.
fn shortest(statement: &Statement) -> Option<f64> {
    statement.sources.iter().map(|source| source.interval).reduce(f64::min)
}
