//! What is held: batches that a sink has not worked off or could need again, and the states of its
//! transformers (the journal), envelopes that a publisher has not delivered (the spools), what is
//! counted of them, what was set aside (dead letters), and the host's generation. All of it lies on
//! one disk, in one database, and where there is none, in memory.

mod backend;
mod codec;
mod commit;
mod db;
mod dead_letters;
mod envelope;
mod failures;
mod folder;
mod footprint;
#[cfg(fuzzing)]
pub mod fuzz;
mod gap_tables;
mod gaps;
mod handles;
mod journal;
mod memory;
mod offsets;
mod queries;
mod queue;
mod reader;
mod receivers;
mod recording;
mod spool;
mod spool_tables;
mod spools;
mod stored_envelope;
mod streaming;
mod values;

use std::path::PathBuf;

use thiserror::Error;

pub use codec::{decode as decode_batch, encode as encode_batch};
pub use commit::{Envelopes, SpoolInput};
pub use db::{Resume, SavedChain, SavedTransformer};
pub use dead_letters::{DeadLetter, DeadLetters, FailedBatch};
pub use envelope::{Envelope, Manifest};
pub use folder::{Store, host_id_for_reading};
pub use gaps::Gaps;
pub use handles::{Outstanding, SpoolReader, SpoolWriter};
pub use journal::Journal;
pub use memory::JournalBounds;
pub use queries::Requeued;
pub use queue::WhenFull;
pub use reader::{Entry, JournalReader};
pub use receivers::Claim;
pub use recording::{Recorder, Recording, read_recording};
pub use spool::Bounds;
pub use spool_tables::SpoolSummary;
pub use spools::Spools;
pub use stored_envelope::{Place, StoredEnvelope};

/// Why the store's folder cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another agent is at work on it.
    #[error("{path} belongs to a running agent{}; stop it, or give this one another store.path", holder(*.pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Of the other agent, if it has written it yet.
        pid: Option<u32>,
    },
    /// A step that the system refused.
    #[error("cannot {action} {path}; the agent needs to write there, or another store.path")]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A recording cannot be written or read.
    #[error("cannot {action} the recording {}", .path.display())]
    Recording {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that should be a recording.
    #[error("{}:{number}: no batch of a recording ({reason}); `nephometer record` makes one", .path.display())]
    NoRecording {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// What an earlier run has left cannot be read now, so that nothing may be written over it.
    #[error(
        "cannot read {path}; what is in it stays as it is: mend the disk and start again, or move the file away \
         and lose what it holds"
    )]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// The database says no.
    #[error("cannot use {path}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// What it says.
        source: Box<redb::Error>,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" with pid {pid}"))
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod spool_tests;
#[cfg(test)]
mod streaming_tests;
#[cfg(test)]
mod tests;
