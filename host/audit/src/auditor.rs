//! Takes evidence line by line and computes everything anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::thread;

use nephometer_proof::{Digest, ProvedSample, digest_samples};
use thiserror::Error;
use uuid::Uuid;

use super::coverage::{Presence, interval};
use super::evidence::{
    AuditScope, BatchEvidence, ClosedMonth, DaySums, EvidenceLine, LooseSamples, SampleEvidence,
    SeriesEvidence,
};
use super::fault::Fault;
use super::findings::{
    AuditResult, AuditedSeries, Faults, Findings, Gap, MissingSpan, UsedTransformer, VerifiedStream,
};
use super::notes::notes;
use super::stream::{BatchResult, OpenedRecord, ReasonSpan, StreamAudit, open};
use super::totals::Sums;
use super::tree::{Leaf, month_digest, project_digest};
use super::trusted::{TrustedKeys, shown};

const DAY: i64 = 86_400_000_000;

/// Evidence that is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}; make the file anew with `nephometer-collector audit`")]
pub struct AuditError(String);

/// Verifies evidence.
pub struct Auditor<'a> {
    trusted: &'a TrustedKeys,
    scope: AuditScope,
    /// The project's pseudonym.
    project: Digest,
    series: Vec<SeriesState>,
    known: HashSet<[String; 4]>,
    streams: Vec<StreamAudit>,
    faults: Faults,
    /// Ids of samples that were counted: a sample may be in several batches.
    counted: HashSet<u128>,
    days: HashMap<(u32, i64), Sums>,
    claims: BTreeMap<(u32, i64), Sums>,
    closed: Option<ClosedMonth>,
}

/// A series while it is audited.
struct SeriesState {
    line: SeriesEvidence,
    presence: Presence,
    sums: Sums,
    unproved: u64,
}

/// A batch whose signature and samples were checked by themselves.
struct OpenedBatch {
    line: BatchEvidence,
    record: Result<OpenedRecord, (Fault, String)>,
    found: (u64, Digest),
}

impl<'a> Auditor<'a> {
    /// Begins with the scope, which is the first line.
    pub fn new(trusted: &'a TrustedKeys, scope: AuditScope) -> Self {
        Self {
            trusted,
            project: Digest::of_project(&scope.project),
            scope,
            series: Vec::new(),
            known: HashSet::new(),
            streams: Vec::new(),
            faults: Faults::default(),
            counted: HashSet::new(),
            days: HashMap::new(),
            claims: BTreeMap::new(),
            closed: None,
        }
    }

    /// Takes the next lines. Signatures and digests are computed by several threads.
    ///
    /// # Errors
    /// If a line stands where it may not: then nothing can be concluded.
    pub fn take(&mut self, lines: Vec<EvidenceLine>) -> Result<(), AuditError> {
        let (mut batches, mut places, mut loose) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines {
            match line {
                EvidenceLine::Batch(batch) => {
                    self.check_samples(&batch.samples)?;
                    let wrong = || AuditError("a batch before the first stream".to_owned());
                    places.push(self.streams.len().checked_sub(1).ok_or_else(wrong)?);
                    batches.push(*batch);
                }
                EvidenceLine::Loose(samples) => loose.push(samples),
                other => self.line(other)?,
            }
        }
        for (batch, place) in self.opened(batches).into_iter().zip(places) {
            self.batch(batch, place);
        }
        // Behind the batches: what one of them has is in a batch.
        loose.iter().try_for_each(|samples| self.loose(samples))
    }

    fn line(&mut self, line: EvidenceLine) -> Result<(), AuditError> {
        match line {
            EvidenceLine::Series(line) => {
                let SeriesEvidence { number, meter, unit, kind, resource } = &line;
                let key = [meter, unit, kind, resource].map(String::clone);
                if usize::try_from(*number) != Ok(self.series.len()) || !self.known.insert(key) {
                    return Err(AuditError(format!("series {number} is out of order or repeated")));
                }
                let (presence, sums) = (Presence::default(), Sums::default());
                self.series.push(SeriesState { line, presence, sums, unproved: 0 });
            }
            EvidenceLine::Stream(line) => {
                if self.streams.iter().any(|known| known.stream == line.stream) {
                    return Err(AuditError(format!("the stream {} is repeated", line.stream)));
                }
                let stream = StreamAudit::new(&line, self.trusted, &mut self.faults);
                self.streams.push(stream);
            }
            EvidenceLine::Day(DaySums { series, day, sums }) => {
                self.claims.insert((series, day), sums);
            }
            EvidenceLine::Closed(closed) => self.closed = Some(closed),
            EvidenceLine::Scope(_) => return Err(AuditError("a second scope".to_owned())),
            EvidenceLine::Batch(_) | EvidenceLine::Loose(_) => {}
        }
        Ok(())
    }

