//! The options of Ceilometer's `http` publisher and of those that inherit from it.

use serde_json::Value;
use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{OptionError, UrlOptions, log};
use nephometer_guest_http::{authority, basic, escaped};

/// In seconds.
const DEFAULT_TIMEOUT: f64 = 5.0;
const MAX_TIMEOUT: f64 = 300.0;

/// Options of the publisher. All other keys of the query are sent to the receiver.
const OWN_OPTIONS: [&str; 9] = [
    "batch",
    "clientcert",
    "clientkey",
    "max_retries",
    "poolsize",
    "raw_only",
    "ssl",
    "timeout",
    "verify_ssl",
];

/// Where requests are sent, and how.
#[derive(Clone, PartialEq)]
pub struct Receiver {
    /// Whether to use TLS.
    pub tls: bool,
    /// `HOST:PORT`.
    pub authority: String,
    /// The time limit of one request.
    pub timeout: Duration,
    /// Whether to send all samples of an envelope with one request, if the publisher supports both.
    pub batch: bool,
    path: String,
    query: String,
    /// A secret.
    authorization: Option<String>,
}

// Without the authorization header, which is a secret.
impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("tls", &self.tls)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Reads the options. `own` names further options that the publisher reads itself. All other
    /// keys of the query are sent to the receiver.
    ///
    /// # Errors
    /// All errors, each with its pointer.
    pub fn read(options: &Value, own: &[&str]) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let known: Vec<&str> = OWN_OPTIONS.iter().chain(own).copied().collect();
        read.warn_of_unknown_in_block(&known);
        let tls = match url_part(&read, "scheme") {
            Some("https") => true,
            Some("http") => false,
            _ => option_word(&read, "ssl").is_some_and(|word| is_on(&word)),
        };
        if tls {
            refuse_tls_options(&read);
        }
        let host = read.host().unwrap_or_default();
        let receiver = Self {
            tls,
            authority: authority(&host, read.port(if tls { 443 } else { 80 })),
            timeout: timeout(&read),
            batch: option_word(&read, "batch").is_none_or(|word| is_on(&word)),
            path: path(&read),
            query: query(options, &known),
            authorization: authorization(&read),
        };
        let errors = errors.take();
        if errors.is_empty() { Ok(receiver) } else { Err(errors) }
    }

    /// The path with what is `below` it, and the query: `/path/below?q=x`.
    pub fn path_with_query(&self, below: &str) -> String {
        format!("{}{below}{}", self.path, self.query)
    }

    /// The path, escaped as in the URL.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

/// A part of the URL, else of the block. The query belongs to the receiver: a key of this name
/// there is sent, and has no meaning here.
fn url_part<'a>(read: &UrlOptions<'a>, part: &str) -> Option<&'a str> {
    read.value(part).and_then(Value::as_str)
}

fn path(read: &UrlOptions<'_>) -> String {
    // Escapes characters that are not allowed in a request line; the rest is sent as it is.
    let mut path: String = String::new();
    for byte in url_part(read, "path").unwrap_or_default().bytes() {
        if byte.is_ascii_graphic() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The query for the receiver: `?a=1&a=2`, or empty.
fn query(options: &Value, known: &[&str]) -> String {
    let mut query = String::new();
    for (key, values) in options.get("query").and_then(Value::as_object).into_iter().flatten() {
        if known.contains(&key.as_str()) {
            continue;
        }
        for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{}={}", escaped(key), escaped(value)));
        }
    }
    query
}

/// An option in lower case, as it would be written in the query.
fn option_word(read: &UrlOptions<'_>, key: &str) -> Option<String> {
    if let Some(text) = read.text_of_query(key) {
        return Some(text.trim().to_lowercase());
    }
    match read.value(key)? {
        Value::String(text) => Some(text.trim().to_lowercase()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => {
            read.refuse(key, "expected true or false");
            None
        }
    }
}

/// Whether a word means true in Ceilometer. All others mean false, there and here.
fn is_on(word: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].contains(&word)
}

/// Refuses options that the host does not support: it always verifies certificates, with the roots
/// that this machine trusts, and has no client certificates.
fn refuse_tls_options(read: &UrlOptions<'_>) {
    const ROOTS: &str = "certificates are always verified, with the roots that this machine trusts; \
                         add the receiver's to those, or name a file of roots in SSL_CERT_FILE";
    if option_word(read, "verify_ssl").is_some_and(|word| !word.is_empty() && !is_on(&word)) {
        read.refuse("verify_ssl", ROOTS);
    }
    for key in ["clientcert", "clientkey"] {
        if read.text(key).is_some_and(|text| !text.is_empty()) {
            read.refuse(
                key,
                "client certificates are not supported; use USER:PASSWORD@ in the URL",
            );
        }
    }
}

/// Reads the timeout. As in Ceilometer, a value that is not a number stands for the default; it is
/// logged.
fn timeout(read: &UrlOptions<'_>) -> Duration {
    let default = Duration::from_secs_f64(DEFAULT_TIMEOUT);
    if let Some(text) = read.text_of_query("timeout")
        && text.trim().parse::<f64>().is_err()
    {
        log::warn(&format!("timeout={text} is not a number; using {DEFAULT_TIMEOUT} s"));
        return default;
    }
    let seconds = read.number("timeout").unwrap_or(DEFAULT_TIMEOUT);
    if seconds > 0.0 && seconds <= MAX_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("expected more than 0 and at most {MAX_TIMEOUT} seconds"));
    default
}

