//! `{{name}}`: posts the samples of each envelope as one JSON array.
//!
//! `{{name}}://HOST:PORT/PATH?options`; see the README for the options and for what becomes of an
//! answer.

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

const USUAL_TIMEOUT: f64 = 5.0;
const LONGEST_TIMEOUT: f64 = 300.0;
/// The most of an answer that is read: enough for its error.
const READ_AT_MOST: usize = 2048;

/// The configured publisher. It keeps nothing between envelopes.
pub struct Poster {
    tls: bool,
    authority: String,
    path: String,
    /// The header of that name: a secret.
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
        let made = Self {
            tls,
            authority: authority(&host, read.port(if tls { 443 } else { 80 })),
            path: path(&read),
            authorization: authorization(&read),
            timeout: timeout(&read),
        };
        let errors = errors.take();
        // The host writes each sample as JSON; `rows(&delivery.input)` has them as they are.
        let settings = Settings { texts: TextForm::Samples, ..settings() };
        if errors.is_empty() { Ok((made, settings)) } else { Err(errors) }
    }

    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure> {
        if delivery.texts.is_empty() {
            return Ok(());
        }
        let mut headers = vec![
            ("content-type", "application/json"),
            // The same on every attempt: a receiver can tell what it has already.
            ("idempotency-key", delivery.id.as_str()),
        ];
        headers.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        settled(send(&Request {
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

/// One array of all samples.
fn body(texts: &[String]) -> String {
    format!("[{}]", texts.join(",\n"))
}

/// Whether the receiver has the envelope; if not, whether it is tried again (`Retryable`), set
/// aside (`Permanent`), or kept with all others until someone acts (`Broken`).
fn settled(answer: Result<Response, HttpError>) -> Result<(), Failure> {
    outcome("the receiver", answer).map(drop)
}

fn path(read: &UrlOptions<'_>) -> String {
    // As it is written, escapes and all.
    let path = read.value("path").and_then(Value::as_str).unwrap_or_default();
    if !path.bytes().all(|one| one.is_ascii_graphic()) {
        read.refuse("path", "has characters that a URL has to escape, such as %20 for a space");
    }
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

fn authorization(read: &UrlOptions<'_>) -> Option<String> {
    let password = read.value("password").and_then(Value::as_str).unwrap_or_default();
    read.user().map(|user| basic(user, password))
}

fn timeout(read: &UrlOptions<'_>) -> Duration {
    let seconds = read.number("timeout").unwrap_or(USUAL_TIMEOUT);
    if seconds > 0.0 && seconds <= LONGEST_TIMEOUT {
        return Duration::from_secs_f64(seconds);
    }
    read.refuse("timeout", format!("has to be more than 0 and at most {LONGEST_TIMEOUT} seconds"));
    Duration::from_secs_f64(USUAL_TIMEOUT)
}

export_http_publisher!(Poster);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16) -> Result<(), Failure> {
        settled(Ok(Response { status, ..Response::default() }))
    }

    #[test]
    fn a_url_becomes_what_is_asked() {
        let options = json!({
            "host": "::1", "port": 8080, "path": "/a%20b", "user": "u", "password": "p",
            "query": {"timeout": ["2.5"]}, "timeout": 9,
        });
        let (made, settings) = Poster::configure(&options).expect("good options");
        assert_eq!((made.authority.as_str(), made.path.as_str()), ("[::1]:8080", "/a%20b"));
        assert_eq!((made.tls, made.timeout), (false, Duration::from_millis(2500)));
        assert_eq!(made.authorization.as_deref(), Some("Basic dTpw"));
        assert_eq!(settings.texts, TextForm::Samples);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
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
    fn an_answer_decides_what_becomes_of_the_envelope() {
        assert_eq!(answer(204), Ok(()));
        for status in [429, 503] {
            assert!(matches!(answer(status), Err(Failure::Retryable(_))), "{status}");
        }
        assert!(matches!(answer(400), Err(Failure::Permanent(_))));
        assert!(matches!(answer(401), Err(Failure::Broken(_))));
        let away = HttpError::Failed("connection refused".to_owned());
        assert!(matches!(settled(Err(away)), Err(Failure::Retryable(_))));
    }
}
