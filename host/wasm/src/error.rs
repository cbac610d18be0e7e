//! Errors of loading, configuring and starting components.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::call::GuestCall;
use nephometer_model::{Bound, clean};

/// Why a component cannot be loaded or started.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// The component host could not be started.
    #[error("cannot start the component host: {0}")]
    Host(String),
    /// No file of this name on the component path.
    #[error("component {name:?} not found: no {name}.wasm in {folders}{hint}")]
    NotFound {
        /// As in `pipeline.yaml`.
        name: String,
        /// The directories that were searched.
        folders: String,
        /// Similar or available names; may be empty.
        hint: String,
    },
    /// It comes from a registry and is not here, or it lacks a signature that it needs.
    #[error("component {name:?} is not available: {reason}")]
    NotProvided {
        /// As in `pipeline.yaml`.
        name: String,
        /// Why, and the remedy.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a component for this agent: not a component at all, for another world, or
    /// with imports that are not available.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The options are invalid. Has all errors at once.
    #[error("invalid options of {component}: {}", list(.errors, *.omitted))]
    Options {
        /// The component's name.
        component: String,
        /// At least one, and at most [`Bound::OptionErrors`].
        errors: Vec<OptionError>,
        /// Number of errors beyond the bound.
        omitted: usize,
    },
    /// An instance failed before its first batch.
    #[error("{component} failed in {call}: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// The failed call.
        call: GuestCall,
        /// The cause and, for a limit, the configuration key to change.
        reason: String,
    },
}

/// The error for a file that cannot be used.
pub(super) fn invalid(path: &Path, reason: String) -> ComponentError {
    ComponentError::Invalid { path: path.to_owned(), reason }
}

/// One error in the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// JSON Pointer into the options; empty for the whole.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Errors in a log line; `check` prints all that are kept.
const MAX_LISTED: usize = 10;

fn list(errors: &[OptionError], omitted: usize) -> String {
    let mut parts: Vec<String> = errors
        .iter()
        .take(MAX_LISTED)
        .map(|error| {
            let pointer = if error.pointer.is_empty() { "/" } else { &error.pointer };
            format!("{pointer}: {}", error.reason)
        })
        .collect();
    let omitted = omitted + errors.len().saturating_sub(MAX_LISTED);
    if omitted > 0 {
        parts.push(format!("and {omitted} more"));
    }
    parts.join("; ")
}

/// Bytes of a pointer that are kept. Pointers contain keys, which may be long.
const POINTER_BYTES: usize = 128;
/// Bytes of a reason that are kept. Reasons come from components.
const REASON_BYTES: usize = 256;

/// Collects errors in options, bounded in number and length.
#[derive(Debug, Default)]
pub(super) struct OptionErrors {
    kept: Vec<OptionError>,
    omitted: usize,
}

impl OptionErrors {
    /// Adds an error. `reason` is called only if the error is kept.
    pub(super) fn add(&mut self, pointer: &str, reason: impl FnOnce() -> String) {
        if self.kept.len() == Bound::OptionErrors.size() {
            self.omitted += 1;
            return;
        }
        let (pointer, reason) =
            (truncate(pointer, POINTER_BYTES), truncate(&reason(), REASON_BYTES));
        self.kept.push(OptionError { pointer, reason });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The kept errors by pointer, and the number of omitted ones.
    pub(super) fn finish(mut self) -> (Vec<OptionError>, usize) {
        self.kept.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        (self.kept, self.omitted)
    }

    /// The error that refuses the options of this component.
    pub(super) fn into_error(self, component: String) -> ComponentError {
        let (errors, omitted) = self.finish();
        ComponentError::Options { component, errors, omitted }
    }
}

/// One clean line of at most `max` bytes.
fn truncate(text: &str, max: usize) -> String {
    let mut line = clean(text);
    if line.len() > max {
        line.truncate(line.floor_char_boundary(max));
        line.push_str(" [cut]");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(count: usize) -> ComponentError {
        let mut errors = OptionErrors::default();
        for at in 0..count {
            errors.add(&format!("/{at}/\u{1b}[2J{}", "k".repeat(5_000)), || "x\n".repeat(90_000));
        }
        errors.into_error("c".to_owned())
    }

    // Regression: 60,000 option errors made a log line of 7.6 MB with control characters.
    #[test]
    fn option_errors_are_bounded_in_number_and_length() {
        let most = Bound::OptionErrors.size();
        for (count, expected) in [(most, 0), (most + 1, 1), (60_000, 60_000 - most)] {
            let ComponentError::Options { errors, omitted, .. } = errors(count) else { panic!() };
            assert_eq!((errors.len(), omitted), (most, expected));
            for OptionError { pointer, reason } in errors {
                assert!(pointer.len() <= POINTER_BYTES + 6 && reason.len() <= REASON_BYTES + 6);
                assert!(!pointer.contains('\u{1b}') && !reason.contains('\n'));
            }
        }
        let line = errors(60_000).to_string();
        assert!(line.len() < 5_000 && line.ends_with("; and 59990 more"), "{line}");
        assert!(errors(MAX_LISTED).to_string().ends_with(" [cut]"));
    }
}
