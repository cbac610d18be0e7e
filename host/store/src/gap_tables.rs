//! Gaps, kept beside the journal: what could not be taken, or was given up.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::footprint::{Weights, length, weight};
use super::values::bytes;
use nephometer_model::{Bound, Gap, Timestamp};

/// By when it began, its source, its resource and its reason: a gap that lasts is written again, with
/// its new end.
const GAPS: TableDefinition<'_, (u64, &str, &str, &str), &[u8]> = TableDefinition::new("gaps");
/// By source: when it was polled last.
const TICKS: TableDefinition<'_, &str, u64> = TableDefinition::new("ticks");

/// All of them, with what they weigh.
pub(super) fn weigh(reading: &ReadTransaction, weights: &mut Weights) -> Result<(), redb::Error> {
    for gap in reading.open_table(GAPS)?.iter()? {
        weights.add_gaps(length(gap?.1.value()));
    }
    Ok(())
}

pub(super) fn begin(writing: &WriteTransaction) -> Result<(), redb::Error> {
    writing.open_table(GAPS)?;
    writing.open_table(TICKS)?;
    Ok(())
}

pub(super) fn write(
    writing: &WriteTransaction,
    gaps: &[Gap],
    cycles: &[(Arc<str>, u64)],
    weights: &mut Weights,
) -> Result<(), redb::Error> {
    if !gaps.is_empty() {
        let mut table = writing.open_table(GAPS)?;
        for gap in gaps {
            let reason = gap.reason.as_str();
            let key = (gap.begin.as_nanos(), gap.source.as_str(), gap.resource.as_str(), reason);
            let gap = bytes(postcard::to_allocvec(gap))?;
            let before = table.insert(key, gap.as_slice())?;
            weights.add_gaps(length(&gap) - before.map_or(0, |before| length(before.value())));
        }
        // The oldest make room.
        while table.len()? > Bound::Gaps.most() || weights.gaps > weight(Bound::GapBytes.most()) {
            let Some((_, gap)) = table.pop_first()? else { break };
            weights.add_gaps(-length(gap.value()));
        }
    }
    if !cycles.is_empty() {
        let mut table = writing.open_table(TICKS)?;
        for (source, cycle_start) in cycles {
            table.insert(&**source, cycle_start)?;
        }
    }
    Ok(())
}

/// All gaps, by when they began; those that cannot be read are left out.
pub(super) fn all(reading: &ReadTransaction) -> Result<Vec<Gap>, redb::Error> {
    let mut gaps = Vec::new();
    for entry in reading.open_table(GAPS)?.iter()? {
        gaps.extend(postcard::from_bytes::<Gap>(entry?.1.value()).ok());
    }
    Ok(gaps)
}

/// When each source was polled last.
pub(super) fn cycles(
    reading: &ReadTransaction,
) -> Result<HashMap<Arc<str>, Timestamp>, redb::Error> {
    let mut cycles = HashMap::new();
    for entry in reading.open_table(TICKS)?.iter()? {
        let (source, cycle_start) = entry?;
        cycles.insert(Arc::from(source.value()), Timestamp::from_nanos(cycle_start.value()));
    }
    Ok(cycles)
}
