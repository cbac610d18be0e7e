//! What made a call fail, in words.

use super::log::clean;
use super::outbound::exceeded;

/// What made a call fail, on one line. Never the error as a whole: its text holds the guest's stack,
/// whose names may be of any length and number.
pub(crate) fn cause(error: &wasmtime::Error) -> String {
    match exceeded(error) {
        Some(exceeded) => exceeded.to_string(),
        None => clean(&error.root_cause().to_string()),
    }
}