    fn check_samples(&self, samples: &[SampleEvidence]) -> Result<(), AuditError> {
        let unknown = samples.iter().find(|sample| sample.0 as usize >= self.series.len());
        unknown.map_or(Ok(()), |sample| Err(AuditError(format!("no series {}", sample.0))))
    }

    /// Checks each batch by itself, on all processors.
    fn opened(&self, batches: Vec<BatchEvidence>) -> Vec<OpenedBatch> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
        let size = batches.len().div_ceil(threads).max(1);
        let mut parts: Vec<Vec<BatchEvidence>> = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            if at % size == 0 {
                parts.push(Vec::new());
            }
            parts.last_mut().expect("it was pushed").push(batch);
        }
        thread::scope(|scope| {
            let open = |part: Vec<_>| part.into_iter().map(|line| self.open(line)).collect();
            let running: Vec<_> =
                parts.into_iter().map(|part| scope.spawn(move || open(part))).collect();
            let join = |one: thread::ScopedJoinHandle<'_, Vec<OpenedBatch>>| {
                one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().flat_map(join).collect()
        })
    }

    fn open(&self, line: BatchEvidence) -> OpenedBatch {
        let record = open(&line.record, self.trusted);
        let mut samples: Vec<ProvedSample<'_>> =
            line.samples.iter().map(|sample| self.proved(sample)).collect();
        let found = (samples.len() as u64, digest_samples(&mut samples));
        drop(samples);
        OpenedBatch { line, record, found }
    }

    fn proved<'s>(&'s self, sample: &'s SampleEvidence) -> ProvedSample<'s> {
        let SampleEvidence(number, id, time, value) = sample;
        let SeriesEvidence { meter, unit, kind, resource, .. } =
            &self.series[*number as usize].line;
        ProvedSample { id, meter, unit, kind, resource, time: *time, value: *value }
    }

    fn batch(&mut self, opened: OpenedBatch, place: usize) {
        let OpenedBatch { line, record, found } = opened;
        let stream = &mut self.streams[place];
        let result = stream.batch(&line, &record, (self.project, found), &mut self.faults);
        let statement = stream.current.and_then(|digest| stream.statement_of(&digest));
        let mut intervals: HashMap<u32, Option<f64>> = HashMap::new();
        for SampleEvidence(number, id, time, value) in &line.samples {
            if !(self.scope.from..self.scope.to).contains(time) {
                continue;
            }
            let series = &mut self.series[*number as usize];
            let meter = &series.line.meter;
            let interval = *intervals
                .entry(*number)
                .or_insert_with(|| statement.and_then(|statement| interval(statement, meter)));
            series.presence.add(*time, place, interval);
            if !self.counted.insert(identity(id)) {
                continue;
            }
            if result == BatchResult::Proved {
                series.sums.add(*value);
            } else {
                series.unproved += 1;
            }
            // Sums of days are compared with all that is there.
            self.days.entry((*number, time - time.rem_euclid(DAY))).or_default().add(*value);
        }
    }

    fn loose(&mut self, loose: &LooseSamples) -> Result<(), AuditError> {
        self.check_samples(&loose.samples)?;
        for SampleEvidence(number, id, time, value) in &loose.samples {
            // A batch that was sent again after a kill has it as well.
            let known = !self.counted.insert(identity(id));
            if known || !(self.scope.from..self.scope.to).contains(time) {
                continue;
            }
            let series = &mut self.series[*number as usize];
            let fault = if loose.stream.is_some() { Fault::NoCheckpoint } else { Fault::NoChain };
            let SeriesEvidence { meter, resource, .. } = &series.line;
            let at = format!("{meter} of {resource} at {} from {}", shown(*time), loose.origin);
            self.faults.add(fault, at);
            series.unproved += 1;
            self.days.entry((*number, time - time.rem_euclid(DAY))).or_default().add(*value);
        }
        Ok(())
    }

    /// Ends the audit.
    pub fn finish(mut self) -> Findings {
        let times = [self.scope.from, self.scope.to];
        self.streams.iter_mut().for_each(|stream| stream.finish(times, &mut self.faults));
        self.check_hosts();
        if self.scope.expired {
            let text = format!("before {}", self.scope.made);
            self.faults.add(Fault::SamplesExpired, text);
        } else {
            self.check_days();
        }
        self.check_closing();
        let gaps = self.gaps();
        let spans: Vec<&[ReasonSpan]> = self.streams.iter().map(|one| &*one.spans).collect();
        let names: Vec<String> = self.streams.iter().map(StreamAudit::name).collect();
        let series: Vec<AuditedSeries> =
            self.series.iter().map(|one| one.audited(&spans, &names)).collect();
        let streams: Vec<VerifiedStream> = self.streams.iter().map(verified).collect();
        let notes = notes(&series, &streams);
        let transformers = self.transformers();
        let corrections = self.closed.iter().flat_map(|closed| &closed.corrections);
        let corrections = corrections
            .map(|one| (format!("{} {} {}", one.meter, one.unit, one.kind), one.sums.samples))
            .collect();
        let closed = self.closed.as_ref().and_then(|closed| closed.tree);
        let faults = self.faults.into_list();
        let result = match (faults.is_empty(), gaps.is_empty()) {
            (false, _) => AuditResult::NotProvable,
            (true, false) => AuditResult::CompleteWithDeclaredGaps,
            (true, true) => AuditResult::Complete,
        };
        let scope = self.scope;
        Findings {
            result,
            scope,
            faults,
            gaps,
            streams,
            transformers,
            series,
            corrections,
            closed,
            notes,
        }
    }

    /// Every host with a trusted key has to have a stream: otherwise samples of the project may have
    /// been left out with their host.
    fn check_hosts(&mut self) {
        if self.streams.is_empty() {
            self.faults.add(Fault::NoStream, format!("project {:?}", self.scope.project));
        }
        let wanted: Vec<String> = if self.scope.hosts.is_empty() {
            self.trusted
                .hosts_within([self.scope.from, self.scope.to])
                .into_iter()
                .map(str::to_owned)
                .collect()
        } else {
            self.scope.hosts.clone()
        };
        let mut missing: Vec<String> = wanted
            .into_iter()
            .filter(|host| !self.streams.iter().any(|stream| stream.is_of(host)))
            .collect();
        missing.sort();
        missing.into_iter().for_each(|host| self.faults.add(Fault::HostMissing, host));
    }

    /// Compares the collector's sums of whole days with those of the samples.
    fn check_days(&mut self) {
        for ((number, day), claim) in &self.claims {
            let found = self.days.get(&(*number, *day)).copied().unwrap_or_default();
            if !claim.agrees(&found) {
                let line = self.series.get(*number as usize).map(|one| &one.line);
                let what = line.map(|line| format!("{} of {}", line.meter, line.resource));
                let text = format!("{} on {}", what.unwrap_or_default(), shown(*day));
                self.faults.add(Fault::RollupsDiffer, text);
            }
        }
    }

    /// Compares the record of a closed month with the samples and what came later, and the sums of its
    /// days with its digest.
    fn check_closing(&mut self) {
        let Some(closed) = &self.closed else { return };
        let mut found: BTreeMap<[&str; 3], Sums> = BTreeMap::new();
        let all = if self.scope.expired {
            self.claims.iter().collect::<Vec<_>>()
        } else {
            self.days.iter().collect()
        };
        for ((number, _), sums) in all {
            let Some(one) = self.series.get(*number as usize) else { continue };
            let SeriesEvidence { meter, unit, kind, .. } = &one.line;
            found.entry([meter, unit, kind]).or_default().merge(sums);
        }
        let mut expected: BTreeMap<[&str; 3], Sums> = BTreeMap::new();
        for one in closed.sums.iter().chain(&closed.corrections) {
            expected.entry([&one.meter, &one.unit, &one.kind]).or_default().merge(&one.sums);
        }
        let same = expected.len() == found.len()
            && expected
                .iter()
                .all(|(key, sums)| found.get(key).is_some_and(|one| one.agrees(sums)));
        let mut text = (!same).then(|| format!("{}: other sums than its samples", closed.month));
        if closed.tree.is_some() && !self.is_in_tree(closed) {
            text = Some(format!("{}: sums of days do not have its digest", closed.month));
        }
        if let Some(text) = text {
            self.faults.add(Fault::ClosingDiffers, text);
        }
    }

    fn is_in_tree(&self, closed: &ClosedMonth) -> bool {
        let mut days = self.claims.clone();
        days.extend(closed.days.iter().map(|one| ((one.series, one.day), one.sums)));
        let leaf = |((number, day), sums): (&(u32, i64), &Sums)| {
            let line = &self.series.get(*number as usize)?.line;
            let SeriesEvidence { meter, unit, kind, resource, .. } = line.clone();
            Some(Leaf { day: *day, resource, meter, unit, kind, sums: *sums })
        };
        let mut leaves: Vec<Leaf> =
            days.iter().filter(|(_, sums)| sums.samples > 0).filter_map(leaf).collect();
        let stated = closed.projects.iter().find(|(project, _)| *project == self.project);
        let fits = match stated {
            Some((_, digest)) => project_digest(&mut leaves) == *digest,
            None => leaves.is_empty(),
        };
        fits && Some(month_digest(&closed.month, &mut closed.projects.clone())) == closed.tree
    }

    fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for stream in &self.streams {
            let within =
                |span: &&ReasonSpan| span.to >= self.scope.from && span.from < self.scope.to;
            for span in stream.spans.iter().filter(within) {
                gaps.push(Gap {
                    host: stream.name(),
                    reason: span.reason.clone(),
                    from: shown(span.from),
                    to: shown(span.to),
                    numbers: span.numbers,
                    samples: span.samples,
                });
            }
        }
        gaps
    }

    fn transformers(&self) -> Vec<UsedTransformer> {
        let mut used = BTreeSet::new();
        for stream in &self.streams {
            for statement in stream.used.iter().filter_map(|digest| stream.statement_of(digest)) {
                used.extend(statement.transformers.iter().map(|one| UsedTransformer {
                    host: statement.host.clone(),
                    component: one.component.clone(),
                    digest: one.digest.to_string(),
                    options: one.options.to_string(),
                }));
            }
        }
        used.into_iter().collect()
    }
}

