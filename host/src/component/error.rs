use std::path::PathBuf;

use thiserror::Error;

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
    #[error("the options of {component} are wrong: {}", list(.faults))]
    Options {
        /// The component's name.
        component: String,
        /// At least one.
        faults: Vec<OptionFault>,
    },
    /// An instance failed before it took its first batch.
    #[error("{component} failed in {call}: {reason}")]
    Failed {
        /// The component's name.
        component: String,
        /// What it was doing: `instantiate`, `describe`, `configure` or `restore`.
        call: &'static str,
        /// What happened and, for a limit, which key to change.
        reason: String,
    },
}

/// One thing that is wrong with options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionFault {
    /// JSON Pointer into the options; empty for the whole.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

fn list(faults: &[OptionFault]) -> String {
    let words: Vec<String> = faults
        .iter()
        .map(|fault| {
            let place = if fault.pointer.is_empty() { "/" } else { &fault.pointer };
            format!("{place}: {}", fault.reason)
        })
        .collect();
    words.join("; ")
}
