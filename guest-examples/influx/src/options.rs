//! The options of the URL and of the block.

use serde_json::Value;
use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{OptionError, UrlOptions, escape_pointer};
use nephometer_guest_http::{authority, basic, escaped};

use crate::line::{Lines, Measurement};

const DEFAULT_PORT: u16 = 8086;
/// In seconds, well below the default of the host's `limits.wall`.
const DEFAULT_TIMEOUT: f64 = 5.0;
const MAX_TIMEOUT: f64 = 300.0;
const KNOWN: [&str; 9] = [
    "measurement",
    "tags",
    "tls",
    "timeout",
    "username",
    "password",
    "token",
    "retention_policy",
    "consistency",
];

/// The options, checked.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// Whether to use TLS.
    pub tls: bool,
    /// `HOST:PORT`.
    pub authority: String,
    /// `/write?...`.
    pub path_with_query: String,
    /// The header `authorization`: a secret.
    pub authorization: Option<String>,
    /// The time limit of one write.
    pub timeout: Duration,
    /// Converts samples to lines.
    pub lines: Lines,
}

// Without the authorization header, which is a secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("tls", &self.tls)
            .field("authority", &self.authority)
            .field("path_with_query", &self.path_with_query)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// All errors, each with its pointer.
    pub fn read(options: &Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        read.warn_of_unknown(&KNOWN);
        let host = read.host().unwrap_or_default();
        let checked = Self {
            tls: read.flag("tls").unwrap_or(false),
            authority: authority(&host, read.port(DEFAULT_PORT)),
            path_with_query: path_with_query(&read),
            authorization: authorization(&read),
            timeout: timeout(&read),
            lines: Lines { measurement: measurement(&read), tags: tags(&read, &errors) },
        };
        let errors = errors.take();
        if errors.is_empty() { Ok(checked) } else { Err(errors) }
    }
}

fn path_with_query(read: &UrlOptions<'_>) -> String {
    let database = read.path();
    let database = database.trim_end_matches('/');
    if database.is_empty() {
        read.refuse("path", "the URL has no database; expected influx://HOST[:PORT]/DATABASE");
    }
    let mut text = format!("/write?db={}&precision=ns", escaped(database));
    if let Some(policy) = read.text("retention_policy") {
        text.push_str(&format!("&rp={}", escaped(policy)));
    }
    match read.text("consistency") {
        None => {}
        Some(level @ ("any" | "one" | "quorum" | "all")) => {
            text.push_str(&format!("&consistency={level}"));
        }
        Some(other) => {
            read.refuse("consistency", format!("is {other:?}; expected any, one, quorum or all"));
        }
    }
    text
}

fn authorization(read: &UrlOptions<'_>) -> Option<String> {
    let user = read.text("username").filter(|user| !user.is_empty()).or_else(|| read.user());
    let token = read.text("token").filter(|token| !token.is_empty());
    let value = match (token, user) {
        (Some(_), Some(_)) => {
            read.refuse("token", "a token and a user name are two ways to log in; give one");
            return None;
        }
        (Some(token), None) => format!("Token {token}"),
        (None, Some(user)) => {
            let password = read.text("password").unwrap_or_default();
            basic(user, password)
        }
        (None, None) => return None,
    };
    if value.chars().any(char::is_control) {
        read.refuse("token", "contains a line break or another control character");
        return None;
    }
    Some(value)
}

fn timeout(read: &UrlOptions<'_>) -> Duration {
    let seconds = read.number("timeout").unwrap_or(DEFAULT_TIMEOUT);
    if seconds > 0.0 && seconds <= MAX_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("expected more than 0 and at most {MAX_TIMEOUT} seconds"));
    Duration::from_secs_f64(DEFAULT_TIMEOUT)
}

fn measurement(read: &UrlOptions<'_>) -> Measurement {
    match read.text("measurement") {
        None => Measurement::OfMeter,
        Some("") => {
            read.refuse("measurement", "is empty; leave it out to name measurements after meters");
            Measurement::OfMeter
        }
        Some(name) => Measurement::Fixed(name.to_owned()),
    }
}

/// Tag names and their paths into the metadata.
fn tags(read: &UrlOptions<'_>, errors: &RefCell<Vec<OptionError>>) -> Vec<(String, String)> {
    let Some(value) = read.value("tags") else { return Vec::new() };
    let Some(object) = value.as_object() else {
        read.refuse("tags", "expected a mapping of tag names to paths into the metadata");
        return Vec::new();
    };
    let mut tags = Vec::new();
    for (name, path) in object {
        let reason = match path.as_str() {
            _ if name.is_empty() => "a tag needs a name",
            _ if name == "time" || name.starts_with('_') => "InfluxDB reserves this name",
            _ if Lines::OWN_TAGS.contains(&name.as_str()) => "every sample already has this tag",
            None | Some("" | "*") => "expected a path into the metadata, such as flavor.name",
            Some(path) => {
                tags.push((name.clone(), path.to_owned()));
                continue;
            }
        };
        let pointer = format!("/tags/{}", escape_pointer(name));
        errors.borrow_mut().push(OptionError { pointer, reason: reason.to_owned() });
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_are_converted_to_requests() {
        let options = json!({
            "host": "db", "port": null, "path": "/metering%20data", "user": null,
            "query": {"timeout": ["2.5"], "retention_policy": ["a week"]},
        });
        let read = Options::read(&options).unwrap();
        assert_eq!(read.authority, "db:8086");
        assert_eq!(read.path_with_query, "/write?db=metering%20data&precision=ns&rp=a%20week");
        assert_eq!(read.timeout, Duration::from_millis(2500));
        assert_eq!((read.tls, read.authorization), (false, None));
    }

    #[test]
    fn authentication_is_by_user_or_by_token() {
        let with = |more: Value| {
            let mut options = json!({"host": "db", "path": "/d"});
            let more = more.as_object().unwrap().clone();
            options.as_object_mut().unwrap().extend(more);
            Options::read(&options)
        };
        let basic = Some("Basic dTpw".to_owned());
        assert_eq!(with(json!({"user": "u", "password": "p"})).unwrap().authorization, basic);
        assert_eq!(with(json!({"username": "u", "password": "p"})).unwrap().authorization, basic);
        let token = with(json!({"token": "t"})).unwrap();
        assert_eq!(token.authorization.as_deref(), Some("Token t"));
        assert!(!format!("{token:?}").contains("Token"));
        assert_eq!(with(json!({"token": "t", "user": "u"})).unwrap_err()[0].pointer, "/token");
        assert_eq!(with(json!({"token": "a\r\nb"})).unwrap_err()[0].pointer, "/token");
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let options = json!({
            "host": "", "path": "/", "query": {"timeout": ["0"], "consistency": ["some"]},
            "tags": {"time": "a", "meter": "b", "ok": "flavor.name", "x/y": 5}, "measurement": "",
        });
        let errors = Options::read(&options).unwrap_err();
        let mut pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
        pointers.sort_unstable();
        let wanted = [
            "/host",
            "/measurement",
            "/path",
            "/query/consistency",
            "/query/timeout",
            "/tags/meter",
            "/tags/time",
            "/tags/x~1y",
        ];
        assert_eq!(pointers, wanted);
    }
}
