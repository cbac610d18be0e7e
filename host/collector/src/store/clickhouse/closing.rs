//! Closes months, and lists what was stored in them later.

use std::collections::BTreeMap;

use nephometer_audit::{Leaf, Sums, project_digest};
use nephometer_model::{Timestamp, Volume};
use nephometer_proof::Digest;
use serde_json::{Value, json};

use super::client::ClickHouseServer;
use super::rollup::SUMS;
use super::wire::{RowReader, RowWriter};
use super::write::{DAY, earliest};
use super::{ClickHouseStore, Cluster};
use crate::store::StoreError;
use crate::store::closing::{
    Closing, Correction, Corrections, MonthSum, MonthSums, SumKey, difference, proved, shown_volume,
};
use crate::store::month::MonthName;
use crate::store::selection::{from_micros, micros};

/// A sum of a day, or of another group of samples.
pub(super) struct DaySum {
    pub(super) key: SumKey,
    pub(super) resource: String,
    /// Microseconds since the epoch.
    pub(super) start: i64,
    /// Whether its samples were stored after the month was closed.
    pub(super) late: bool,
    pub(super) sums: MonthSum,
    arrived: [i64; 2],
}

impl ClickHouseStore {
    /// See [`crate::store::Storage::close_month`].
    pub(super) fn close(
        &mut self,
        month: &str,
        now: Timestamp,
    ) -> Result<(Closing, bool), StoreError> {
        let name = MonthName::named(month)?;
        if let Some(closing) = self.cluster.closing(&name)? {
            return Ok((closing, false));
        }
        name.check_over(now)?;
        self.cluster.count_all(name.number())?;
        let mut projects = Projects::new();
        let mut sums = MonthSums::new();
        self.cluster.day_sums(&name, "", &mut |day| {
            sums.entry(day.key.clone()).or_default().add(&day.sums);
            add_leaf(&mut projects, day);
        })?;
        // As it is stored, so that the digest can be checked.
        let closed = from_micros(micros(now));
        let closing = Closing::new(month, closed, sums, digests(projects));
        self.cluster.add_closing(&closing, name.number())?;
        // Of two at one moment the first one is kept.
        let kept = self.cluster.closing(&name)?.unwrap_or(closing);
        Ok((kept, true))
    }

    /// See [`crate::store::Storage::corrections`].
    pub(super) fn list_corrections(&mut self, month: &str) -> Result<Corrections, StoreError> {
        let name = MonthName::named(month)?;
        let Some(closing) = self.cluster.closing(&name)? else {
            let what = format!("it is not closed; `close-month {month}` closes it");
            return Err(StoreError::Month { month: month.to_owned(), what });
        };
        let sums_kept =
            !self.cluster.ledger_state()?.dropped.contains(&(name.number(), SUMS.into()));
        self.cluster.count_all(name.number())?;
        let (mut found, mut late) = (MonthSums::new(), BTreeMap::new());
        self.cluster.day_sums(&name, "", &mut |day| {
            found.entry(day.key.clone()).or_default().add(&day.sums);
            if day.late {
                let arrived = day.arrived.map(from_micros);
                let one = late.entry(day.key.clone()).or_insert_with(|| Correction {
                    key: day.key,
                    sums: MonthSum::default(),
                    arrived,
                });
                one.sums.add(&day.sums);
                one.arrived[0] = one.arrived[0].min(arrived[0]);
                one.arrived[1] = one.arrived[1].max(arrived[1]);
            }
        })?;
        let late: Vec<Correction> = late.into_values().collect();
        let difference = if !closing.is_intact() {
            Some("the record does not have its digest: it was altered".to_owned())
        } else if sums_kept {
            difference(&closing, &late, &found)
        } else {
            None
        };
        Ok(Corrections { closing, late, difference })
    }
}

/// The beginning of a day, in microseconds since the epoch; resource, meter, unit and type.
type ClosedLeaf = (i64, [String; 4]);
type Projects = BTreeMap<Option<String>, BTreeMap<ClosedLeaf, Sums>>;

fn add_leaf(projects: &mut Projects, day: DaySum) {
    let SumKey { project, meter, unit, kind } = day.key;
    let key = (day.start, [day.resource, meter, unit, kind]);
    let leaves = projects.entry(project).or_default();
    leaves.entry(key).or_default().merge(&proved_sums(&day.sums));
}

/// Sums as audits prove them.
pub(super) fn proved_sums(sums: &MonthSum) -> Sums {
    Sums::new([sums.samples, sums.volumes], sums.sum, [sums.min, sums.max].map(proved))
}

/// The digests of the projects over days, resources and meters, by their pseudonyms.
fn digests(projects: Projects) -> Vec<(Digest, Digest)> {
    let digests = projects.into_iter().map(|(project, leaves)| {
        let leaf = |((day, [resource, meter, unit, kind]), sums): (ClosedLeaf, Sums)| Leaf {
            day,
            resource,
            meter,
            unit,
            kind,
            sums: sums.written(),
        };
        let mut leaves: Vec<Leaf> = leaves.into_iter().map(leaf).collect();
        (Digest::of_project(&project.unwrap_or_default()), project_digest(&mut leaves))
    });
    digests.collect()
}

