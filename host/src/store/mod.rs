//! What is held: batches that a sink has not worked off or could need again, and the states of its
//! transformers (the journal), envelopes that a publisher has not delivered (the spool), batches
//! that were set aside (dead letters), and the host's generation. The journal lies on disk; in this
//! version the spool lives in bounded memory, and the journal keeps a batch until all envelopes
//! that were made of it are settled.

mod codec;
mod db;
mod dead_letters;
mod generation;
mod journal;
mod memory;
mod queue;
mod reader;
mod spool;

use std::path::PathBuf;

use thiserror::Error;
use uuid::Uuid;

use crate::model::Position;

pub use codec::{decode as decode_batch, encode as encode_batch};
pub use db::{Resume, SavedChain, SavedStage};
pub use dead_letters::{DeadLetter, DeadLetters, Lost};
pub use generation::{Store, generation_for_reading};
pub use journal::{Journal, JournalBounds};
pub use queue::WhenFull;
pub use reader::{Entry, JournalReader};
pub use spool::{Bounds, Outstanding, SpoolReader, SpoolWriter, Verdict, spool};

/// One envelope as it goes to one receiver. Stored once, never made anew: a retry sends the same
/// bytes with the same ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The same on every attempt.
    pub id: Uuid,
    /// Where within the receiver: a routing key for AMQP, empty elsewhere.
    pub address: std::sync::Arc<str>,
    /// The bytes on the wire.
    pub body: std::sync::Arc<[u8]>,
    /// How many samples are in it.
    pub samples: u64,
    /// The batch in the journal that it was made from.
    pub position: Position,
}

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
mod tests;
