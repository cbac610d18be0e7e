//! HTTP requests for publishers, one at a time, over `wasi:http`.
//!
//! [`send`] sends a request and waits for the response, within a deadline and a size limit. Export
//! the publisher with [`export_http_publisher!`]. [`send`] panics outside of a component, so put
//! the handling of responses into functions that take a [`Response`] and test those.

mod answer;
mod base64;
#[doc(hidden)]
pub mod bindings;
mod exchange;
mod retry_after;

use std::time::Duration;

pub use answer::outcome;
pub use base64::base64_for_urls;
pub use exchange::{Stopwatch, send};
pub use retry_after::retry_after;

/// An HTTP request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method, such as `POST`.
    pub method: &'a str,
    /// Whether to use TLS.
    pub tls: bool,
    /// `HOST:PORT`, with an IPv6 address in brackets; see [`authority()`].
    pub authority: &'a str,
    /// The path from its slash on and the query, escaped.
    pub path_with_query: &'a str,
    /// Names and values; `content-length` is added.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; may be empty.
    pub body: &'a [u8],
    /// The time limit for the whole exchange.
    pub timeout: Duration,
    /// The response body is cut after this many bytes.
    pub read_at_most: usize,
}

/// An HTTP response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 204.
    pub status: u16,
    /// The delay that the header `retry-after` requests, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, at most [`Request::read_at_most`] bytes of it.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The first line of the body as text, for error messages: at most 200 characters.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.trim().lines().next().unwrap_or_default();
        line.chars().filter(|one| !one.is_control()).take(200).collect()
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The host refused the request, or it is malformed. An operator has to act.
    Refused(String),
    /// The receiver was unreachable or did not respond in time. A retry may succeed.
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

/// `HOST:PORT`, with an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The header `authorization` for basic authentication (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::encoded(format!("{user}:{password}").as_bytes()))
}

/// Escapes a text for the query of a URL or for one segment of its path: everything except
/// letters, digits and `-._~` (RFC 3986, section 2.3).
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

/// Exports a [`nephometer_guest::Publisher`] over HTTP as the component of this crate. Does nothing
/// on targets other than wasm.
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
    fn ipv6_addresses_are_put_into_brackets() {
        assert_eq!(authority("::1", 8086), "[::1]:8086");
        assert_eq!(authority("db.example", 80), "db.example:80");
    }

    #[test]
    fn the_first_line_is_short_and_has_no_control_characters() {
        let body = format!("\n {{\"error\":\"no\u{7}\"}}{}\nmore", "x".repeat(500)).into_bytes();
        let line = Response { body, ..Response::default() }.first_line();
        assert!(line.starts_with("{\"error\":\"no\"}xxx") && line.len() == 200, "{line}");
    }
}
