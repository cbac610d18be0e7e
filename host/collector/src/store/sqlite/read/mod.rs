//! Answers queries from all month files.

mod evidence_rows;
mod statistics;
mod streams;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::file::FileKey;
use super::records::closed_month;
use super::series::{ReadFile, SampleRow, Series, SharedParts};
use super::{databases, file_error, ledger, months};
use crate::sample::SampleId;
use crate::store::budget::Budget;
use crate::store::evidence_reader::{BEFORE, EvidenceFiles, read_evidence};
use crate::store::selection::{Selection, TimeRange, from_micros, micros_of};
use crate::store::{
    EvidenceQuery, FileState, MeterEntry, Reader, ResourceEntry, SenderStream, StatisticsQuery,
    StoreError, StoreState, StoredSample, TakeEvidence, Totals,
};
use nephometer_model::Timestamp;
use nephometer_proof::DeclaredDrop;

/// Windows in which the newest samples are looked for: the first, and by how much each is longer.
const WINDOW: i64 = 900_000_000;
const GROWTH: i64 = 8;

/// The reading side. Files stay open between queries.
pub(super) struct SqliteReader {
    folder: PathBuf,
    budget: u64,
    open: HashMap<FileKey, ReadFile>,
}

impl SqliteReader {
    pub(super) fn new(folder: &Path, budget: u64) -> Self {
        Self { folder: folder.to_owned(), budget, open: HashMap::new() }
    }

    fn budget(&self, selection: &Selection) -> Budget {
        Budget::new(if selection.budget == 0 { self.budget } else { selection.budget })
    }

    /// The files of a range, newest first.
    fn files(&mut self, range: TimeRange) -> Result<Vec<&ReadFile>, StoreError> {
        Ok(self.keyed(range)?.into_iter().map(|(_, file)| file).collect())
    }

    /// The same with their names.
    pub(super) fn keyed(
        &mut self,
        range: TimeRange,
    ) -> Result<Vec<(FileKey, &ReadFile)>, StoreError> {
        let found = months(&self.folder)?;
        // A file that was dropped is closed.
        let existing: HashSet<&FileKey> = found.iter().map(|(key, _)| key).collect();
        self.open.retain(|key, _| existing.contains(key));
        let mut keys = Vec::new();
        for (key, path) in &found {
            let month = key.month.range();
            if month.start < range.end && range.start < month.end {
                if !self.open.contains_key(key) {
                    let Some(file) = ReadFile::open(path.clone(), month)? else { continue };
                    self.open.insert(key.clone(), file);
                }
                keys.push(key);
            }
        }
        keys.sort_by(|one, two| two.cmp(one));
        Ok(keys.into_iter().map(|key| (key.clone(), &self.open[key])).collect())
    }

    fn find(&mut self, selection: &Selection, id: &str) -> Result<Vec<StoredSample>, StoreError> {
        let id = SampleId::new(id);
        let mut budget = self.budget(selection);
        for file in self.files(selection.times)? {
            budget.spend(file.unindexed()?)?;
            let Some((series, row)) = file.by_id(&id)? else { continue };
            let mut parts = SharedParts::default();
            let revision = row.revision;
            let sample = parts.sample(file, &series, row)?;
            let owner = &sample.owner;
            let is = |wanted: &Option<String>, found: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == found)
            };
            let time = crate::store::selection::micros(sample.time);
            let fits = is(&selection.meter, &sample.meter.name)
                && is(&selection.resource, &owner.resource_id)
                && selection.accepts_owner(owner)
                && (selection.times.start..selection.times.end).contains(&time)
                && parts.accepts(file, selection, revision)?;
            return Ok(if fits { vec![sample] } else { Vec::new() });
        }
        Ok(Vec::new())
    }
}

impl Reader for SqliteReader {
    fn meters(&mut self, selection: &Selection) -> Result<Vec<MeterEntry>, StoreError> {
        // Who owns a meter of a resource is decided before the owner is compared.
        let unowned = Selection { project: None, user: None, source: None, ..selection.clone() };
        let mut newest: BTreeMap<(String, String, String), Option<MeterEntry>> = BTreeMap::new();
        for file in self.files(selection.times)? {
            let mut here: BTreeMap<(String, String, String), Series> = BTreeMap::new();
            for series in file.series(&unowned)? {
                let meter = &series.meter;
                let kind = format!("{}\0{}", meter.unit, meter.kind);
                let key = (meter.name.to_string(), series.owner.resource_id.to_string(), kind);
                // A later owner has a later series.
                if here.get(&key).is_none_or(|known| known.number < series.number) {
                    here.insert(key, series);
                }
            }
            for (key, series) in here {
                if newest.contains_key(&key) {
                    continue;
                }
                let fits = selection.accepts_owner(&series.owner)
                    && latest_fits(file, selection, &series)?;
                let entry = MeterEntry { meter: series.meter, owner: series.owner };
                newest.insert(key, fits.then_some(entry));
            }
        }
        Ok(newest.into_values().flatten().collect())
    }

