use std::path::PathBuf;

use thiserror::Error;

/// Why the store does not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// SQLite reports an error, such as a full disk.
    #[error("{path}: {source}")]
    Engine {
        /// The database file.
        path: PathBuf,
        /// The error.
        source: rusqlite::Error,
    },
    /// A file or the folder cannot be used.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// The file was written by a later version.
    #[error(
        "{path} has schema {found}, and this version knows schema {known}; \
         install the version that wrote it, or a later one"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The latest schema that this version knows.
        known: i64,
    },
    /// A command that only reads found a file of an earlier version.
    #[error(
        "{path} has schema {found}, and this version reads schema {known}; start the collector, \
         which migrates it"
    )]
    Older {
        /// The database file.
        path: PathBuf,
        /// The schema of the file.
        found: usize,
        /// The schema that this version reads.
        known: usize,
    },
    /// A query would read more samples than it may.
    #[error(
        "the query would read more than {0} samples; narrow it by meter, resource_id, project_id or \
         timestamp, or raise api.rows"
    )]
    TooMuch(u64),
    /// Samples that a query needs have been dropped; only their sums by hour are kept.
    #[error(
        "the samples of {0} are no longer kept, only their sums by hour: ask for whole hours, without \
         metadata and stddev, or for a later time"
    )]
    Expired(String),
    /// A month cannot be closed, or was not.
    #[error("{month}: {what}")]
    Month {
        /// As it was given.
        month: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The log of a file could not be emptied after text was erased.
    #[error(
        "{path}: another program reads the file all the time, so that erased text may be left in its \
         log; run the command again, or stop that program"
    )]
    Busy {
        /// The database file.
        path: PathBuf,
    },
    /// The result would have more entries than an answer may.
    #[error("{0}")]
    Bound(String),
    /// A server of ClickHouse cannot be reached, or refuses a statement.
    #[error("{server}: {what}")]
    Server {
        /// Its URL.
        server: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The engine does not do this.
    #[error("{0}")]
    Unsupported(String),
    /// Something in the file is not what this program wrote.
    #[error("{path}: {what}; restore the file from a backup")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}
