//! Answers queries from all servers.

mod conditions;
mod evidence;
mod samples;
mod statistics;
mod streams;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nephometer_model::Timestamp;
use nephometer_proof::DeclaredDrop;

use super::Cluster;
use super::client::ClickHouseServer;
use super::wire::RowReader;
use crate::sample::{KINDS, MeterKey, OwnerKey};
use crate::store::budget::Budget;
use crate::store::month::MonthName;
use crate::store::selection::{Selection, from_micros};
use crate::store::{
    EvidenceQuery, FileState, MeterEntry, Reader, ResourceEntry, SenderStream, StatisticsQuery,
    StoreError, StoreState, StoredSample, TakeEvidence, Totals,
};

/// The reading side.
pub(super) struct ClickHouseReader {
    cluster: Cluster,
    budget: u64,
}

/// A series with its edges.
struct SeriesEdges {
    meter: MeterKey,
    owner: OwnerKey,
    first: i64,
    last: i64,
    /// The month and the metadata of the last sample.
    revision: (u32, u64),
}

impl ClickHouseReader {
    pub(super) fn new(cluster: Cluster, budget: u64) -> Self {
        Self { cluster, budget }
    }

    fn budget(&self, selection: &Selection) -> Budget {
        Budget::new(if selection.budget == 0 { self.budget } else { selection.budget })
    }

    /// The series of a selection on a server with their first and last samples. `by_revision` divides
    /// them by their metadata.
    fn series(
        &self,
        server: &ClickHouseServer,
        selection: &Selection,
        by_revision: bool,
    ) -> Result<Vec<SeriesEdges>, StoreError> {
        let divided = if by_revision { ", month, revision" } else { "" };
        let mut rows = server.query(&format!(
            "SELECT toString(meter), toString(unit), toString(kind), toString(resource_id), \
             project_id, user_id, toString(source), min(time), max(time), \
             argMax(month, time), argMax(revision, time) \
             FROM {}.sample FINAL WHERE {}{} \
             GROUP BY meter, unit, kind, resource_id, project_id, user_id, source, owner{divided}",
            self.cluster.database,
            conditions::times(selection.times),
            conditions::fields(selection)
        ))?;
        let mut found = Vec::new();
        while rows.has_row() {
            let (meter, owner) = keys(&mut rows)?;
            let (first, last) = (rows.i64()?, rows.i64()?);
            let revision = (rows.u32()?, rows.u64()?);
            found.push(SeriesEdges { meter, owner, first, last, revision });
        }
        Ok(found)
    }
}

/// The columns of a meter and its owner.
fn keys(rows: &mut RowReader<'_>) -> Result<(MeterKey, OwnerKey), StoreError> {
    let (name, unit, kind) = (rows.boxed()?, rows.boxed()?, rows.boxed()?);
    let kind = KINDS.into_iter().find(|known| **known == *kind).unwrap_or("gauge");
    let (resource_id, project_id) = (rows.boxed()?, rows.optional()?);
    let (user_id, source) = (rows.optional()?, rows.boxed()?);
    Ok((MeterKey { name, unit, kind }, OwnerKey { resource_id, project_id, user_id, source }))
}

impl Reader for ClickHouseReader {
    fn meters(&mut self, selection: &Selection) -> Result<Vec<MeterEntry>, StoreError> {
        // Who owns a meter of a resource is decided before the owner is compared.
        let unowned = Selection { project: None, user: None, source: None, ..selection.clone() };
        let mut newest: BTreeMap<(MeterKey, Box<str>), (usize, SeriesEdges)> = BTreeMap::new();
        for (at, server) in self.cluster.servers.iter().enumerate() {
            for series in self.series(server, &unowned, false)? {
                let key = (series.meter.clone(), series.owner.resource_id.clone());
                if newest.get(&key).is_none_or(|(_, known)| known.last < series.last) {
                    newest.insert(key, (at, series));
                }
            }
        }
        let mut texts = self.texts();
        let all: Vec<_> = newest.into_values().collect();
        if !selection.metadata.is_empty() {
            texts
                .fetch(all.iter().map(|(at, one)| (*at, &*one.owner.resource_id, one.revision)))?;
        }
        let mut found = Vec::new();
        for (at, series) in all {
            let fits = selection.accepts_owner(&series.owner)
                && texts.accepts(selection, (at, series.revision));
            if fits {
                found.push(MeterEntry { meter: series.meter, owner: series.owner });
            }
        }
        Ok(found)
    }