    fn resources(&mut self, selection: &Selection) -> Result<Vec<ResourceEntry>, StoreError> {
        let mut budget = self.budget(selection);
        let mut found: BTreeMap<String, ResourceEntry> = BTreeMap::new();
        for file in self.files(selection.times)? {
            let Some(range) = file.clipped(selection.times) else { continue };
            let parts = SharedParts::default();
            let mut search = EdgeSearch { file, selection, range, parts };
            for series in file.series(selection)? {
                let Some(edges) = search.edges(&series, &mut budget)? else { continue };
                let [first, last] =
                    [edges.0, edges.1.time].map(|time| from_micros(file.range.start + time));
                let entry = found.get_mut(&*series.owner.resource_id);
                if let Some(known) = entry {
                    known.first = known.first.min(first);
                    if known.last >= last {
                        continue;
                    }
                    known.last = last;
                    known.owner = series.owner;
                    known.metadata = search.parts.metadata(file, edges.1.revision)?.to_string();
                } else {
                    let metadata = search.parts.metadata(file, edges.1.revision)?.to_string();
                    let id = series.owner.resource_id.to_string();
                    let owner = series.owner;
                    found.insert(id, ResourceEntry { owner, first, last, metadata });
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn newest(
        &mut self,
        selection: &Selection,
        limit: usize,
        accept: &mut dyn FnMut(&StoredSample) -> bool,
    ) -> Result<Vec<StoredSample>, StoreError> {
        if let Some(id) = &selection.message_id.clone() {
            let mut found = self.find(selection, id)?;
            found.retain(|sample| accept(sample));
            return Ok(found);
        }
        let mut budget = self.budget(selection);
        let mut found: Vec<StoredSample> = Vec::new();
        let mut month = i64::MAX;
        for file in self.files(selection.times)? {
            // Files of one month are of different classes, and have to be read all.
            if found.len() >= limit && file.range.start < month {
                break;
            }
            month = file.range.start;
            let mut here = newest_of(file, selection, limit, &mut budget, accept)?;
            found.append(&mut here);
            found.sort_by(|one, two| (two.time, &two.id).cmp(&(one.time, &one.id)));
            found.truncate(limit);
        }
        Ok(found)
    }

    fn scan(
        &mut self,
        selection: &Selection,
        visit: &mut dyn FnMut(StoredSample) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if let Some(id) = &selection.message_id.clone() {
            _ = self.find(selection, id)?.into_iter().try_for_each(visit);
            return Ok(());
        }
        let mut budget = self.budget(selection);
        for file in self.files(selection.times)? {
            let Some(range) = file.clipped(selection.times) else { continue };
            let mut parts = SharedParts::default();
            for series in file.series(selection)? {
                let mut going = true;
                file.rows(series.number, range, false, |row| {
                    budget.spend(1)?;
                    if parts.accepts(file, selection, row.revision)? {
                        going = visit(parts.sample(file, &series, row)?).is_continue();
                    }
                    Ok(going)
                })?;
                if !going {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn statistics(&mut self, query: &StatisticsQuery) -> Result<Vec<Totals>, StoreError> {
        self.totals(query)
    }

    fn streams(
        &mut self,
        since: Timestamp,
        drops_since: Timestamp,
    ) -> Result<Vec<SenderStream>, StoreError> {
        self.stream_states(since, drops_since)
    }

    fn drops(&mut self, selection: &Selection) -> Result<Vec<DeclaredDrop>, StoreError> {
        self.declared_drops(selection)
    }

    fn evidence(
        &mut self,
        query: &EvidenceQuery<'_>,
        take: &mut TakeEvidence<'_>,
    ) -> Result<(), StoreError> {
        let late = micros_of(query.window);
        let near = TimeRange {
            start: query.times.start - BEFORE,
            end: query.times.end.saturating_add(late),
        };
        let (budget, folder) = (Budget::new(self.budget), self.folder.clone());
        let mut all = self.files(TimeRange { start: 0, end: near.end })?;
        all.reverse();
        let (older, files) = all.into_iter().partition(|file| file.range.end <= near.start);
        let closed = closed_month(&folder, query.times, &query.project)?;
        read_evidence(query, EvidenceFiles { files, older, closed }, budget, take)
    }

    fn state(&mut self) -> Result<StoreState, StoreError> {
        let mut state = StoreState::default();
        for file in self.files(TimeRange::default())? {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let counted = FileState {
                name,
                samples: file.number("SELECT count(*) FROM sample")?,
                bytes: size(&file.path)?,
                resources: file.number("SELECT count(DISTINCT resource_id) FROM resource")?,
                messages: file.number("SELECT count(*) FROM message WHERE stream IS NOT NULL")?,
            };
            state.samples += counted.samples;
            state.files.push(counted);
        }
        for path in databases(&self.folder)? {
            state.bytes += size(&path)?;
        }
        (state.dead_letters, state.counts) = ledger::counts(&self.folder)?;
        [state.closed_months, state.erasing] = ledger::lists(&self.folder)?;
        Ok(state)
    }
}

/// A file with its log of changes.
fn size(path: &Path) -> Result<u64, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::fs::metadata(log).map_or(0, |found| found.len());
    let found = std::fs::metadata(path).map_err(|source| file_error("read", path, source))?;
    Ok(found.len() + log)
}

/// Whether the metadata of the latest sample fulfils the conditions.
fn latest_fits(
    file: &ReadFile,
    selection: &Selection,
    series: &Series,
) -> Result<bool, StoreError> {
    if selection.metadata.is_empty() {
        return Ok(true);
    }
    let (mut parts, mut fits) = (SharedParts::default(), false);
    file.rows(series.number, TimeRange::default(), true, |row| {
        fits = parts.accepts(file, selection, row.revision)?;
        Ok(false)
    })?;
    Ok(fits)
}

/// A month file while the edges of its series are looked for.
struct EdgeSearch<'a> {
    file: &'a ReadFile,
    selection: &'a Selection,
    range: TimeRange,
    parts: SharedParts,
}

impl EdgeSearch<'_> {
    /// The time of the first and the row of the last sample of a series.
    fn edges(
        &mut self,
        series: &Series,
        budget: &mut Budget,
    ) -> Result<Option<(i64, SampleRow)>, StoreError> {
        let Some(last) = self.edge(series, true, budget)? else { return Ok(None) };
        Ok(self.edge(series, false, budget)?.map(|first| (first.time, last)))
    }

    fn edge(
        &mut self,
        series: &Series,
        newest: bool,
        budget: &mut Budget,
    ) -> Result<Option<SampleRow>, StoreError> {
        let Self { file, selection, range, parts } = self;
        let mut found = None;
        file.rows(series.number, *range, newest, |row| {
            budget.spend(1)?;
            if parts.accepts(file, selection, row.revision)? {
                found = Some(row);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

/// The newest samples of a file: looked for in windows from its end, each longer than the one after.
fn newest_of(
    file: &ReadFile,
    selection: &Selection,
    limit: usize,
    budget: &mut Budget,
    accept: &mut dyn FnMut(&StoredSample) -> bool,
) -> Result<Vec<StoredSample>, StoreError> {
    let mut found = Vec::new();
    let Some(range) = file.clipped(selection.times) else { return Ok(found) };
    let all = file.series(selection)?;
    let mut parts = SharedParts::default();
    let (mut end, mut length) = (range.end, WINDOW);
    while end > range.start && found.len() < limit && !all.is_empty() {
        let window = TimeRange { start: range.start.max(end.saturating_sub(length)), end };
        for series in &all {
            let mut taken = 0;
            file.rows(series.number, window, true, |row| {
                budget.spend(1)?;
                if parts.accepts(file, selection, row.revision)? {
                    let sample = parts.sample(file, series, row)?;
                    if accept(&sample) {
                        found.push(sample);
                        taken += 1;
                    }
                }
                Ok(taken < limit)
            })?;
            if found.len() > 4 * limit.max(1_000) {
                cut(&mut found, limit);
            }
        }
        (end, length) = (window.start, length.saturating_mul(GROWTH));
    }
    cut(&mut found, limit);
    Ok(found)
}

fn cut(found: &mut Vec<StoredSample>, limit: usize) {
    found.sort_by(|one, two| (two.time, &two.id).cmp(&(one.time, &one.id)));
    found.truncate(limit);
}
