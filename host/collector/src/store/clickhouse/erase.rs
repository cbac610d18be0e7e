//! Erases the metadata of a project's resources.

use std::time::{Duration, Instant};

use nephometer_model::Timestamp;

use super::ClickHouseStore;
use super::client::ClickHouseServer;
use super::wire::quoted;
use crate::store::StoreError;
use crate::store::closing::Erased;

/// How long a server may take to write a table anew.
const PATIENCE: Duration = Duration::from_secs(3_600);
const PAUSE: Duration = Duration::from_millis(50);

impl ClickHouseStore {
    /// See [`crate::store::Storage::erase_project`].
    pub(super) fn erase(
        &mut self,
        project: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        // First of all, so that after a failure nothing with names is added.
        if keep {
            self.cluster.keep_erasing(project, now)?;
        }
        let (database, named) = (&self.cluster.database, quoted(project));
        let mut erased = Erased::default();
        for server in &self.cluster.servers {
            let mut rows = server.query(&format!(
                "SELECT uniqExact(month), uniqExact(resource_id), countIf(metadata != '{{}}') \
                 FROM {database}.revision FINAL WHERE project_id = {named}"
            ))?;
            let (months, resources, revisions) = (rows.u64()?, rows.u64()?, rows.u64()?);
            erased.files = erased.files.max(months);
            erased.resources += resources;
            erased.revisions += revisions;
            if revisions > 0 {
                server.execute(&format!(
                    "ALTER TABLE {database}.revision UPDATE metadata = '{{}}' \
                     WHERE project_id = {named}"
                ))?;
                wait(server, database)?;
            }
        }
        erased.letters = self.cluster.erase_letters(project)?;
        self.cluster.count_erasure()?;
        self.cluster.add_counts(&[("erased_revisions", erased.revisions)])?;
        Ok(erased)
    }
}

/// Waits until the table is written anew.
fn wait(server: &ClickHouseServer, database: &str) -> Result<(), StoreError> {
    let started = Instant::now();
    let sql = format!(
        "SELECT count() FROM system.mutations \
         WHERE database = '{database}' AND table = 'revision' AND is_done = 0"
    );
    while server.query(&sql)?.u64()? > 0 {
        if started.elapsed() > PATIENCE {
            return Err(server.error(
                "the table `revision` is still being written anew; look into system.mutations, and \
                 run the command again",
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
