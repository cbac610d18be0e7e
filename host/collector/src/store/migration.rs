//! Moves a store in files to servers of ClickHouse.

use nephometer_config::{ClickHouseSpec, KeepSpec};
use nephometer_model::Timestamp;

use super::clickhouse::ClickHouseStore;
use super::sqlite::SqliteStore;
use super::{Storage as _, StoreError};

/// Stands for what belongs to no month.
const LEDGER: &str = "ledger.db";

/// Moves everything, file by file. Files that were moved before are left out. `report` gets a line for
/// each file.
///
/// # Errors
/// Also if what the servers have then is not what a file has.
pub(crate) fn migrate(
    keep: &KeepSpec,
    spec: &ClickHouseSpec,
    now: Timestamp,
    report: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let mut target = ClickHouseStore::open(keep, spec, u64::MAX)?;
    let mut source = SqliteStore::open(keep, u64::MAX)?;
    let done = target.moved_files()?;
    let ledger = source.dump(now, &mut |dump, closing| {
        let name = dump.key.to_string();
        if done.contains(&name) {
            report(&format!("{name}: was moved before"));
            return Ok(());
        }
        if dump.has_dropped()? {
            report(&format!("{name}: left out, because it has sums only"));
            return Ok(());
        }
        let moved = target.move_file(dump, closing)?;
        target.note_moved(&name, moved.samples)?;
        report(&format!("{name}: {} samples, digest {}", moved.samples, moved.digest()));
        Ok(())
    })?;
    if !done.contains(LEDGER) {
        target.move_ledger(&ledger)?;
        target.note_moved(LEDGER, 0)?;
    }
    while target.maintain(now)? {}
    Ok(())
}
