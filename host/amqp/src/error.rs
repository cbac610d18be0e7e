//! Errors of connections, and the texts of brokers in them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use nephometer_model::{Bound, Exceeded};

/// A failure between this program and a broker. No message contains the URL or a password.
#[derive(Debug, Error)]
pub enum AmqpError {
    /// The URL is invalid.
    #[error("invalid broker URL: {0}; expected amqp://USER:PASSWORD@HOST:PORT/VHOST")]
    Url(&'static str),
    /// The URL asks for frames larger than the bound.
    #[error("invalid broker URL, frame_max: {0}")]
    FrameMax(Exceeded),
    /// The broker did not reply in time.
    #[error("no answer from the broker within {} s while {doing}", timeout.as_secs())]
    Timeout {
        /// The operation, as a present participle.
        doing: &'static str,
        /// The timeout.
        timeout: Duration,
    },
    /// A certificate or key file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A certificate or key is not what it should be.
    #[error("invalid TLS settings: {0}")]
    Tls(String),
    /// The broker or the network reported an error.
    #[error("{doing} failed: {}", sanitize(&error.to_string()))]
    Refused {
        /// The operation, as a present participle.
        doing: &'static str,
        /// The library's error. Its text includes its own sources.
        error: lapin::Error,
    },
    /// The broker has sent what is not accepted, which ends the connection.
    #[error("{doing} failed: {reason}")]
    Rejected {
        /// The operation, as a present participle.
        doing: &'static str,
        /// What was not accepted. It has no text of the broker.
        reason: String,
    },
    /// A consumer was cancelled.
    #[error(
        "the broker has ended the delivery of {queue}; it was deleted, or the connection is lost"
    )]
    Ended {
        /// The name of the queue.
        queue: String,
    },
    /// The headers of a message are not accepted.
    #[error("a message was refused, because its headers are not accepted: {0}")]
    Unreadable(String),
}

impl AmqpError {
    /// Names the operation that the library's error has ended.
    pub(crate) fn refused(doing: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| Self::Refused { doing, error }
    }
}

/// Puts a text of the broker on one line, cut to the bound on logged texts. Escapes keep it from
/// moving a terminal's cursor or imitating a line of the log.
pub(crate) fn sanitize(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let start = line.len();
        match c {
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
        if line.len() > Bound::TextBytes.size() {
            line.truncate(start);
            line.push_str(" [cut]");
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_sanitized() {
        let most = Bound::TextBytes.size();
        assert_eq!(sanitize("vhost '/' is \"down\" (ä)"), "vhost '/' is \"down\" (ä)");
        assert_eq!(
            sanitize("\u{1b}[2J\nERROR\u{202e}\u{9b}"),
            "\\u{1b}[2J\\nERROR\\u{202e}\\u{9b}"
        );
        assert_eq!(sanitize(&"a".repeat(most)), "a".repeat(most));
        assert_eq!(sanitize(&"a".repeat(most + 1)), format!("{} [cut]", "a".repeat(most)));
        let escapes = sanitize(&"\u{1b}".repeat(most));
        assert!(escapes.len() <= most + " [cut]".len(), "{}", escapes.len());
    }
}
