//! Single samples with their metadata.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{ClickHouseReader, conditions, keys};
use crate::sample::SampleId;
use crate::store::budget::Budget;
use crate::store::clickhouse::Cluster;
use crate::store::clickhouse::wire::{hexed, id_columns, quoted};
use crate::store::clickhouse::write::{HOUR, listed};
use crate::store::month::MonthName;
use crate::store::selection::{Selection, TimeRange, from_micros};
use crate::store::{StoreError, StoredSample};

/// Windows in which the newest samples are looked for: the first, and by how much each is longer.
const WINDOW: i64 = 900_000_000;
const GROWTH: i64 = 8;
/// Samples whose metadata are looked up at once.
const CHUNK: usize = 20_000;

/// A sample whose metadata is known by its number.
struct Found {
    sample: StoredSample,
    revision: (u32, u64),
}

/// What a request reads.
struct SampleQuery<'a> {
    selection: &'a Selection,
    times: TimeRange,
    /// More conditions; each begins with AND.
    condition: String,
    /// Whether the newest come first.
    newest: bool,
}

/// Metadata that were read, by server, month and number.
pub(super) struct Texts<'c> {
    cluster: &'c Cluster,
    known: HashMap<(usize, (u32, u64)), Arc<str>>,
}

impl Texts<'_> {
    /// Reads the metadata of resources that are not known.
    pub(super) fn fetch<'r>(
        &mut self,
        wanted: impl Iterator<Item = (usize, &'r str, (u32, u64))>,
    ) -> Result<(), StoreError> {
        let mut missing: BTreeMap<usize, BTreeSet<(u32, u64, &str)>> = BTreeMap::new();
        for (server, resource, revision) in wanted {
            if !self.known.contains_key(&(server, revision)) {
                let key = (revision.0, revision.1, resource);
                missing.entry(server).or_default().insert(key);
            }
        }
        for (at, missing) in missing {
            let months: BTreeSet<u32> = missing.iter().map(|one| one.0).collect();
            let resources: BTreeSet<String> = missing.iter().map(|one| quoted(one.2)).collect();
            let mut rows = self.cluster.servers[at].query(&format!(
                "SELECT month, id, metadata FROM {}.revision FINAL \
                 WHERE month IN ({}) AND resource_id IN ({}) AND id IN ({})",
                self.cluster.database,
                listed(months),
                listed(resources),
                listed(missing.iter().map(|one| one.1)),
            ))?;
            while rows.has_row() {
                let revision = (rows.u32()?, rows.u64()?);
                self.known.insert((at, revision), rows.text()?.into());
            }
        }
        Ok(())
    }

    /// The metadata of a sample, once they were read.
    pub(super) fn text(&self, key: (usize, (u32, u64))) -> Arc<str> {
        self.known.get(&key).map_or_else(|| "{}".into(), Arc::clone)
    }

    /// Whether metadata that were read fulfil the conditions.
    pub(super) fn accepts(&self, selection: &Selection, key: (usize, (u32, u64))) -> bool {
        selection.metadata.is_empty() || selection.accepts_metadata(&self.text(key))
    }
}

