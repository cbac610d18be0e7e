//! Evidence for audits: streams with their batches, samples of a project, sums of days. Engines differ
//! in how they read them, which is [`EvidenceFile`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use nephometer_audit::{
    AuditScope, ClosedMonth, ClosedSum, DaySums, EvidenceLine, LooseSamples, SampleEvidence,
    SeriesEvidence, StreamEvidence, Sums,
};
use nephometer_proof::{Digest, Record, SignedRecord, Statement};
use uuid::Uuid;

use super::StoreError;
use super::budget::Budget;
use super::closing::proved;
use super::evidence::{
    BatchIds, ChainBatch, ChainMessage, DayRow, EvidenceQuery, MessagePlace, OwnSample,
    TakeEvidence, batches, needed,
};
use super::fleet::record_of;
use super::selection::TimeRange;
use crate::sample::SampleId;
use nephometer_model::{Timestamp, Volume};

const HOUR: i64 = 3_600_000_000;
/// The month before a range is read as well: the last batch before it may be there.
pub(crate) const BEFORE: i64 = 32 * 24 * HOUR;
/// Lines that are handed over at once.
const LINES: usize = 2_000;
/// Samples in one line of those without a checkpoint.
const LOOSE: usize = 10_000;

/// A part of a store that evidence is read from: a file, or all of it.
pub(crate) trait EvidenceFile {
    /// The part of a range in it, since its beginning; `None` if it is empty.
    fn clip(&self, range: TimeRange) -> Option<TimeRange>;
    /// Whether its samples were dropped.
    fn is_expired(&self) -> Result<bool, StoreError>;
    /// The series of a project with meter, unit, type and resource.
    fn project_series(&self, project: &str) -> Result<Vec<(i64, [String; 4])>, StoreError>;
    /// The samples of series, which have numbers in the evidence, in a clipped range.
    fn own_samples(
        &self,
        series: &HashMap<i64, u32>,
        file: u16,
        range: TimeRange,
        visit: &mut dyn FnMut(OwnSample) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
    /// A sample by its id: its series, its time and its volume.
    fn sample(&self, id: &SampleId) -> Result<Option<(i64, i64, Option<Volume>)>, StoreError>;
    /// The stream of a message, and where it came from.
    fn origin(&self, message: i64) -> Result<(Option<Uuid>, String), StoreError>;
    /// All streams in the order of their ids.
    fn all_streams(&self) -> Result<Vec<Uuid>, StoreError>;
    /// Statements and declarations of a stream, newest first, until `visit` returns false.
    fn declarations(
        &self,
        stream: Uuid,
        visit: &mut dyn FnMut(Timestamp, &str) -> bool,
    ) -> Result<(), StoreError>;
    /// Samples that came again, by the message that they came in again.
    fn repeated(&self) -> Result<HashMap<i64, Vec<SampleId>>, StoreError>;
    /// The messages of a stream that a range needs.
    fn chain(
        &self,
        stream: Uuid,
        file: usize,
        times: TimeRange,
        found: &mut Vec<ChainMessage>,
    ) -> Result<(), StoreError>;
    /// The sums of the days of a project that are whole in a clipped range.
    fn project_days(&self, project: &str, range: TimeRange) -> Result<Vec<DayRow>, StoreError>;
    /// What was stored of a project after the month was closed.
    fn project_corrections(&self, project: &str) -> Result<Vec<ClosedSum>, StoreError>;
}

/// Collects the evidence of one project.
struct EvidenceReader<'a, F> {
    query: &'a EvidenceQuery<'a>,
    /// The files that may have samples and batches, oldest first.
    files: Vec<&'a F>,
    /// Files from before: a statement may be older than the batches that were made with it.
    older: Vec<&'a F>,
    budget: Budget,
    take: &'a mut TakeEvidence<'a>,
    lines: Vec<EvidenceLine>,
    /// Evidence numbers of the series of each file.
    series: Vec<HashMap<i64, u32>>,
    samples: Vec<OwnSample>,
    /// The times whose samples were read.
    read: TimeRange,
    /// Samples that came again, by the message.
    repeated: Vec<HashMap<i64, Vec<SampleId>>>,
}

