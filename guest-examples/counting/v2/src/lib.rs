//! `counting`: a version that reads the state of the first version and writes another.

use counting::Kind;

/// A version that reads the state of the first version and writes another.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "2";
    const STATE: u32 = 2;
    const READS: &'static [u32] = &[1, 2];
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
