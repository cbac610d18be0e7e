//! `notifier://` over AMQP 0-9-1. The only part of the program that names `lapin`.
//!
//! Given: encoded notifications with their routing keys. Gives back: `Confirmed` only for what the
//! broker has confirmed and routed; whatever is in doubt is sent again. The broker is not trusted:
//! what it sends is followed and bounded before the library parses it, and its texts are made
//! harmless before they are logged.

mod connection;
mod frames;
#[cfg(test)]
mod frames_tests;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
#[cfg(test)]
mod hostile_tests;
mod publisher;
mod refusal;
mod stream;
mod tables;

pub use publisher::AmqpPublisher;

use thiserror::Error;

use nephometer_model::{Bound, Exceeded};

/// What goes wrong between us and a broker. No text of it holds the URL or a password.
#[derive(Debug, Error)]
pub enum AmqpError {
    /// The URL cannot be used.
    #[error("the broker's URL cannot be used: {0}; it is amqp://USER:PASSWORD@HOST:PORT/VHOST")]
    Url(&'static str),
    /// The URL asks for larger frames than are read.
    #[error("the broker's URL cannot be used, because of frame_max: {0}")]
    FrameMax(Exceeded),
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
    #[error("{doing} failed: {}", harmless(&said.to_string()))]
    Refused {
        /// What was to be done.
        doing: &'static str,
        /// What they said, with their own sources in it.
        said: lapin::Error,
    },
}

/// A text that a broker may have written, on one line, cut to the bound on texts for people: it must
/// not move a terminal's cursor or look like a line of the log.
fn harmless(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let from = line.len();
        match c {
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
        if line.len() > Bound::TextBytes.size() {
            line.truncate(from);
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
    fn texts_are_cut_and_harmless() {
        let most = Bound::TextBytes.size();
        assert_eq!(harmless("vhost '/' is \"down\" (ä)"), "vhost '/' is \"down\" (ä)");
        assert_eq!(
            harmless("\u{1b}[2J\nERROR\u{202e}\u{9b}"),
            "\\u{1b}[2J\\nERROR\\u{202e}\\u{9b}"
        );
        assert_eq!(harmless(&"a".repeat(most)), "a".repeat(most));
        assert_eq!(harmless(&"a".repeat(most + 1)), format!("{} [cut]", "a".repeat(most)));
        let escapes = harmless(&"\u{1b}".repeat(most));
        assert!(escapes.len() <= most + " [cut]".len(), "{}", escapes.len());
    }
}