/// The files of an engine that evidence is read from, oldest first.
pub(crate) struct EvidenceFiles<'a, F> {
    /// Those that may have samples and batches.
    pub(crate) files: Vec<&'a F>,
    /// Those from before: a statement may be older than the batches that were made with it.
    pub(crate) older: Vec<&'a F>,
    /// The record of the range, if it is a closed month.
    pub(crate) closed: Option<ClosedMonth>,
}

/// Reads the evidence of an audit.
pub(crate) fn read_evidence<F: EvidenceFile>(
    query: &EvidenceQuery<'_>,
    found: EvidenceFiles<'_, F>,
    budget: Budget,
    take: &mut TakeEvidence<'_>,
) -> Result<(), StoreError> {
    let EvidenceFiles { files, older, closed } = found;
    let start = query.times.start;
    let mut reader = EvidenceReader {
        query,
        older,
        files,
        budget,
        take,
        lines: Vec::new(),
        series: Vec::new(),
        samples: Vec::new(),
        read: TimeRange { start, end: start },
        repeated: Vec::new(),
    };
    // Whoever takes the lines knows why it breaks.
    reader.all(closed).map(drop)
}

type Flow = Result<ControlFlow<()>, StoreError>;

/// What a stream has stated and declared.
#[derive(Default)]
struct Declared {
    /// Statements that batches name, and that were not found yet.
    missing: Vec<Digest>,
    statements: Vec<SignedRecord>,
    drops: Vec<SignedRecord>,
}

impl Declared {
    fn add(&mut self, text: &str) {
        let Ok(signed) = serde_json::from_str::<SignedRecord>(text) else { return };
        let digest = Digest::of(signed.record.as_bytes());
        if let Some(at) = self.missing.iter().position(|known| *known == digest) {
            self.missing.remove(at);
            self.statements.push(signed);
        } else if signed.record.contains("\"kind\":\"drops\"") && !self.drops.contains(&signed) {
            self.drops.push(signed);
        }
    }
}

