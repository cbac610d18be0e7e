//! What audits read. All servers together are one file, of which much is read at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use nephometer_audit::{ClosedMonth, ClosedSum};
use nephometer_model::{Timestamp, Volume};
use nephometer_proof::Digest;
use uuid::Uuid;

use super::streams::declared;
use super::{ClickHouseReader, conditions};
use crate::sample::SampleId;
use crate::store::StoreError;
use crate::store::budget::Budget;
use crate::store::clickhouse::Cluster;
use crate::store::clickhouse::closing::{DaySum, proved_sums};
use crate::store::clickhouse::wire::{RowReader, hexed, quoted};
use crate::store::clickhouse::write::DAY;
use crate::store::closing::{MonthSum, SumKey};
use crate::store::evidence::{
    ChainMessage, CycleBrief, DayRow, EvidenceQuery, OwnSample, OwnValue, TakeEvidence,
};
use crate::store::evidence_reader::{BEFORE, EvidenceFile, EvidenceFiles, read_evidence};
use crate::store::month::MonthName;
use crate::store::selection::{TimeRange, from_micros, micros_of};

/// Meter, unit, type and resource.
type SeriesName = [String; 4];
/// Series, time and volume of a sample.
type OwnFacts = (i64, i64, Option<Volume>);

/// The servers during an audit.
struct AllServers<'a> {
    cluster: &'a Cluster,
    project: String,
    times: TimeRange,
    /// Times of arrival that matter.
    near: TimeRange,
    is_expired: bool,
    /// Numbers of series.
    names: RefCell<HashMap<SeriesName, i64>>,
    /// Streams and origins of messages of samples that were read.
    origins: RefCell<HashMap<i64, (Option<Uuid>, String)>>,
    /// Samples of the project that came again.
    again: RefCell<HashMap<SampleId, OwnFacts>>,
    /// Statements and declared drops by stream, newest first.
    records: HashMap<Uuid, Vec<(i64, String)>>,
}

impl ClickHouseReader {
    /// See [`crate::store::Reader::evidence`].
    pub(super) fn evidence_of(
        &self,
        query: &EvidenceQuery<'_>,
        take: &mut TakeEvidence<'_>,
    ) -> Result<(), StoreError> {
        let TimeRange { start, end } = query.times;
        let near =
            TimeRange { start: start - BEFORE, end: end.saturating_add(micros_of(query.window)) };
        let dropped = self.cluster.ledger_state()?.dropped;
        let is_expired = dropped.iter().any(|(month, _)| {
            let range = MonthName::numbered(*month).range();
            range.start < end && start < range.end
        });
        let file = AllServers {
            cluster: &self.cluster,
            project: query.project.clone(),
            times: query.times,
            near,
            is_expired,
            names: RefCell::default(),
            origins: RefCell::default(),
            again: RefCell::default(),
            records: self.cluster.records(near.end)?,
        };
        let closed = self.cluster.closed_month(query)?;
        let found = EvidenceFiles { files: vec![&file], older: Vec::new(), closed };
        read_evidence(query, found, Budget::new(self.budget), take)
    }
}

impl Cluster {
    /// Statements and declared drops that arrived up to the month of a time.
    fn records(&self, until: i64) -> Result<HashMap<Uuid, Vec<(i64, String)>>, StoreError> {
        let mut found: HashMap<Uuid, Vec<(i64, String)>> = HashMap::new();
        for server in &self.servers {
            let mut rows = server.query(&format!(
                "SELECT stream, arrived, record FROM {}.message FINAL WHERE month <= {} AND {} \
                 ORDER BY stream, sequence DESC",
                self.database,
                MonthName::of(until.max(0)).number(),
                declared()
            ))?;
            while rows.has_row() {
                let stream = Uuid::from_bytes(rows.fixed()?);
                found.entry(stream).or_default().push((rows.i64()?, rows.text()?));
            }
        }
        Ok(found)
    }

    /// The record of a month for one project, if the range is that month and it is closed.
    fn closed_month(&self, query: &EvidenceQuery<'_>) -> Result<Option<ClosedMonth>, StoreError> {
        let month = MonthName::of(query.times.start);
        if month.range() != query.times {
            return Ok(None);
        }
        let Some(closing) = self.closing(&month)? else { return Ok(None) };
        let project = (!query.project.is_empty()).then_some(&query.project);
        let own = closing.sums.iter().filter(|(key, _)| key.project.as_ref() == project);
        Ok(Some(ClosedMonth {
            month: month.to_string(),
            closed: closing.closed.iso(),
            tree: closing.tree,
            projects: closing.projects.clone(),
            days: Vec::new(),
            sums: own.map(|(key, sums)| closed_sum(key, sums)).collect(),
            corrections: Vec::new(),
        }))
    }
}

