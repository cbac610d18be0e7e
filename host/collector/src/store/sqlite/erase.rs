//! Erases the metadata of a project's resources: names, and whatever else describes people.

use nephometer_model::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::file::{MonthFile, engine};
use super::{SqliteStore, months};
use crate::store::StoreError;
use crate::store::closing::Erased;

impl SqliteStore {
    /// See [`crate::store::Storage::erase_project`].
    pub(super) fn erase_locked(
        &mut self,
        project: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        // First of all, so that after a failure nothing with names is added.
        if keep {
            self.ledger.keep_erasing(project, now)?;
        }
        let mut erased = Erased::default();
        for (key, path) in months(&self.folder)? {
            let file = self.opened(&key)?;
            let (resources, revisions) =
                erase_in(file, project).map_err(|source| engine(&path, source))?;
            if resources > 0 {
                rewrite(&file.connection, &path)?;
                erased.files += 1;
                erased.resources += resources;
                erased.revisions += revisions;
            }
        }
        erased.letters = self.ledger.erase_letters(project)?;
        self.ledger.count("erased_revisions", erased.revisions)?;
        Ok(erased)
    }
}

/// Empties the metadata of a file. Returns the numbers of resources and of metadata. The digests go
/// as well, because whoever guesses a name could compare it.
fn erase_in(file: &mut MonthFile, project: &str) -> rusqlite::Result<(u64, u64)> {
    file.connection.execute_batch("PRAGMA secure_delete = ON")?;
    let transaction = file.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT count(DISTINCT resource_id) FROM resource WHERE project_id = ?1";
    let resources: i64 = transaction.query_row(sql, [project], |row| row.get(0))?;
    let sql = "UPDATE revision SET metadata = '{}', digest = randomblob(32) \
               WHERE metadata <> '{}' \
               AND resource IN (SELECT id FROM resource WHERE project_id = ?1)";
    let revisions = transaction.execute(sql, [project])?;
    if revisions > 0 {
        // Other processes know revisions by their digests.
        let sql = "INSERT INTO meta VALUES ('erased', 1) \
                   ON CONFLICT DO UPDATE SET value = value + 1";
        transaction.execute(sql, [])?;
    }
    transaction.commit()?;
    file.catalogue.forget();
    Ok((u64::try_from(resources).unwrap_or(0), revisions as u64))
}

/// Writes a file anew, so that nothing of what was erased is left in free space, and empties its log.
pub(super) fn rewrite(connection: &Connection, path: &std::path::Path) -> Result<(), StoreError> {
    let done = || {
        // In memory it would take as much as the file.
        connection.execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    };
    match done().map_err(|source| engine(path, source))? {
        0 => Ok(()),
        _ => Err(StoreError::Busy { path: path.to_owned() }),
    }
}
