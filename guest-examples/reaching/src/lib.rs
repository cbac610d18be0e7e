//! `reaching`: asks the URL that the option `reach` names, for tests of the host's grants.
//!
//! An answer with status 200 to 299 settles the envelope; every other answer, and every error, is
//! a permanent failure whose text says what came.

use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, UrlOptions, log, settings,
};
use nephometer_guest_http::{HttpError, Request, send};

/// What to ask, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Reaching {
    tls: bool,
    authority: String,
    path: String,
}

impl Publisher for Reaching {
    fn describe() -> Description {
        Description {
            name: "reaching".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "asks a URL".to_owned(),
            options_schema: r#"{"type": "object", "properties": {"reach": {"type": "string"}}}"#
                .to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let made = read.text("reach").and_then(taken_apart);
        if made.is_none() {
            read.refuse("reach", "has to be http://HOST[:PORT][/PATH] or the same with https");
        }
        let errors = errors.take();
        made.filter(|_| errors.is_empty()).map(|made| (made, settings())).ok_or(errors)
    }

    fn publish(&mut self, _: Delivery) -> Result<(), Failure> {
        let answer = send(&Request {
            method: "GET",
            tls: self.tls,
            authority: &self.authority,
            path_with_query: &self.path,
            headers: &[],
            body: &[],
            timeout: Duration::from_secs(5),
            read_at_most: 1024,
        });
        let text = match answer {
            Ok(answer) => {
                log::info(&format!("status {} from {}", answer.status, self.authority));
                if (200..300).contains(&answer.status) {
                    return Ok(());
                }
                format!("status {}: {}", answer.status, answer.first_line())
            }
            Err(HttpError::Refused(reason)) => format!("refused: {reason}"),
            Err(HttpError::Failed(reason)) => format!("failed: {reason}"),
        };
        Err(Failure::Permanent(text))
    }
}

fn taken_apart(url: &str) -> Option<Reaching> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    if authority.is_empty() {
        return None;
    }
    let path = if path.is_empty() { "/" } else { path };
    Some(Reaching { tls, authority: authority.to_owned(), path: path.to_owned() })
}

nephometer_guest_http::export_http_publisher!(Reaching);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let read = taken_apart("http://127.0.0.1:80/a?b").unwrap();
        assert_eq!(
            (read.tls, read.authority.as_str(), read.path.as_str()),
            (false, "127.0.0.1:80", "/a?b")
        );
        assert_eq!(taken_apart("https://x").unwrap().path, "/");
        assert_eq!((taken_apart("ftp://x"), taken_apart("http:///x")), (None, None));
    }
}
