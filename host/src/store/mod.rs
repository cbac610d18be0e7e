//! What is held: batches that a sink has not worked off (the journal), envelopes that a publisher
//! has not delivered (the spool), and the host's generation. In this version journal and spool
//! live in bounded memory, behind the interfaces that a store on disk will have.

mod generation;
mod journal;
mod queue;
mod spool;

use std::path::PathBuf;

use thiserror::Error;
use uuid::Uuid;

pub use generation::{Store, generation_for_reading};
pub use journal::{JournalReader, JournalWriter, journal};
pub use queue::WhenFull;
pub use spool::{Bounds, SpoolReader, SpoolWriter, Verdict, spool};

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
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" with pid {pid}"))
}
