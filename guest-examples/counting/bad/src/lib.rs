//! `counting`: a version that traps when it is configured.

use counting::Kind;

/// a version that traps when it is configured.
#[derive(Debug)]
pub struct Variant;

impl Kind for Variant {
    const VERSION: &'static str = "bad";
    const STATE: u32 = 1;
    const READS: &'static [u32] = &[1];
    const BAD: bool = true;
}

nephometer_guest::export_stateful_transformer!(counting::Counting<Variant>);
