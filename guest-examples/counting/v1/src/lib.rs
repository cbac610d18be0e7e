//! `counting`: the first version.

use counting::Kind;

/// The first version.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "1";
    const STATE: u32 = 1;
    const READS: &'static [u32] = &[1];
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
