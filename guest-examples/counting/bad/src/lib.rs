//! `counting`: a version that traps in `configure`.

use counting::Kind;

/// A version that traps in `configure`.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "bad";
    const STATE: u32 = 1;
    const READS: &'static [u32] = &[1];
    const BAD: bool = true;
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
