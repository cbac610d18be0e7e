//! Warnings that are logged once.

use nephometer_guest::{FxHashSet, log};

/// Things beyond this number are not reported.
const MOST: usize = 1_000;

/// What was reported.
#[derive(Debug, Default)]
pub struct Reported(FxHashSet<String>);

impl Reported {
    /// Logs a warning about a thing, unless one was logged before.
    pub(crate) fn warn(&mut self, thing: &str, reason: &str) {
        if self.0.len() < MOST && self.0.insert(thing.to_owned()) {
            log::warn(reason);
        }
    }
}
