//! `{{name}}`: posts the samples of each envelope as one JSON array.
//!
//! `{{name}}://HOST:PORT/PATH?options`; the README describes the options and the handling of
//! responses.

use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, TextForm, UrlOptions,
    settings,
};
use nephometer_guest_http::{
    HttpError, Request, Response, authority, basic, export_http_publisher, outcome, send,
};
use serde_json::Value;

/// In seconds.
const DEFAULT_TIMEOUT: f64 = 5.0;
const MAX_TIMEOUT: f64 = 300.0;
/// Response bodies are cut after this many bytes: enough for an error message.
const READ_AT_MOST: usize = 2048;

/// The configured publisher. It keeps nothing between envelopes.
pub struct Poster {
    tls: bool,
    authority: String,
    path: String,
    /// The header `authorization`: a secret.
    authorization: Option<String>,
    timeout: Duration,
}

impl Publisher for Poster {
    fn describe() -> Description {
        Description {
            name: "{{name}}".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "posts samples as JSON".to_owned(),
            options_schema: include_str!("../options.schema.json").to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        read.warn_of_unknown(&["tls", "timeout"]);
        let tls = read.flag("tls").unwrap_or(false);
        let host = read.host().unwrap_or_default();
        let poster = Self {
            tls,
            authority: authority(&host, read.port(if tls { 443 } else { 80 })),
            path: path(&read),
            authorization: authorization(&read),
            timeout: timeout(&read),
        };
        let errors = errors.take();
        // The host adds each sample as JSON text; `rows(&delivery.input)` iterates over the
        // columns.
        let settings = Settings { texts: TextForm::Samples, ..settings() };
        if errors.is_empty() { Ok((poster, settings)) } else { Err(errors) }
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        if delivery.texts.is_empty() {
            return Ok(());
        }
        let mut headers = vec![
            ("content-type", "application/json"),
            // The same on every attempt, so that a receiver can drop repetitions.
            ("idempotency-key", delivery.id.as_str()),
        ];
        headers.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        result(send(&Request {
            method: "POST",
            tls: self.tls,
            authority: &self.authority,
            path_with_query: &self.path,
            headers: &headers,
            body: body(&delivery.texts).as_bytes(),
            timeout: self.timeout,
            read_at_most: READ_AT_MOST,
        }))
    }
}

/// One JSON array of all samples.
fn body(texts: &[String]) -> String {
    format!("[{}]", texts.join(",\n"))
}

/// Acknowledges the envelope if the receiver has it. Otherwise it is retried (`Retryable`),
/// rejected (`Permanent`), or kept with all others until an operator acts (`Broken`).
fn result(response: Result<Response, HttpError>) -> Result<(), Failure> {
    outcome("the receiver", response).map(drop)
}

fn path(read: &UrlOptions<'_>) -> String {
    // As it is written, with its escapes.
    let path = read.value("path").and_then(Value::as_str).unwrap_or_default();
    if !path.bytes().all(|one| one.is_ascii_graphic()) {
        read.refuse("path", "contains characters that must be escaped, such as %20 for a space");
    }
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

fn authorization(read: &UrlOptions<'_>) -> Option<String> {
    let password = read.value("password").and_then(Value::as_str).unwrap_or_default();
    read.user().map(|user| basic(user, password))
}

fn timeout(read: &UrlOptions<'_>) -> Duration {
    let seconds = read.number("timeout").unwrap_or(DEFAULT_TIMEOUT);
    if seconds > 0.0 && seconds <= MAX_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("expected more than 0 and at most {MAX_TIMEOUT} seconds"));
    Duration::from_secs_f64(DEFAULT_TIMEOUT)
}

export_http_publisher!(Poster);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result_of(status: u16) -> Result<(), Failure> {
        result(Ok(Response { status, ..Response::default() }))
    }

    #[test]
    fn options_are_read_from_the_url_and_the_block() {
        let options = json!({
            "host": "::1", "port": 8080, "path": "/a%20b", "user": "u", "password": "p",
            "query": {"timeout": ["2.5"]}, "timeout": 9,
        });
        let (poster, settings) = Poster::configure(&options).expect("good options");
        assert_eq!((poster.authority.as_str(), poster.path.as_str()), ("[::1]:8080", "/a%20b"));
        assert_eq!((poster.tls, poster.timeout), (false, Duration::from_millis(2500)));
        assert_eq!(poster.authorization.as_deref(), Some("Basic dTpw"));
        assert_eq!(settings.texts, TextForm::Samples);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let options = json!({"path": "/a b", "query": {"timeout": ["0"], "tls": ["perhaps"]}});
        let errors = Poster::configure(&options).err().expect("errors");
        let mut pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/host", "/path", "/query/timeout", "/query/tls"]);
    }

    #[test]
    fn a_body_is_one_array() {
        let texts = [r#"{"name": "cpu"}"#, r#"{"name": "vcpus"}"#].map(str::to_owned);
        let read: Value = serde_json::from_str(&body(&texts)).expect("JSON");
        assert_eq!(read, json!([{"name": "cpu"}, {"name": "vcpus"}]));
    }

    #[test]
    fn responses_map_to_failures() {
        assert_eq!(result_of(204), Ok(()));
        for status in [429, 503] {
            assert!(matches!(result_of(status), Err(Failure::Retryable(_))), "{status}");
        }
        assert!(matches!(result_of(400), Err(Failure::Permanent(_))));
        assert!(matches!(result_of(401), Err(Failure::Broken(_))));
        let unreachable = HttpError::Failed("connection refused".to_owned());
        assert!(matches!(result(Err(unreachable)), Err(Failure::Retryable(_))));
    }
}
