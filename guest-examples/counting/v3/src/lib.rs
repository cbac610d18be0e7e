//! `counting`: a version that reads only its own state.

use counting::Kind;

/// A version that reads only its own state.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "3";
    const STATE: u32 = 3;
    const READS: &'static [u32] = &[3];
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
