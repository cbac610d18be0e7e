//! `notifier://` over AMQP 0-9-1. The only part of the program that names `lapin`.
//!
//! Given: encoded notifications with their routing keys. Gives back: `Confirmed` only for what the
//! broker has confirmed and routed; whatever is in doubt is sent again.

mod connection;
mod publisher;

pub use publisher::AmqpPublisher;

use thiserror::Error;

/// What goes wrong between us and a broker. No text of it holds the URL or a password.
#[derive(Debug, Error)]
pub enum AmqpError {
    /// The URL cannot be used.
    #[error("the broker's URL cannot be used: {0}; it is amqp://USER:PASSWORD@HOST:PORT/VHOST")]
    Url(&'static str),
    /// The broker did not answer in time.
    #[error("no answer from the broker within {} s while {doing}", limit.as_secs())]
    Timeout {
        /// What was to be done.
        doing: &'static str,
        /// How long we waited.
        limit: std::time::Duration,
    },
    /// A file that TLS needs.
    #[error("the file {path} cannot be read")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The broker or the network refused.
    #[error("{doing} failed: {said}")]
    Refused {
        /// What was to be done.
        doing: &'static str,
        /// What they said, with their own sources in it.
        said: lapin::Error,
    },
}