    fn resources(&mut self, selection: &Selection) -> Result<Vec<ResourceEntry>, StoreError> {
        let mut found: BTreeMap<Box<str>, ((usize, SeriesEdges), i64)> = BTreeMap::new();
        let mut texts = self.texts();
        let by_revision = !selection.metadata.is_empty();
        let mut budget = self.budget(selection);
        for (at, server) in self.cluster.servers.iter().enumerate() {
            let all = self.series(server, selection, by_revision)?;
            budget.spend(all.len() as u64)?;
            if by_revision {
                texts.fetch(all.iter().map(|one| (at, &*one.owner.resource_id, one.revision)))?;
            }
            for series in all {
                if by_revision && !texts.accepts(selection, (at, series.revision)) {
                    continue;
                }
                let first = series.first;
                match found.get_mut(&series.owner.resource_id) {
                    Some((known, begun)) => {
                        *begun = first.min(*begun);
                        if known.1.last < series.last {
                            *known = (at, series);
                        }
                    }
                    None => {
                        let key = series.owner.resource_id.clone();
                        found.insert(key, ((at, series), first));
                    }
                }
            }
        }
        let newest = found.values().map(|(one, _)| one);
        texts.fetch(newest.map(|(at, one)| (*at, &*one.owner.resource_id, one.revision)))?;
        let entries = found.into_values().map(|((at, one), first)| ResourceEntry {
            metadata: texts.text((at, one.revision)).to_string(),
            owner: one.owner,
            first: from_micros(first),
            last: from_micros(one.last),
        });
        Ok(entries.collect())
    }

    fn newest(
        &mut self,
        selection: &Selection,
        limit: usize,
        accept: &mut dyn FnMut(&StoredSample) -> bool,
    ) -> Result<Vec<StoredSample>, StoreError> {
        self.newest_samples(selection, limit, accept)
    }

    fn scan(
        &mut self,
        selection: &Selection,
        visit: &mut dyn FnMut(StoredSample) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.all_samples(selection, visit)
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
        self.evidence_of(query, take)
    }

    fn state(&mut self) -> Result<StoreState, StoreError> {
        let mut state = StoreState::default();
        let mut files: BTreeMap<(String, String), FileState> = BTreeMap::new();
        for server in &self.cluster.servers {
            self.tables(server, &mut files)?;
            let sql =
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{}'";
            state.bytes += server.query(&sql.replace("{}", &self.cluster.database))?.u64()?;
        }
        // Newest first, as files are.
        state.files = files.into_values().rev().collect();
        state.samples = state.files.iter().map(|file| file.samples).sum();
        state.dead_letters = self.cluster.count_letters()?;
        state.counts = self.cluster.counts()?;
        [state.closed_months, state.erasing] = self.cluster.lists()?;
        Ok(state)
    }
}

impl ClickHouseReader {
    /// Adds what a server has of each month and class. Messages belong to no class: they stand with the
    /// class `default` of the month in which they arrived.
    fn tables(
        &self,
        server: &ClickHouseServer,
        files: &mut BTreeMap<(String, String), FileState>,
    ) -> Result<(), StoreError> {
        let database = &self.cluster.database;
        let mut rows = server.query(&format!(
            "SELECT month, toString(class), count(), uniqExact(resource_id), toUInt64(0) \
             FROM {database}.sample FINAL GROUP BY month, class UNION ALL \
             SELECT month, 'default', toUInt64(0), toUInt64(0), count() \
             FROM {database}.message FINAL GROUP BY month UNION ALL \
             SELECT month, toString(class), toUInt64(0), toUInt64(0), toUInt64(0) \
             FROM {database}.rollup GROUP BY month, class"
        ))?;
        while rows.has_row() {
            let month = MonthName::numbered(rows.u32()?).to_string();
            let file = file_of(files, month, rows.text()?);
            file.samples += rows.u64()?;
            file.resources += rows.u64()?;
            file.messages += rows.u64()?;
        }
        let mut rows = server.query(&format!(
            "SELECT partition, sum(bytes_on_disk) FROM system.parts WHERE active \
             AND database = '{database}' AND table IN ('sample', 'rollup') GROUP BY partition"
        ))?;
        while rows.has_row() {
            let (name, bytes) = (rows.text()?, rows.u64()?);
            let Some((month, class)) = super::rollup::named(&name) else { continue };
            let month = MonthName::numbered(month).to_string();
            file_of(files, month, class).bytes += bytes;
        }
        Ok(())
    }
}

fn file_of(
    files: &mut BTreeMap<(String, String), FileState>,
    month: String,
    class: String,
) -> &mut FileState {
    let name = format!("{month}.{class}");
    files.entry((month, class)).or_insert_with(|| FileState {
        name,
        samples: 0,
        bytes: 0,
        resources: 0,
        messages: 0,
    })
}
