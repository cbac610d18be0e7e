//! The tables of gaps (samples that could not be taken or were dropped) and of the last polling cycle
//! of each source.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::footprint::{StoredBytes, length, signed};
use super::values::encoded;
use nephometer_model::{Bound, Gap, Timestamp};

/// By begin, source, resource and reason: a gap that goes on is written again with its new end.
const GAPS: TableDefinition<'_, (u64, &str, &str, &str), &[u8]> = TableDefinition::new("gaps");
/// By source: the start of its last polling cycle.
const CYCLES: TableDefinition<'_, &str, u64> = TableDefinition::new("ticks");

/// Adds the size of all gaps.
pub(super) fn measure(
    transaction: &ReadTransaction,
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    for gap in transaction.open_table(GAPS)?.iter()? {
        stored.add_gaps(length(gap?.1.value()));
    }
    Ok(())
}

/// Creates the tables, so that readers find them.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(GAPS)?;
    transaction.open_table(CYCLES)?;
    Ok(())
}

pub(super) fn write(
    transaction: &WriteTransaction,
    gaps: &[Gap],
    cycles: &[(Arc<str>, u64)],
    stored: &mut StoredBytes,
) -> Result<(), redb::Error> {
    if !gaps.is_empty() {
        let mut table = transaction.open_table(GAPS)?;
        for gap in gaps {
            let reason = gap.reason.as_str();
            let key = (gap.begin.as_nanos(), gap.source.as_str(), gap.resource.as_str(), reason);
            let gap = encoded(postcard::to_allocvec(gap))?;
            let before = table.insert(key, gap.as_slice())?;
            stored.add_gaps(length(&gap) - before.map_or(0, |before| length(before.value())));
        }
        // Past a bound the oldest are removed.
        while table.len()? > Bound::Gaps.most() || stored.gaps > signed(Bound::GapBytes.most()) {
            let Some((_, gap)) = table.pop_first()? else { break };
            stored.add_gaps(-length(gap.value()));
        }
    }
    if !cycles.is_empty() {
        let mut table = transaction.open_table(CYCLES)?;
        for (source, cycle_start) in cycles {
            table.insert(&**source, cycle_start)?;
        }
    }
    Ok(())
}

/// All gaps, ordered by when they began; those that cannot be decoded are left out.
pub(super) fn all(transaction: &ReadTransaction) -> Result<Vec<Gap>, redb::Error> {
    let mut gaps = Vec::new();
    for entry in transaction.open_table(GAPS)?.iter()? {
        gaps.extend(postcard::from_bytes::<Gap>(entry?.1.value()).ok());
    }
    Ok(gaps)
}

/// The start of the last polling cycle of each source.
pub(super) fn last_cycles(
    transaction: &ReadTransaction,
) -> Result<HashMap<Arc<str>, Timestamp>, redb::Error> {
    let mut cycles = HashMap::new();
    for entry in transaction.open_table(CYCLES)?.iter()? {
        let (source, cycle_start) = entry?;
        cycles.insert(Arc::from(source.value()), Timestamp::from_nanos(cycle_start.value()));
    }
    Ok(cycles)
}