impl Cluster {
    /// The sums of the days of a month, server by server and day by day. `condition` begins with AND.
    pub(super) fn day_sums(
        &self,
        month: &MonthName,
        condition: &str,
        take: &mut dyn FnMut(DaySum),
    ) -> Result<(), StoreError> {
        let range = month.range();
        for server in &self.servers {
            let mut start = range.start;
            while start < range.end {
                self.day(server, (month.number(), start), condition, take)?;
                start += DAY;
            }
        }
        Ok(())
    }

    fn day(
        &self,
        server: &ClickHouseServer,
        (month, start): (u32, i64),
        condition: &str,
        take: &mut dyn FnMut(DaySum),
    ) -> Result<(), StoreError> {
        let mut rows = server.query(&format!(
            "SELECT toString(meter), toString(unit), toString(kind), project_id, \
             toString(resource_id), start, late, samples, volumes, total, wholes, whole_low, \
             whole_high, number_low, number_high, first_arrived, last_arrived \
             FROM {}.rollup FINAL WHERE span = 1 AND month = {month} AND start = {start}{condition} \
             ORDER BY meter, resource_id, owner, late",
            self.database
        ))?;
        while rows.has_row() {
            let (meter, unit, kind) = (rows.text()?, rows.text()?, rows.text()?);
            let project = rows.optional()?.map(String::from);
            let key = SumKey { project, meter, unit, kind };
            let (resource, start, late) = (rows.text()?, rows.i64()?, rows.u8()? == 1);
            let sums = sums_of(&mut rows)?;
            let arrived = [rows.i64()?, rows.i64()?];
            take(DaySum { key, resource, start, late, sums, arrived });
        }
        Ok(())
    }

    /// The record of a month.
    pub(super) fn closing(&self, month: &MonthName) -> Result<Option<Closing>, StoreError> {
        let server = self.first();
        let mut rows = server.query(&format!(
            "SELECT closed, digest, tree, sums, projects FROM {}.closing FINAL WHERE month = {}",
            self.database,
            month.number()
        ))?;
        if !rows.has_row() {
            return Ok(None);
        }
        let (closed, digest) = (from_micros(rows.i64()?), Digest::from_bytes(rows.fixed()?));
        let (tree, sums, projects) = (rows.text()?, rows.text()?, rows.text()?);
        let read = || {
            let sums: Vec<Value> = serde_json::from_str(&sums).ok()?;
            Some(Closing {
                month: month.to_string(),
                closed,
                digest,
                sums: sums.iter().map(read_sum).collect::<Option<_>>()?,
                tree: if tree.is_empty() { None } else { Some(tree.parse().ok()?) },
                projects: serde_json::from_str(&projects).ok()?,
            })
        };
        let damaged = || server.error(format!("the record of {month} cannot be read; restore it"));
        read().map(Some).ok_or_else(damaged)
    }

    pub(super) fn add_closing(&self, closing: &Closing, month: u32) -> Result<(), StoreError> {
        let sums: Vec<Value> = closing
            .sums
            .iter()
            .map(|(SumKey { project, meter, unit, kind }, sums)| {
                let MonthSum { samples, volumes, sum, min, max } = sums;
                let [min, max] = [min, max].map(|volume| shown_volume(*volume));
                json!([project, meter, unit, kind, samples, volumes, sum, min, max])
            })
            .collect();
        let tree = closing.tree.map(|tree| tree.to_string()).unwrap_or_default();
        let mut rows = RowWriter::default();
        rows.u32(month).i64(micros(closing.closed)).fixed(closing.digest.as_bytes()).text(&tree);
        rows.text(&json!(sums).to_string()).text(&json!(closing.projects).to_string());
        rows.u64(earliest(micros(closing.closed)));
        let columns = "month, closed, digest, tree, sums, projects, version";
        self.first().insert("closing", columns, &rows)
    }
}

fn read_sum(value: &Value) -> Option<(SumKey, MonthSum)> {
    let text = |at: usize| value[at].as_str().map(str::to_owned);
    let volume = |at: usize| match value[at].as_i64() {
        Some(whole) => Some(Volume::Integer(whole.into())),
        None => value[at].as_f64().map(Volume::Float),
    };
    let key = SumKey { project: text(0), meter: text(1)?, unit: text(2)?, kind: text(3)? };
    let (samples, volumes) = (value[4].as_u64()?, value[5].as_u64()?);
    let sum = value[6].as_f64()?;
    Some((key, MonthSum { samples, volumes, sum, min: volume(7), max: volume(8) }))
}

/// The columns of sums from `samples` on.
pub(super) fn sums_of(rows: &mut RowReader<'_>) -> Result<MonthSum, StoreError> {
    let (samples, volumes, sum, wholes) = (rows.u64()?, rows.u64()?, rows.f64()?, rows.u64()?);
    let whole = [rows.i64()?, rows.i64()?].map(|whole| Some(Volume::Integer(whole.into())));
    let number = [rows.f64()?, rows.f64()?].map(|number| Some(Volume::Float(number)));
    let part = |volumes, sum, [min, max]: [Option<Volume>; 2]| MonthSum {
        samples: 0,
        volumes,
        sum,
        min: min.filter(|_| volumes > 0),
        max: max.filter(|_| volumes > 0),
    };
    let mut all = MonthSum { samples, ..part(wholes, sum, whole) };
    all.add(&part(volumes - wholes.min(volumes), 0.0, number));
    Ok(all)
}