fn authorization(read: &UrlOptions<'_>) -> Option<String> {
    Some(basic(read.user()?, url_part(read, "password").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(scheme: &str, query: &Value) -> Result<Receiver, Vec<OptionError>> {
        let options = json!({
            "scheme": scheme, "host": "h", "port": null, "path": "/path", "query": query,
        });
        Receiver::read(&options, &["own"])
    }

    // Verified with Ceilometer itself.
    #[test]
    fn all_options_of_a_url_are_read() {
        let options = json!({
            "scheme": "http", "host": "h", "port": 80, "path": "/path", "user": "u", "password": "p",
            "query": {"timeout": ["7"], "max_retries": ["3"], "batch": ["False"],
                      "verify_ssl": ["False"], "q": ["foo", "bar"]},
        });
        let read = Receiver::read(&options, &[]).unwrap();
        assert_eq!((read.tls, read.authority.as_str(), read.batch), (false, "h:80", false));
        assert_eq!(read.path_with_query(""), "/path?q=foo&q=bar");
        assert_eq!(read.timeout, Duration::from_secs(7));
        assert_eq!(read.authorization(), Some("Basic dTpw"));
        assert!(!format!("{read:?}").contains("dTpw"));
    }

    #[test]
    fn tls_is_enabled_by_the_scheme_or_by_ssl() {
        for (scheme, query, wanted) in [
            ("http", json!({"ssl": ["true"]}), "h:80"),
            ("https", json!({}), "h:443"),
            ("prometheus", json!({}), "h:80"),
            ("prometheus", json!({"ssl": ["True"]}), "h:443"),
            ("prometheus", json!({"ssl": ["no"]}), "h:80"),
        ] {
            let read = read(scheme, &query).unwrap();
            assert_eq!(read.authority, wanted);
            assert_eq!(read.tls, wanted.ends_with("443"));
        }
    }

    #[test]
    fn options_about_certificates_are_refused_over_tls() {
        let query =
            json!({"verify_ssl": ["/etc/ca.pem"], "clientcert": ["/c"], "clientkey": ["/k"]});
        let errors = read("https", &query).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(pointers, ["/query/verify_ssl", "/query/clientcert", "/query/clientkey"]);
        assert!(read("https", &json!({"verify_ssl": ["False"]})).is_err());
        assert!(read("https", &json!({"verify_ssl": ["yes"]})).is_ok());
        assert!(read("http", &query).is_ok());
    }

    #[test]
    fn a_malformed_timeout_is_ignored_and_one_out_of_range_is_refused() {
        assert_eq!(read("http", &json!({"timeout": ["soon"]})).unwrap().timeout.as_secs(), 5);
        assert_eq!(
            read("http", &json!({"timeout": ["-1"]})).unwrap_err()[0].pointer,
            "/query/timeout"
        );
        let block = json!({"host": "h", "scheme": "http", "timeout": 2.5, "batch": false});
        let read = Receiver::read(&block, &[]).unwrap();
        assert_eq!((read.timeout, read.batch), (Duration::from_millis(2500), false));
    }

    // Regression: `?path=/x` changed the path of the request, `?scheme=https` enabled TLS.
    #[test]
    fn query_keys_named_like_url_parts_are_sent_to_the_receiver() {
        let query = json!({"path": ["/x"], "scheme": ["https"], "password": ["p"]});
        let read = read("http", &query).unwrap();
        assert_eq!(read.path_with_query(""), "/path?password=p&path=%2Fx&scheme=https");
        assert_eq!((read.tls, read.authorization()), (false, None));
    }

    #[test]
    fn unknown_query_keys_are_sent() {
        let query = json!({"a b": ["ü", ""], "own": ["x"], "timeout": ["1"]});
        assert_eq!(
            read("http", &query).unwrap().path_with_query("/x"),
            "/path/x?a%20b=%C3%BC&a%20b="
        );
        let bare = Receiver::read(&json!({"host": "::1", "path": ""}), &[]).unwrap();
        assert_eq!((bare.authority.as_str(), bare.path()), ("[::1]:80", "/"));
    }
}
