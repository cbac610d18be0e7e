//! Formats the cause of a failed call.

use super::log::clean;
use super::outbound::exceeded;

/// The root cause of a failed call, on one line. Never the whole error: its text includes the
/// guest's stack, with names of any length and number.
pub(crate) fn cause(error: &wasmtime::Error) -> String {
    match exceeded(error) {
        Some(exceeded) => exceeded.to_string(),
        None => clean(&error.root_cause().to_string()),
    }
}