fn closed_sum(key: &SumKey, sums: &MonthSum) -> ClosedSum {
    let SumKey { meter, unit, kind, .. } = key.clone();
    ClosedSum { meter, unit, kind, sums: proved_sums(sums) }
}

/// The condition on the project; it begins with AND.
fn of_project(project: &str) -> String {
    match project {
        "" => " AND isNull(project_id)".to_owned(),
        id => format!(" AND project_id = {}", quoted(id)),
    }
}

impl AllServers<'_> {
    /// The months of messages that matter.
    fn arrived(&self) -> String {
        conditions::months(self.near)
    }

    fn number(&self, name: SeriesName) -> i64 {
        let mut names = self.names.borrow_mut();
        let next = i64::try_from(names.len()).unwrap_or(i64::MAX);
        *names.entry(name).or_insert(next)
    }

    /// The days of a project as they are counted, with their stale ones.
    fn days(&self, take: &mut dyn FnMut(DaySum)) -> Result<(), StoreError> {
        let mut start = self.times.start;
        while start < self.times.end {
            let month = MonthName::of(start);
            self.cluster.day_sums(&month, &of_project(&self.project), take)?;
            start = month.range().end;
        }
        Ok(())
    }
}

fn name_of(rows: &mut RowReader<'_>) -> Result<SeriesName, StoreError> {
    Ok([rows.text()?, rows.text()?, rows.text()?, rows.text()?])
}

const NAME: &str = "toString(meter), toString(unit), toString(kind), toString(resource_id)";

