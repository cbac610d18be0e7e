//! `counting`: a version that reads no state but its own.

use counting::Kind;

/// a version that reads no state but its own.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "3";
    const STATE: u32 = 3;
    const READS: &'static [u32] = &[3];
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
