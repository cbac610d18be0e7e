//! `counting`: like the first version, but the third batch of an instance traps.

use counting::Kind;

/// Like the first version, but the third batch of an instance traps.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "crash";
    const STATE: u32 = 1;
    const READS: &'static [u32] = &[1];
    const TRAPS_AT: u64 = 3;
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
