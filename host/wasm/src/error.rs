use std::path::{Path, PathBuf};

use thiserror::Error;

use super::call::GuestCall;
use nephometer_model::{Bound, clean};

/// Why there is no instance of a component.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// The host itself could not be started.
    #[error("the component host cannot be started: {0}")]
    Host(String),
    /// No file of that name on the component path.
    #[error("there is no component {name:?}: no {name}.wasm in {folders}{hint}")]
    NotFound {
        /// As in `pipeline.yaml`.
        name: String,
        /// Where it was looked for.
        folders: String,
        /// Names that are there and look alike, or nothing.
        hint: String,
    },
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no component for this agent: not a component at all, of another world, or it
    /// wants what it does not get.
    #[error("{path}: {reason}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The options do not fit the component; everything that is wrong with them.
    #[error("the options of {component} are wrong: {}", list(.faults, *.more))]
    Options {
        /// The component's name.
        component: String,
        /// At least one, and at most as many as [`Bound::OptionErrors`] has.
        faults: Vec<OptionFault>,
        /// How many there are besides.
        more: usize,
    },
    /// An instance failed before it took its first batch.
    #[error("{component} failed in {call}: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// What it was asked for.
        call: GuestCall,
        /// What happened and, for a limit, which key to change.
        reason: String,
    },
}

/// The file cannot be used, for this reason.
pub(super) fn unfit(path: &Path, reason: String) -> ComponentError {
    ComponentError::Unfit { path: path.to_owned(), reason }
}

/// One thing that is wrong with options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionFault {
    /// JSON Pointer into the options; empty for the whole.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Faults in the line of a log; `check` prints all that are kept.
const LISTED: usize = 10;

fn list(faults: &[OptionFault], more: usize) -> String {
    let mut words: Vec<String> = faults
        .iter()
        .take(LISTED)
        .map(|fault| {
            let place = if fault.pointer.is_empty() { "/" } else { &fault.pointer };
            format!("{place}: {}", fault.reason)
        })
        .collect();
    let more = more + faults.len().saturating_sub(LISTED);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join("; ")
}

/// Bytes of a pointer and of a reason. They come from a component, and in part from long keys.
const POINTER: usize = 128;
const REASON: usize = 256;

/// Collects what is wrong with options, as much of it as somebody reads.
#[derive(Debug, Default)]
pub(super) struct OptionFaults {
    kept: Vec<OptionFault>,
    more: usize,
}

impl OptionFaults {
    /// One fault more. `reason` is called only if there is room for it.
    pub(super) fn add(&mut self, pointer: &str, reason: impl FnOnce() -> String) {
        if self.kept.len() == Bound::OptionErrors.size() {
            self.more += 1;
            return;
        }
        let (pointer, reason) = (short(pointer, POINTER), short(&reason(), REASON));
        self.kept.push(OptionFault { pointer, reason });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Those that are kept, by pointer, and how many there are besides.
    pub(super) fn finish(mut self) -> (Vec<OptionFault>, usize) {
        self.kept.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        (self.kept, self.more)
    }

    /// The options of this component are refused for them.
    pub(super) fn refuse(self, component: String) -> ComponentError {
        let (faults, more) = self.finish();
        ComponentError::Options { component, faults, more }
    }
}

/// One harmless line of at most so many bytes.
fn short(text: &str, most: usize) -> String {
    let mut line = clean(text);
    if line.len() > most {
        line.truncate(line.floor_char_boundary(most));
        line.push_str(" [cut]");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(count: usize) -> ComponentError {
        let mut faults = OptionFaults::default();
        for at in 0..count {
            faults.add(&format!("/{at}/\u{1b}[2J{}", "k".repeat(5_000)), || "x\n".repeat(90_000));
        }
        faults.refuse("c".to_owned())
    }

    /// 60,000 option errors made a log line of 7.6 MB, with control characters.
    #[test]
    fn option_errors_are_bounded_in_number_and_length() {
        let most = Bound::OptionErrors.size();
        for (count, left) in [(most, 0), (most + 1, 1), (60_000, 60_000 - most)] {
            let ComponentError::Options { faults, more, .. } = faults(count) else { panic!() };
            assert_eq!((faults.len(), more), (most, left));
            for OptionFault { pointer, reason } in faults {
                assert!(pointer.len() <= POINTER + 6 && reason.len() <= REASON + 6);
                assert!(!pointer.contains('\u{1b}') && !reason.contains('\n'));
            }
        }
        let line = faults(60_000).to_string();
        assert!(line.len() < 5_000 && line.ends_with("; and 59990 more"), "{line}");
        assert!(faults(LISTED).to_string().ends_with(" [cut]"));
    }
}
