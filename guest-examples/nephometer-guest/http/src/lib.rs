//! One HTTP request at a time, for publishers, over `wasi:http`.
//!
//! [`send`] makes a request and waits for the answer, within a deadline and a bound on what is
//! read. Name the publisher in [`export_http_publisher!`]. Natively [`send`] panics: what decides
//! about an answer belongs into functions that take a [`Response`], and is tested without it.

mod answer;
mod base64;
#[doc(hidden)]
pub mod bindings;
mod exchange;
mod retry_after;

use std::time::Duration;

pub use answer::outcome;
pub use exchange::{Stopwatch, send};
pub use retry_after::retry_after;

/// What to ask.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `GET`, `POST` and so on.
    pub method: &'a str,
    /// Over TLS.
    pub tls: bool,
    /// `HOST:PORT`, an IPv6 address in brackets.
    pub authority: &'a str,
    /// From the slash on, escaped.
    pub path_with_query: &'a str,
    /// Names and values; `content-length` is added.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent; empty for none.
    pub body: &'a [u8],
    /// The longest that the whole exchange may take.
    pub timeout: Duration,
    /// The most bytes of the answer's body that are read; what is longer is cut.
    pub read_at_most: usize,
}

/// What was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 204.
    pub status: u16,
    /// The wait that the header `retry-after` asks for, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first line of the body as text, for a message: at most 200 characters.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.trim().lines().next().unwrap_or_default();
        line.chars().filter(|one| !one.is_control()).take(200).collect()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The host does not allow it, or the request is none: someone has to act.
    Refused(String),
    /// The receiver could not be reached, or did not answer in time: it may pass.
    Failed(String),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for HttpError {}

/// `HOST:PORT` as requests have it: an IPv6 address goes into brackets.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The value of the header `authorization` that logs a user in (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::encoded(format!("{user}:{password}").as_bytes()))
}

/// A text as a value in the query of a URL, or as one part of its path (RFC 3986, section 2.3):
/// all but letters, digits and `-._~` is escaped.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Makes a [`nephometer_guest::Publisher`] that speaks HTTP the component of this crate (on wasm;
/// elsewhere it does nothing).
#[macro_export]
macro_rules! export_http_publisher {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::nephometer::metering as worlds;

            $crate::nephometer_guest::export_publisher_common!($type, worlds);

    $crate::bindings::export_http_world!(Component with_types_in $crate::bindings);
        };
    };
}

#[doc(hidden)]
pub use nephometer_guest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_goes_into_brackets() {
        assert_eq!(authority("::1", 8086), "[::1]:8086");
        assert_eq!(authority("db.example", 80), "db.example:80");
    }

    #[test]
    fn a_message_quotes_one_short_line() {
        let body = format!("\n {{\"error\":\"no\u{7}\"}}{}\nmore", "x".repeat(500)).into_bytes();
        let line = Response { body, ..Response::default() }.first_line();
        assert!(line.starts_with("{\"error\":\"no\"}xxx") && line.len() == 200, "{line}");
    }
}
