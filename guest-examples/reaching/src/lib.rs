//! `reaching`: requests the URL of the option `reach`, for tests of the host's grants.
//!
//! A response with status 2xx acknowledges the envelope. Every other response and every error is a
//! permanent failure whose reason contains it.

use std::cell::RefCell;
use std::time::Duration;

use nephometer_guest::{
    Delivery, Description, Failure, OptionError, Publisher, Settings, UrlOptions, log, settings,
};
use nephometer_guest_http::{HttpError, Request, send};

/// The parsed URL.
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
            summary: "requests a URL".to_owned(),
            options_schema: r#"{"type": "object", "properties": {"reach": {"type": "string"}}}"#
                .to_owned(),
            state_version: 0,
            facts: Vec::new(),
        }
    }

    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let publisher = read.text("reach").and_then(parse_url);
        if publisher.is_none() {
            read.refuse("reach", "expected http://HOST[:PORT][/PATH] or the same with https");
        }
        let errors = errors.take();
        let publisher = publisher.filter(|_| errors.is_empty());
        publisher.map(|publisher| (publisher, settings())).ok_or(errors)
    }

    fn publish(&mut self, _: Delivery) -> Result<(), Failure> {
        let response = send(&Request {
            method: "GET",
            tls: self.tls,
            authority: &self.authority,
            path_with_query: &self.path,
            headers: &[],
            body: &[],
            timeout: Duration::from_secs(5),
            read_at_most: 1024,
        });
        let text = match response {
            Ok(response) => {
                log::info(&format!("status {} from {}", response.status, self.authority));
                if (200..300).contains(&response.status) {
                    return Ok(());
                }
                format!("status {}: {}", response.status, response.first_line())
            }
            Err(HttpError::Refused(reason)) => format!("refused: {reason}"),
            Err(HttpError::Failed(reason)) => format!("failed: {reason}"),
        };
        Err(Failure::Permanent(text))
    }
}

fn parse_url(url: &str) -> Option<Reaching> {
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
    fn urls_are_parsed() {
        let read = parse_url("http://127.0.0.1:80/a?b").unwrap();
        assert_eq!(
            (read.tls, read.authority.as_str(), read.path.as_str()),
            (false, "127.0.0.1:80", "/a?b")
        );
        assert_eq!(parse_url("https://x").unwrap().path, "/");
        assert_eq!((parse_url("ftp://x"), parse_url("http:///x")), (None, None));
    }
}