impl ClickHouseReader {
    pub(super) fn texts(&self) -> Texts<'_> {
        Texts { cluster: &self.cluster, known: HashMap::new() }
    }

    /// See [`crate::store::Reader::newest`].
    pub(super) fn newest_samples(
        &self,
        selection: &Selection,
        limit: usize,
        accept: &mut dyn FnMut(&StoredSample) -> bool,
    ) -> Result<Vec<StoredSample>, StoreError> {
        let mut budget = self.budget(selection);
        if let Some(id) = &selection.message_id {
            let mut found = self.by_id(selection, id, &mut budget)?;
            found.retain(|sample| accept(sample));
            return Ok(found);
        }
        let Some(all) = self.edges(selection)? else { return Ok(Vec::new()) };
        let (mut found, mut texts) = (Vec::new(), self.texts());
        let (mut end, mut length) = (all.end, WINDOW);
        while end > all.start && found.len() < limit {
            let times = TimeRange { start: all.start.max(end.saturating_sub(length)), end };
            let part = SampleQuery { selection, times, condition: String::new(), newest: true };
            for at in 0..self.cluster.servers.len() {
                let mut taken = 0;
                _ = self.read(at, &part, (&mut budget, &mut texts), &mut |sample| {
                    if taken < limit && accept(&sample) {
                        taken += 1;
                        found.push(sample);
                    }
                    if taken < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
            }
            (end, length) = (times.start, length.saturating_mul(GROWTH));
        }
        found.sort_by(|one, two| (two.time, &two.id).cmp(&(one.time, &one.id)));
        found.truncate(limit);
        Ok(found)
    }

    /// See [`crate::store::Reader::scan`].
    pub(super) fn all_samples(
        &self,
        selection: &Selection,
        visit: &mut dyn FnMut(StoredSample) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut budget = self.budget(selection);
        if let Some(id) = &selection.message_id {
            let found = self.by_id(selection, id, &mut budget)?;
            _ = found.into_iter().try_for_each(visit);
            return Ok(());
        }
        let Some(all) = self.edges(selection)? else { return Ok(()) };
        for at in 0..self.cluster.servers.len() {
            // By month, so that no answer is too large.
            let mut start = all.start;
            while start < all.end {
                let end = MonthName::of(start).range().end.min(all.end);
                let times = TimeRange { start, end };
                let part =
                    SampleQuery { selection, times, condition: String::new(), newest: false };
                let mut texts = self.texts();
                if self.read(at, &part, (&mut budget, &mut texts), visit)?.is_break() {
                    return Ok(());
                }
                start = end;
            }
        }
        Ok(())
    }

    fn by_id(
        &self,
        selection: &Selection,
        id: &str,
        budget: &mut Budget,
    ) -> Result<Vec<StoredSample>, StoreError> {
        let id = SampleId::new(id);
        let (bytes, text) = id_columns(&id);
        let wanted = format!("id = {} AND text = {}", hexed(&bytes), quoted(text));
        let mut found = Vec::new();
        for (at, server) in self.cluster.servers.iter().enumerate() {
            // Ids of the window are in a table of their own, which has their hours.
            let sql = format!("SELECT hour FROM {}.seen WHERE {wanted}", self.cluster.database);
            let (mut rows, mut hours) = (server.query(&sql)?, Vec::new());
            while rows.has_row() {
                hours.push(i64::from(rows.u32()?) * HOUR);
            }
            let mut times = selection.times;
            if let (Some(first), Some(last)) = (hours.iter().min(), hours.iter().max()) {
                times.start = times.start.max(*first);
                times.end = times.end.min(last + HOUR);
            }
            let condition = format!(" AND {wanted}");
            let part = SampleQuery { selection, times, condition, newest: false };
            let mut texts = self.texts();
            _ = self.read(at, &part, (budget, &mut texts), &mut |sample| {
                found.push(sample);
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    }

    /// The times of a selection that have samples.
    fn edges(&self, selection: &Selection) -> Result<Option<TimeRange>, StoreError> {
        let mut found: Option<TimeRange> = None;
        for server in &self.cluster.servers {
            let mut rows = server.query(&format!(
                "SELECT count(), min(time), max(time) FROM {}.sample WHERE {}{}",
                self.cluster.database,
                conditions::times(selection.times),
                conditions::fields(selection)
            ))?;
            let (count, start, end) = (rows.u64()?, rows.i64()?, rows.i64()? + 1);
            if count > 0 {
                let known = found.unwrap_or(TimeRange { start, end });
                found = Some(TimeRange { start: known.start.min(start), end: known.end.max(end) });
            }
        }
        Ok(found)
    }

    /// Reads samples of a server with their metadata, until `take` breaks.
    fn read(
        &self,
        at: usize,
        part: &SampleQuery<'_>,
        (budget, texts): (&mut Budget, &mut Texts<'_>),
        take: &mut dyn FnMut(StoredSample) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let server = &self.cluster.servers[at];
        let mut rows = server.query(&self.sql(part, budget.left().saturating_add(1)))?;
        let mut chunk = Vec::new();
        loop {
            let more = rows.has_row();
            if more {
                chunk.push(found(&mut rows)?);
            }
            if more && chunk.len() < CHUNK {
                continue;
            }
            texts.fetch(
                chunk.iter().map(|one| (at, &*one.sample.owner.resource_id, one.revision)),
            )?;
            for Found { mut sample, revision } in chunk.drain(..) {
                budget.spend(1)?;
                if !texts.accepts(part.selection, (at, revision)) {
                    continue;
                }
                sample.metadata = texts.text((at, revision));
                if take(sample).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if !more {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn sql(&self, part: &SampleQuery<'_>, most: u64) -> String {
        let order = if part.newest { " ORDER BY time DESC, text DESC, id DESC" } else { "" };
        format!(
            "SELECT toString(meter), toString(unit), toString(kind), toString(resource_id), \
             project_id, user_id, toString(source), id, text, form, whole, number, time, arrived, \
             month, revision FROM {}.sample FINAL WHERE {}{}{}{order} LIMIT {most}",
            self.cluster.database,
            conditions::times(part.times),
            conditions::fields(part.selection),
            part.condition,
        )
    }
}

fn found(rows: &mut crate::store::clickhouse::wire::RowReader<'_>) -> Result<Found, StoreError> {
    let (meter, owner) = keys(rows)?;
    let (id, volume) = (rows.id()?, rows.volume()?);
    let (time, recorded) = (from_micros(rows.i64()?), from_micros(rows.i64()?));
    let revision = (rows.u32()?, rows.u64()?);
    let sample = StoredSample { id, meter, owner, volume, time, recorded, metadata: "".into() };
    Ok(Found { sample, revision })
}