impl<F: EvidenceFile> EvidenceReader<'_, F> {
    fn all(&mut self, closed: Option<ClosedMonth>) -> Flow {
        let TimeRange { start, end } = self.query.times;
        let expired = self.is_expired()?;
        self.lines.push(EvidenceLine::Scope(AuditScope {
            format: 1,
            project: self.query.project.clone(),
            from: start,
            to: end,
            hosts: self.query.hosts.clone(),
            made: self.query.now.iso(),
            expired,
        }));
        self.all_series()?;
        self.read_samples(TimeRange { start: start - HOUR, end: end.saturating_add(HOUR) })?;
        for stream in self.streams()? {
            if self.stream(stream)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.loose()?;
        self.days(closed)?;
        Ok((self.take)(std::mem::take(&mut self.lines)))
    }

    /// Adds a line; hands many over at once.
    fn push(&mut self, line: EvidenceLine) -> ControlFlow<()> {
        self.lines.push(line);
        if self.lines.len() < LINES {
            return ControlFlow::Continue(());
        }
        (self.take)(std::mem::take(&mut self.lines))
    }

    fn is_expired(&self) -> Result<bool, StoreError> {
        for file in self.files.iter().filter(|file| file.clip(self.query.times).is_some()) {
            if file.is_expired()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Numbers the series of the project, across files.
    fn all_series(&mut self) -> Result<(), StoreError> {
        let mut known: HashMap<[String; 4], u32> = HashMap::new();
        for file in &self.files {
            let mut numbers = HashMap::new();
            for (series, key) in file.project_series(&self.query.project)? {
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                let number = *known.entry(key.clone()).or_insert(next);
                if number == next {
                    let [meter, unit, kind, resource] = key;
                    let line = SeriesEvidence { number, meter, unit, kind, resource };
                    self.lines.push(EvidenceLine::Series(line));
                }
                numbers.insert(series, number);
            }
            self.series.push(numbers);
        }
        Ok(())
    }

    /// Reads samples of the project, besides those that were read before.
    fn read_samples(&mut self, range: TimeRange) -> Result<(), StoreError> {
        let TimeRange { start, end } = self.read;
        let parts = if start >= end {
            vec![range]
        } else {
            vec![
                TimeRange { start: range.start, end: start.min(range.end) },
                TimeRange { start: end.max(range.start), end: range.end },
            ]
        };
        for part in parts {
            for (at, file) in self.files.iter().enumerate() {
                let Some(clipped) = file.clip(part) else { continue };
                let (samples, budget) = (&mut self.samples, &mut self.budget);
                file.own_samples(&self.series[at], number_of(at), clipped, &mut |sample| {
                    budget.spend(1)?;
                    samples.push(sample);
                    Ok(())
                })?;
            }
        }
        self.read = TimeRange { start: range.start.min(start), end: range.end.max(end) };
        self.samples.sort_unstable_by_key(OwnSample::place);
        Ok(())
    }

    /// The streams that are wanted, and those of the project's samples.
    fn streams(&mut self) -> Result<BTreeSet<Uuid>, StoreError> {
        let mut streams = BTreeSet::new();
        let mut last = None;
        for sample in &self.samples {
            if last == Some(sample.place()) {
                continue;
            }
            last = Some(sample.place());
            let (file, message) = sample.place();
            streams.extend(self.files[file].origin(message)?.0);
        }
        for file in &self.files {
            for stream in file.all_streams()? {
                if streams.contains(&stream) {
                    continue;
                }
                let statement = self.newest_statement(stream)?;
                let wants = |host: &str| self.query.wants(host);
                if statement.is_some_and(|one| wants(&one.host) || wants(&one.host_id.to_string()))
                {
                    streams.insert(stream);
                }
            }
        }
        for file in &self.files {
            self.repeated.push(file.repeated()?);
        }
        Ok(streams)
    }

    fn newest_first(&self) -> impl Iterator<Item = &F> {
        self.files.iter().rev().chain(self.older.iter().rev()).copied()
    }

    fn newest_statement(&self, stream: Uuid) -> Result<Option<Statement>, StoreError> {
        let mut found = None;
        for file in self.newest_first() {
            file.declarations(stream, &mut |_, record| {
                if let Some(Record::Statement(statement)) = record_of(record) {
                    found = Some(*statement);
                }
                found.is_none()
            })?;
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Hands over a stream with its batches, if it reaches into the range.
    fn stream(&mut self, stream: Uuid) -> Flow {
        let mut messages = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            file.chain(stream, at, self.query.times, &mut messages)?;
        }
        let mut all = batches(messages);
        let Some(range) = needed(&all, self.query.times) else {
            return Ok(ControlFlow::Continue(()));
        };
        let chosen: Vec<ChainBatch> = all.drain(range).collect();
        let times = || chosen.iter().map(|batch| batch.cycle.time);
        let first = times().min().unwrap_or(0).saturating_sub(HOUR);
        let last = times().max().unwrap_or(0).saturating_add(HOUR);
        if first < self.read.start || last > self.read.end {
            self.read_samples(TimeRange {
                start: first.min(self.read.start),
                end: last.max(self.read.end),
            })?;
        }
        let line = EvidenceLine::Stream(self.declared(stream, &chosen)?);
        if self.push(line).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for ChainBatch { mut line, places, .. } in chosen {
            line.samples = self.samples_of(&places)?;
            if self.push(EvidenceLine::Batch(Box::new(line))).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The statements that batches name, and all declared drops.
    fn declared(&self, stream: Uuid, chosen: &[ChainBatch]) -> Result<StreamEvidence, StoreError> {
        let mut missing: Vec<Digest> = Vec::new();
        for digest in chosen.iter().filter_map(|batch| batch.cycle.statement) {
            if !missing.contains(&digest) {
                missing.push(digest);
            }
        }
        let mut declared = Declared { missing, ..Declared::default() };
        for file in self.files.iter().rev() {
            file.declarations(stream, &mut |_, record| {
                declared.add(record);
                true
            })?;
        }
        for file in self.older.iter().rev() {
            file.declarations(stream, &mut |_, record| {
                declared.add(record);
                !declared.missing.is_empty()
            })?;
        }
        let Declared { statements, drops, .. } = declared;
        Ok(StreamEvidence { stream, statements, drops })
    }

    /// The project's samples of some messages, each once.
    fn samples_of(&mut self, places: &[MessagePlace]) -> Result<Vec<SampleEvidence>, StoreError> {
        let (mut found, mut ids) = (Vec::new(), None::<BatchIds>);
        for place in places {
            let from = self.samples.partition_point(|sample| sample.place() < *place);
            for sample in self.samples[from..].iter_mut().take_while(|one| one.place() == *place) {
                sample.used = true;
                found.push(sample.evidence());
            }
        }
        for (file, message) in places {
            let Some(repeated) = self.repeated[*file].get(message) else { continue };
            let ids = ids.get_or_insert_with(|| found.iter().map(|one| one.1.clone()).collect());
            for id in repeated {
                for (at, file) in self.files.iter().enumerate() {
                    let Some((series, time, volume)) = file.sample(id)? else { continue };
                    let Some(number) = self.series[at].get(&series) else { continue };
                    let id: Box<str> = id.to_string().into();
                    if ids.insert(id.clone()) {
                        found.push(SampleEvidence(*number, id, time, proved(volume)));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Samples that are in no batch.
    fn loose(&mut self) -> Result<(), StoreError> {
        let TimeRange { start, end } = self.query.times;
        let is_loose = |one: &&OwnSample| !one.used && (start..end).contains(&one.time);
        let left: Vec<&OwnSample> = self.samples.iter().filter(is_loose).collect();
        for part in left.chunk_by(|one, two| one.place() == two.place()) {
            let (file, message) = part[0].place();
            let (stream, origin) = self.files[file].origin(message)?;
            for part in part.chunks(LOOSE) {
                let samples = part.iter().map(|sample| sample.evidence()).collect();
                let (stream, origin) = (stream, origin.clone());
                self.lines.push(EvidenceLine::Loose(LooseSamples { stream, origin, samples }));
            }
        }
        Ok(())
    }

    /// Sums of the days that are whole in the range, and the closed month.
    fn days(&mut self, closed: Option<ClosedMonth>) -> Result<(), StoreError> {
        let mut now: BTreeMap<(u32, i64), Option<Sums>> = BTreeMap::new();
        let mut then: BTreeMap<(u32, i64), Sums> = BTreeMap::new();
        let mut changed = BTreeSet::new();
        let mut corrections = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            let Some(range) = file.clip(self.query.times) else { continue };
            for day in file.project_days(&self.query.project, range)? {
                let Some(number) = self.series[at].get(&day.series) else { continue };
                let key = (*number, day.start);
                let sums = now.entry(key).or_insert_with(|| Some(Sums::default()));
                match (sums.as_mut(), day.now) {
                    (Some(sums), Some(found)) => sums.merge(&found),
                    _ => *sums = None,
                }
                let before = day.closed.or(day.now);
                then.entry(key).or_default().merge(&before.unwrap_or_default());
                if day.closed.is_some() {
                    changed.insert(key);
                }
            }
            if closed.is_some() {
                corrections.extend(file.project_corrections(&self.query.project)?);
            }
        }
        let line = |((series, day), sums): ((u32, i64), Sums)| DaySums {
            series,
            day,
            sums: sums.written(),
        };
        for (key, sums) in now {
            self.lines.extend(sums.map(|sums| EvidenceLine::Day(line((key, sums)))));
        }
        if let Some(closed) = closed {
            let days = then.into_iter().filter(|(key, _)| changed.contains(key)).map(line);
            let days = days.collect();
            self.lines.push(EvidenceLine::Closed(ClosedMonth { days, corrections, ..closed }));
        }
        Ok(())
    }
}

/// The number of a file; there are fewer than 65,536 months.
fn number_of(file: usize) -> u16 {
    u16::try_from(file).unwrap_or(u16::MAX)
}
