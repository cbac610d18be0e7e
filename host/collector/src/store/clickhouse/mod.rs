//! The second engine: servers of ClickHouse, for those who outgrow one machine.
//!
//! **Each server has the samples of a part of all resources**, by a hash of the resource's id, and the
//! collector itself divides and joins. The engine's own `Distributed` tables do this on servers; that
//! was tried and left, because Debian's server 18.16.1 ends with a segmentation fault when such a query
//! fails in one of several ways, and takes every other query with it. The first server also has what
//! belongs to no resource: dead letters, closed months, counts. Its place in the list is written down on
//! each server, so that a changed list is refused.
//!
//! **A sample is stored once.** `seen` has the ids of each hour, and is asked before each commit. What
//! slips through (two collectors at one moment, a server that was killed within a commit) is a second
//! row with the same order, time and id: `ReplacingMergeTree` keeps the one that came first, and every
//! query reads with `FINAL`, as if that had happened already. So any part of a commit may be repeated.
//!
//! **Sums** are recounted from samples by the server. Each insert leaves a mark for its hours
//! (`touched`); a recount notes how many marks it has seen (`counted`). Only if the numbers are equal, a
//! sum is used. No clock is compared, and any number of collectors may count the same hour.

mod client;
mod closing;
mod erase;
mod ledger;
mod letters;
mod migrate;
mod place;
mod read;
mod rollup;
mod schema;
#[cfg(test)]
pub(super) mod test_servers;
mod wire;
mod write;

use std::path::Path;

use nephometer_config::{ClickHouseSpec, KeepSpec};
use nephometer_model::Timestamp;

use super::{
    Closing, Committed, Corrections, Erased, Group, Reader, ServerState, Storage, StoreError,
    StoredLetter,
};
use client::ClickHouseServer;
use read::ClickHouseReader;
use write::RevisionNumbers;

/// The servers.
pub(super) struct Cluster {
    servers: Vec<ClickHouseServer>,
    database: String,
}

/// The store on servers of ClickHouse.
pub(crate) struct ClickHouseStore {
    spec: ClickHouseSpec,
    keep: KeepSpec,
    cluster: Cluster,
    catalogue: RevisionNumbers,
    budget: u64,
    /// What was found at the last attempts.
    states: Vec<ServerState>,
}

impl Cluster {
    /// Connects to all servers, and makes the tables if they are missing and `makes` is set.
    fn open(spec: &ClickHouseSpec, makes: bool) -> Result<Self, StoreError> {
        let mut servers = Vec::new();
        for (at, label) in spec.servers.iter().enumerate() {
            let mut server = ClickHouseServer::new(spec, label)?;
            server.prepare(&spec.database, [at, spec.servers.len()], makes)?;
            servers.push(server);
        }
        Ok(Self { servers, database: spec.database.clone() })
    }

    /// The server that has what belongs to no resource.
    fn first(&self) -> &ClickHouseServer {
        &self.servers[0]
    }

    /// The number of the server that has a resource, or a stream.
    fn place_of(&self, key: &[u8]) -> usize {
        place::place_of(key, self.servers.len())
    }
}

impl ClickHouseStore {
    /// Connects, and makes the tables if they are missing. `budget` is the number of samples that a query
    /// may read.
    pub(crate) fn open(
        keep: &KeepSpec,
        spec: &ClickHouseSpec,
        budget: u64,
    ) -> Result<Self, StoreError> {
        let cluster = Cluster::open(spec, true)?;
        let states = cluster.servers.iter().map(|server| ServerState::new(&server.label));
        let states = states.collect();
        let (spec, keep, catalogue) = (spec.clone(), keep.clone(), RevisionNumbers::default());
        Ok(Self { spec, keep, cluster, catalogue, budget, states })
    }

    /// Opens only the reading side. Every query finds whether the servers are there.
    pub(crate) fn reader_of(
        spec: &ClickHouseSpec,
        budget: u64,
    ) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(ClickHouseReader::new(Cluster::open(spec, false)?, budget)))
    }

    /// Notes which server has failed.
    fn noted<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        let failed = match &done {
            Err(StoreError::Server { server, .. }) => Some(server.as_str()),
            _ => None,
        };
        for state in &mut self.states {
            state.up = failed != Some(state.server.as_str());
        }
        done
    }
}

impl Storage for ClickHouseStore {
    fn write(&mut self, group: &Group, now: Timestamp) -> Result<Committed, StoreError> {
        let done = self.write_group(group, now);
        self.noted(done)
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let done = self.maintain_all(now);
        self.noted(done)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Self::reader_of(&self.spec, self.budget)
    }

    fn letters(&mut self, after: i64, most: usize) -> Result<Vec<StoredLetter>, StoreError> {
        self.cluster.letters(after, most)
    }

    fn remove_letters(&mut self, numbers: &[i64]) -> Result<(), StoreError> {
        self.cluster.remove_letters(numbers)
    }

    fn close_month(&mut self, month: &str, now: Timestamp) -> Result<(Closing, bool), StoreError> {
        self.close(month, now)
    }

    fn corrections(&mut self, month: &str) -> Result<Corrections, StoreError> {
        self.list_corrections(month)
    }

    fn erase_project(
        &mut self,
        project: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        self.erase(project, keep, now)
    }

    fn stop_erasing(&mut self, project: &str) -> Result<bool, StoreError> {
        self.cluster.stop_erasing(project)
    }

    fn backup(&mut self, _folder: &Path) -> Result<u64, StoreError> {
        Err(StoreError::Unsupported(
            "the store is in ClickHouse: back up its servers by their own means, such as \
             `ALTER TABLE … FREEZE` (docs/clickhouse.md)"
                .to_owned(),
        ))
    }

    fn servers(&self) -> Vec<ServerState> {
        self.states.clone()
    }
}