impl EvidenceFile for AllServers<'_> {
    fn clip(&self, range: TimeRange) -> Option<TimeRange> {
        let start = range.start.max(0);
        (start < range.end).then_some(TimeRange { start, end: range.end })
    }

    fn is_expired(&self) -> Result<bool, StoreError> {
        Ok(self.is_expired)
    }

    fn project_series(&self, project: &str) -> Result<Vec<(i64, SeriesName)>, StoreError> {
        let months = conditions::months(self.near);
        let mut names = std::collections::BTreeSet::new();
        for server in &self.cluster.servers {
            for table in ["sample", "rollup"] {
                let mut rows = server.query(&format!(
                    "SELECT DISTINCT {NAME} FROM {}.{table} WHERE {months}{}",
                    self.cluster.database,
                    of_project(project)
                ))?;
                while rows.has_row() {
                    names.insert(name_of(&mut rows)?);
                }
            }
        }
        Ok(names.into_iter().map(|name| (self.number(name.clone()), name)).collect())
    }

    fn own_samples(
        &self,
        series: &HashMap<i64, u32>,
        file: u16,
        range: TimeRange,
        visit: &mut dyn FnMut(OwnSample) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for server in &self.cluster.servers {
            let mut rows = server.query(&format!(
                "SELECT {NAME}, time, id, text, form, whole, number, message, stream, \
                 toString(origin) FROM {}.sample FINAL WHERE {}{}",
                self.cluster.database,
                conditions::times(range),
                of_project(&self.project)
            ))?;
            while rows.has_row() {
                let name = self.number(name_of(&mut rows)?);
                let (time, id, volume) = (rows.i64()?, rows.id()?, rows.volume()?);
                let (message, stream) = (rows.i64()?, Uuid::from_bytes(rows.fixed()?));
                let origin = rows.text()?;
                let stream = (!stream.is_nil()).then_some(stream);
                self.origins.borrow_mut().entry(message).or_insert((stream, origin));
                let Some(series) = series.get(&name) else { continue };
                let (series, used, value) = (*series, false, OwnValue::of(volume));
                visit(OwnSample { file, used, series, message, time, id, value })?;
            }
        }
        Ok(())
    }

    fn sample(&self, id: &SampleId) -> Result<Option<OwnFacts>, StoreError> {
        Ok(self.again.borrow().get(id).copied())
    }

    fn origin(&self, message: i64) -> Result<(Option<Uuid>, String), StoreError> {
        Ok(self.origins.borrow().get(&message).cloned().unwrap_or_default())
    }

    fn all_streams(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut found = Vec::new();
        for server in &self.cluster.servers {
            let (database, arrived) = (&self.cluster.database, self.arrived());
            let sql = format!("SELECT DISTINCT stream FROM {database}.message WHERE {arrived}");
            let mut rows = server.query(&sql)?;
            while rows.has_row() {
                found.push(Uuid::from_bytes(rows.fixed()?));
            }
        }
        found.sort();
        Ok(found)
    }

    fn declarations(
        &self,
        stream: Uuid,
        visit: &mut dyn FnMut(Timestamp, &str) -> bool,
    ) -> Result<(), StoreError> {
        for (arrived, record) in self.records.get(&stream).into_iter().flatten() {
            if !visit(from_micros(*arrived), record) {
                break;
            }
        }
        Ok(())
    }

    fn repeated(&self) -> Result<HashMap<i64, Vec<SampleId>>, StoreError> {
        let mut found: HashMap<i64, Vec<SampleId>> = HashMap::new();
        let (database, months) = (&self.cluster.database, conditions::months(self.near));
        for server in &self.cluster.servers {
            let sql =
                format!("SELECT message, id, text FROM {database}.repeated FINAL WHERE {months}");
            let mut rows = server.query(&sql)?;
            while rows.has_row() {
                found.entry(rows.i64()?).or_default().push(rows.id()?);
            }
            let mut rows = server.query(&format!(
                "SELECT {NAME}, time, id, text, form, whole, number FROM {database}.sample FINAL \
                 WHERE {months}{} AND id IN (SELECT id FROM {database}.repeated WHERE {months})",
                of_project(&self.project)
            ))?;
            while rows.has_row() {
                let series = self.number(name_of(&mut rows)?);
                let (time, id) = (rows.i64()?, rows.id()?);
                self.again.borrow_mut().insert(id, (series, time, rows.volume()?));
            }
        }
        Ok(found)
    }

    fn chain(
        &self,
        stream: Uuid,
        file: usize,
        _times: TimeRange,
        found: &mut Vec<ChainMessage>,
    ) -> Result<(), StoreError> {
        let server = &self.cluster.servers[self.cluster.place_of(stream.as_bytes())];
        let mut rows = server.query(&format!(
            "SELECT message, sequence, body, previous, digest, record, refused FROM {}.message FINAL \
             WHERE {} AND stream = {} ORDER BY sequence",
            self.cluster.database,
            self.arrived(),
            hexed(stream.as_bytes())
        ))?;
        while rows.has_row() {
            found.push(chain_message(&mut rows, file)?);
        }
        Ok(())
    }

    fn project_days(&self, _project: &str, range: TimeRange) -> Result<Vec<DayRow>, StoreError> {
        let mut stale: HashSet<(usize, i64)> = HashSet::new();
        for (at, server) in self.cluster.servers.iter().enumerate() {
            let days = self.cluster.unusable(server, 1, range)?;
            stale.extend(days.into_iter().map(|(_, _, day)| (at, day * DAY)));
        }
        let mut found: BTreeMap<(i64, i64), (DayRow, bool)> = BTreeMap::new();
        self.days(&mut |day| {
            if day.start < range.start || day.start + DAY > range.end {
                return;
            }
            let place = self.cluster.place_of(day.resource.as_bytes());
            let SumKey { meter, unit, kind, .. } = day.key;
            let series = self.number([meter, unit, kind, day.resource]);
            let (start, sums) = (day.start, proved_sums(&day.sums));
            let empty = DayRow { series, start, now: Some(<_>::default()), closed: None };
            let (row, late) = found.entry((series, start)).or_insert((empty, false));
            if let Some(now) = &mut row.now {
                now.merge(&sums);
            }
            if !day.late {
                row.closed.get_or_insert_default().merge(&sums);
            }
            *late |= day.late;
            if stale.contains(&(place, start)) {
                row.now = None;
            }
        })?;
        let rows = found.into_values().map(|(row, late)| {
            // Without late samples, a day is what it was when the month was closed.
            let closed = if late { Some(row.closed.unwrap_or_default()) } else { None };
            DayRow { closed, ..row }
        });
        Ok(rows.collect())
    }

    fn project_corrections(&self, _project: &str) -> Result<Vec<ClosedSum>, StoreError> {
        let mut late: BTreeMap<SumKey, MonthSum> = BTreeMap::new();
        self.days(&mut |day| {
            if day.late {
                late.entry(day.key).or_default().add(&day.sums);
            }
        })?;
        Ok(late.iter().map(|(key, sums)| closed_sum(key, sums)).collect())
    }
}

fn chain_message(rows: &mut RowReader<'_>, file: usize) -> Result<ChainMessage, StoreError> {
    let (message, sequence) = (rows.i64()?, rows.u64()?);
    let body = Digest::from_bytes(rows.fixed()?);
    let [previous, digest] = [rows.fixed()?, rows.fixed()?].map(Digest::from_bytes);
    let signed = serde_json::from_str(&rows.text()?).ok();
    let refused = serde_json::from_str(&rows.text()?).unwrap_or_default();
    Ok(ChainMessage {
        sequence,
        body,
        previous,
        digest,
        record: signed.map(|signed| {
            let cycle = CycleBrief::of(&signed);
            (signed, cycle)
        }),
        refused,
        places: vec![(file, message)],
    })
}