impl SeriesState {
    fn audited(&self, spans: &[&[ReasonSpan]], names: &[String]) -> AuditedSeries {
        let SeriesEvidence { meter, unit, kind, resource, .. } = self.line.clone();
        let missing = self.presence.missing(spans).into_iter();
        AuditedSeries {
            resource,
            meter,
            unit,
            kind,
            hosts: self.presence.streams().iter().map(|at| names[*at].clone()).collect(),
            interval: self.presence.interval,
            times: self.presence.ends().map(|ends| ends.map(shown)),
            sums: self.sums.written(),
            unproved: self.unproved,
            missing: missing
                .map(|one| MissingSpan {
                    from: shown(one.from),
                    to: shown(one.to),
                    reason: one.reason,
                })
                .collect(),
        }
    }
}

fn verified(stream: &StreamAudit) -> VerifiedStream {
    let stated = stream.statement();
    VerifiedStream {
        stream: stream.stream,
        host: stream.name(),
        sink: stated.map_or_else(String::new, |one| one.sink.clone()),
        publisher: stated.map_or_else(String::new, |one| one.publisher.clone()),
        cycles: stream.cycles.map(|cycles| cycles.map(shown)),
        batches: stream.batches,
    }
}

/// An id as a number: that of a UUID, or a part of the digest of any other text.
fn identity(id: &str) -> u128 {
    Uuid::try_parse(id).map_or_else(
        |_| {
            let digest = Digest::of(id.as_bytes());
            let half = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
            u128::from_be_bytes(*half)
        },
        |uuid| uuid.as_u128(),
    )
}
