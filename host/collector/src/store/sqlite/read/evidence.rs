//! Evidence for audits: streams with their batches, samples of a project, sums of days.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use nephometer_audit::{
    AuditScope, ClosedMonth, DaySums, EvidenceLine, LooseSamples, SampleEvidence, SeriesEvidence,
    StreamEvidence, Sums,
};
use nephometer_proof::{Digest, Record, SignedRecord, Statement};
use uuid::Uuid;

use super::evidence_rows::OwnSample;
use super::{Budget, SqliteReader};
use crate::sample::SampleId;
use crate::store::StoreError;
use crate::store::evidence::{
    BatchIds, ChainBatch, EvidenceQuery, MessagePlace, TakeEvidence, batches, needed,
};
use crate::store::fleet::record_of;
use crate::store::selection::TimeRange;
use crate::store::sqlite::records::closed_month;
use crate::store::sqlite::rows::proved;
use crate::store::sqlite::series::ReadFile;
use crate::store::sqlite::write::micros_of;

const HOUR: i64 = 3_600_000_000;
/// The month before a range is read as well: the last batch before it may be there.
const BEFORE: i64 = 32 * 24 * HOUR;
/// Lines that are handed over at once.
const LINES: usize = 2_000;
/// Samples in one line of those without a checkpoint.
const LOOSE: usize = 10_000;

/// Collects the evidence of one project.
struct EvidenceReader<'a> {
    query: &'a EvidenceQuery<'a>,
    /// The files that may have samples and batches, oldest first.
    files: Vec<&'a ReadFile>,
    /// Files from before: a statement may be older than the batches that were made with it.
    older: Vec<&'a ReadFile>,
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

impl SqliteReader {
    /// See [`crate::store::Reader::evidence`].
    pub(super) fn evidence_of(
        &mut self,
        query: &EvidenceQuery<'_>,
        take: &mut TakeEvidence<'_>,
    ) -> Result<(), StoreError> {
        let TimeRange { start, end } = query.times;
        let late = micros_of(query.window);
        let near = TimeRange { start: start - BEFORE, end: end.saturating_add(late) };
        let budget = Budget { most: self.budget, left: self.budget };
        let folder = self.folder.clone();
        let mut all = self.files(TimeRange { start: 0, end: near.end })?;
        all.reverse();
        let (older, files) = all.into_iter().partition(|file| file.range.end <= near.start);
        let closed = closed_month(&folder, query.times, &query.project)?;
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

impl EvidenceReader<'_> {
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
                for (series, number) in &self.series[at] {
                    let (samples, budget) = (&mut self.samples, &mut self.budget);
                    file.own_samples((*series, *number), number_of(at), clipped, &mut |sample| {
                        budget.spend(1)?;
                        samples.push(sample);
                        Ok(())
                    })?;
                }
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
            let mut after = Vec::new();
            while let Some(stream) = file.stream_after(&after)? {
                after = stream.as_bytes().to_vec();
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

    fn newest_first(&self) -> impl Iterator<Item = &ReadFile> {
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
                    let Some((series, row)) = file.by_id(id)? else { continue };
                    let Some(number) = self.series[at].get(&series.number) else { continue };
                    let id: Box<str> = id.to_string().into();
                    if ids.insert(id.clone()) {
                        let time = file.range.start + row.time;
                        let value = proved(row.volume);
                        found.push(SampleEvidence(*number, id, time, value));
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
