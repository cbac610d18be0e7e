//! The store on disk: the journal (batches that a sink may still need, and the saved states of its
//! transformers), the spools (envelopes that a publisher has not delivered), counters, gaps, dead
//! letters, recordings and the host id.
//!
//! It owns the store folder and the one database in it. Without a disk the same types work in memory.
//! It stores batches and envelopes as bytes and attaches no meaning to their samples.

mod backend;
mod codec;
mod commit;
mod corrections;
mod damaged;
mod db;
mod dead_letters;
mod envelope;
mod failures;
mod folder;
mod footprint;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod gap_tables;
mod gaps;
mod handles;
mod identity;
mod journal;
mod journal_state;
mod offsets;
mod page_token;
mod promoted;
mod queries;
mod queue;
mod reader;
mod receivers;
mod recording;
mod spool;
mod spool_tables;
mod spools;
mod stored_envelope;
mod stream;
mod streaming;
mod values;
mod write_state;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use codec::{decode as decode_batch, encode as encode_batch};
pub use commit::{Envelopes, Persistence, SpoolAppend};
pub use corrections::write_correction;
pub use db::{ResumePoint, SavedChain, SavedTransformer};
pub use dead_letters::{DeadLetter, DeadLetters, FailedBatch};
pub use envelope::{Envelope, Manifest};
pub use folder::{Store, host_id_or_random};
pub use gaps::Gaps;
pub use handles::{SpoolReader, SpoolWriter, UnwrittenEnvelopes};
pub use identity::Identity;
pub use journal::Journal;
pub use journal_state::JournalBounds;
pub use promoted::PromotedFiles;
pub use queries::RequeueSummary;
pub use queue::WhenFull;
pub use reader::{JournalEntry, JournalReader};
pub use receivers::SpoolClaim;
pub use recording::{Recorder, Recording, read_recording};
pub use spool::SpoolBounds;
pub use spool_tables::SpoolSummary;
pub use spools::Spools;
pub use stored_envelope::{PageCursor, StoredEnvelope};
pub use stream::StreamRecords;

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another agent holds the lock.
    #[error("{path} is in use by a running agent{}; stop it or set another store.path", holder(*.pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Process id of the other agent; `None` if it has not written it yet.
        pid: Option<u32>,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}; the agent needs write access there, or another store.path")]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A recording cannot be written or read.
    #[error("cannot {action} the recording {}", .path.display())]
    Recording {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line of a file is not part of a recording.
    #[error(
        "{}:{number}: invalid line in recording: {reason}; recordings are written by `nephometer record`",
        .path.display()
    )]
    InvalidRecording {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Stored data cannot be read now, so nothing may be written over it.
    #[error(
        "cannot read {path}; its contents were left unchanged: repair the disk and restart, or move the file \
         away and lose what it holds"
    )]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// A key cannot be used.
    #[error("cannot use the signing key in {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: nephometer_proof::KeyError,
    },
    /// There is no key with this id.
    #[error("unknown key {id}; known keys: {known}")]
    UnknownKey {
        /// The id.
        id: String,
        /// The ids of all keys.
        known: String,
    },
    /// The database returned an error.
    #[error("cannot use {path}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// The database's error.
        source: Box<redb::Error>,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
}

/// The error of an action on a file of the store.
fn io(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod power_loss_tests;
#[cfg(test)]
mod spool_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod streaming_tests;
#[cfg(test)]
mod tests;
