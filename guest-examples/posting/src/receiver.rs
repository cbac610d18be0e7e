//! The options, as Ceilometer's `http` publisher and those that inherit from it have them.

use serde_json::Value;
use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{OptionError, UrlOptions, log};
use nephometer_guest_http::{authority, basic, escaped};

const USUAL_TIMEOUT: f64 = 5.0;
const LONGEST_TIMEOUT: f64 = 300.0;

/// Options that are not part of the query that is sent.
const KNOWN: [&str; 9] = [
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

/// Where requests go, and how.
#[derive(Clone, PartialEq)]
pub struct Receiver {
    /// Over TLS.
    pub tls: bool,
    /// `HOST:PORT`.
    pub authority: String,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// One request for all samples of an envelope, where the publisher leaves the choice.
    pub batch: bool,
    path: String,
    query: String,
    /// A secret.
    authorization: Option<String>,
}

// The header is a secret, and the rest is what a person looks for.
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
    /// Reads the options; `own` names further ones that the publisher reads by itself, which are
    /// no part of the query either. What is in the query and known to nobody is sent.
    ///
    /// # Errors
    /// All that is wrong with them, each with its place.
    pub fn read(options: &Value, own: &[&str]) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let known: Vec<&str> = KNOWN.iter().chain(own).copied().collect();
        read.warn_of_unknown_in_block(&known);
        let tls = match of_the_url(&read, "scheme") {
            Some("https") => true,
            Some("http") => false,
            _ => said(&read, "ssl").is_some_and(|word| is_on(&word)),
        };
        if tls {
            refuse_own_trust(&read);
        }
        let host = read.host().unwrap_or_default();
        let made = Self {
            tls,
            authority: authority(&host, read.port(if tls { 443 } else { 80 })),
            timeout: timeout(&read),
            batch: said(&read, "batch").is_none_or(|word| is_on(&word)),
            path: path(&read),
            query: query(options, &known),
            authorization: authorization(&read),
        };
        let errors = errors.take();
        if errors.is_empty() { Ok(made) } else { Err(errors) }
    }

    /// The path with what is `below` it, and the query: `/path/below?q=x`.
    pub fn path_with_query(&self, below: &str) -> String {
        format!("{}{below}{}", self.path, self.query)
    }

    /// The path, escaped as the URL has it.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

/// A part of the URL, or of the block where the URL has none. The query is the receiver's: what it
/// has under such a name is sent, and means nothing here.
fn of_the_url<'a>(read: &UrlOptions<'a>, part: &str) -> Option<&'a str> {
    read.value(part).and_then(Value::as_str)
}

fn path(read: &UrlOptions<'_>) -> String {
    // Characters that no request line can have; the rest is sent as it is written.
    let mut path: String = String::new();
    for byte in of_the_url(read, "path").unwrap_or_default().bytes() {
        if byte.is_ascii_graphic() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

/// What is left of the query: `?a=1&a=2`, or nothing.
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

/// What an option says, as the query would have it.
fn said(read: &UrlOptions<'_>, key: &str) -> Option<String> {
    if let Some(text) = read.text_of_query(key) {
        return Some(text.trim().to_lowercase());
    }
    match read.value(key)? {
        Value::String(text) => Some(text.trim().to_lowercase()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => {
            read.refuse(key, "has to be true or false");
            None
        }
    }
}

/// A switch in any of the words that Ceilometer takes for on; others are off there, and here.
fn is_on(word: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].contains(&word)
}

/// The host verifies certificates, with the roots that this machine trusts, and offers none.
fn refuse_own_trust(read: &UrlOptions<'_>) {
    const ROOTS: &str = "certificates are always verified, with the roots that this machine trusts; \
                         add the receiver's to those, or name a file of roots in SSL_CERT_FILE";
    if said(read, "verify_ssl").is_some_and(|word| !word.is_empty() && !is_on(&word)) {
        read.refuse("verify_ssl", ROOTS);
    }
    for key in ["clientcert", "clientkey"] {
        if read.text(key).is_some_and(|text| !text.is_empty()) {
            read.refuse(
                key,
                "client certificates are not in this version; log in with USER:PASSWORD@",
            );
        }
    }
}

/// As upstream, a word that is no number is as good as none; it is told.
fn timeout(read: &UrlOptions<'_>) -> Duration {
    let usual = Duration::from_secs_f64(USUAL_TIMEOUT);
    if let Some(text) = read.text_of_query("timeout")
        && text.trim().parse::<f64>().is_err()
    {
        log::warn(&format!("timeout={text} is no number of seconds; {USUAL_TIMEOUT} are taken"));
        return usual;
    }
    let seconds = read.number("timeout").unwrap_or(USUAL_TIMEOUT);
    if seconds > 0.0 && seconds <= LONGEST_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("has to be more than 0 and at most {LONGEST_TIMEOUT} seconds"));
    usual
}

fn authorization(read: &UrlOptions<'_>) -> Option<String> {
    Some(basic(read.user()?, of_the_url(read, "password").unwrap_or_default()))
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

    // The one that was run through Ceilometer itself.
    #[test]
    fn a_url_with_all_options() {
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
    fn the_scheme_or_ssl_says_whether_it_is_tls() {
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
    fn trust_is_the_hosts() {
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
    fn what_is_no_number_is_as_good_as_none_and_what_is_no_time_is_refused() {
        assert_eq!(read("http", &json!({"timeout": ["soon"]})).unwrap().timeout.as_secs(), 5);
        assert_eq!(
            read("http", &json!({"timeout": ["-1"]})).unwrap_err()[0].pointer,
            "/query/timeout"
        );
        let block = json!({"host": "h", "scheme": "http", "timeout": 2.5, "batch": false});
        let read = Receiver::read(&block, &[]).unwrap();
        assert_eq!((read.timeout, read.batch), (Duration::from_millis(2500), false));
    }

    // A query of the receiver's once moved the request: `?path=/x` went to /x, `?scheme=` to TLS.
    #[test]
    fn names_of_parts_in_the_query_are_the_receivers() {
        let query = json!({"path": ["/x"], "scheme": ["https"], "password": ["p"]});
        let read = read("http", &query).unwrap();
        assert_eq!(read.path_with_query(""), "/path?password=p&path=%2Fx&scheme=https");
        assert_eq!((read.tls, read.authorization()), (false, None));
    }

    #[test]
    fn what_nobody_knows_is_sent() {
        let query = json!({"a b": ["ü", ""], "own": ["x"], "timeout": ["1"]});
        assert_eq!(
            read("http", &query).unwrap().path_with_query("/x"),
            "/path/x?a%20b=%C3%BC&a%20b="
        );
        let bare = Receiver::read(&json!({"host": "::1", "path": ""}), &[]).unwrap();
        assert_eq!((bare.authority.as_str(), bare.path()), ("[::1]:80", "/"));
    }
}
