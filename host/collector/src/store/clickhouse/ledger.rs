//! What belongs to no resource, on the first server: counts, closed months, projects that are erased,
//! months whose samples were dropped.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nephometer_model::Timestamp;

use super::Cluster;
use super::wire::{RowWriter, quoted};
use crate::store::month::MonthName;
use crate::store::selection::micros;
use crate::store::{Committed, Group, StoreError};

/// What a commit has to know.
#[derive(Debug, Default)]
pub(super) struct LedgerState {
    /// Numbers of closed months.
    pub(super) closed: BTreeSet<u32>,
    /// Projects whose samples are stored without metadata.
    pub(super) erasing: BTreeSet<String>,
    /// How often metadata were erased.
    pub(super) erasures: i64,
    /// Months and classes whose samples were dropped.
    pub(super) dropped: HashSet<(u32, String)>,
}

/// The count of `erasures`, which is no count of samples.
const ERASURES: &str = "erasures";

impl Cluster {
    pub(super) fn ledger_state(&self) -> Result<LedgerState, StoreError> {
        let database = &self.database;
        let mut rows = self.first().query(&format!(
            "SELECT toUInt8(0) AS kind, month AS at, '' AS text FROM {database}.closing \
             UNION ALL SELECT toUInt8(1) AS kind, toUInt32(0) AS at, project AS text \
             FROM {database}.erasing FINAL WHERE active = 1 \
             UNION ALL SELECT toUInt8(2) AS kind, toUInt32(0) AS at, toString(sum(number)) AS text \
             FROM {database}.tally WHERE name = '{ERASURES}' \
             UNION ALL SELECT toUInt8(3) AS kind, month AS at, class AS text \
             FROM {database}.dropped"
        ))?;
        let mut state = LedgerState::default();
        while rows.has_row() {
            match (rows.u8()?, rows.u32()?, rows.text()?) {
                (0, month, _) => _ = state.closed.insert(month),
                (1, _, project) => _ = state.erasing.insert(project),
                (2, _, count) => state.erasures = count.parse().unwrap_or(0),
                (_, month, class) => _ = state.dropped.insert((month, class)),
            }
        }
        Ok(state)
    }

    /// Adds dead letters and counts. Returns how many letters are new.
    pub(super) fn write_ledger(
        &self,
        group: &Group,
        committed: &Committed,
        (state, now): (&LedgerState, Timestamp),
    ) -> Result<u64, StoreError> {
        let (erased, new) = self.add_letters(&group.letters, &state.erasing, now)?;
        let mut counts = vec![
            ("stored", committed.stored),
            ("duplicate", committed.duplicates),
            ("corrections", committed.corrections),
            ("dead_letters_erased", erased),
        ];
        if new > 0 {
            counts.push(("dead_letters_dropped", self.bound_letters()?));
        }
        counts.extend(committed.refused.iter().map(|(name, count)| (*name, *count)));
        self.add_counts(&counts)?;
        Ok(new)
    }

    pub(super) fn add_counts(&self, counts: &[(&str, u64)]) -> Result<(), StoreError> {
        let mut rows = RowWriter::default();
        for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
            rows.text(name).i64(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.first().insert("tally", "name, number", &rows)
    }

    /// What became of all samples.
    pub(super) fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT name, sum(number) FROM {}.tally WHERE name != '{ERASURES}' GROUP BY name",
            self.database
        ))?;
        let mut counts = BTreeMap::new();
        while rows.has_row() {
            counts.insert(rows.text()?, u64::try_from(rows.i64()?).unwrap_or(0));
        }
        Ok(counts)
    }

    /// Closed months, and projects that are erased on arrival.
    pub(super) fn lists(&self) -> Result<[Vec<String>; 2], StoreError> {
        let state = self.ledger_state()?;
        let months = state.closed.into_iter().map(|month| MonthName::numbered(month).to_string());
        Ok([months.collect(), state.erasing.into_iter().collect()])
    }

    /// Notes that collectors must look up metadata again.
    pub(super) fn count_erasure(&self) -> Result<(), StoreError> {
        self.add_counts(&[(ERASURES, 1)])
    }

    /// From now on samples of a project are stored without metadata.
    pub(super) fn keep_erasing(&self, project: &str, now: Timestamp) -> Result<(), StoreError> {
        let version = u64::try_from(micros(now)).unwrap_or(0);
        self.set_erasing(project, 1, self.erasing_version(project)?.max(version))
    }

    /// From now on they are stored with metadata again. False if they were.
    pub(super) fn stop_erasing(&self, project: &str) -> Result<bool, StoreError> {
        if !self.ledger_state()?.erasing.contains(project) {
            return Ok(false);
        }
        self.set_erasing(project, 0, self.erasing_version(project)?)?;
        Ok(true)
    }

    fn set_erasing(&self, project: &str, active: u8, version: u64) -> Result<(), StoreError> {
        let mut rows = RowWriter::default();
        rows.text(project).u8(active).u64(version);
        self.first().insert("erasing", "project, active, version", &rows)
    }

    /// A version behind that of all rows of a project.
    fn erasing_version(&self, project: &str) -> Result<u64, StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT max(version) + 1 FROM {}.erasing WHERE project = {}",
            self.database,
            quoted(project)
        ))?;
        rows.u64()
    }

    /// Notes that the samples of a month and a class are dropped.
    pub(super) fn note_dropped(&self, month: u32, class: &str) -> Result<(), StoreError> {
        let mut rows = RowWriter::default();
        rows.u32(month).text(class).u64(1);
        self.first().insert("dropped", "month, class, version", &rows)
    }
}
