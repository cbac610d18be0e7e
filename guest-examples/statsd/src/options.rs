//! The options of the URL and of the block.

use serde_json::Value;
use std::cell::RefCell;

use nephometer_guest::{OptionError, UrlOptions};

use crate::name;

const DEFAULT_PORT: u16 = 8125;

/// How cumulative meters are sent; StatsD has no such type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cumulative {
    /// The reading, as a gauge.
    Gauge,
    /// The growth since the previous reading, as a counter.
    Counter,
    /// Not at all.
    Skip,
}

/// Where samples are sent, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The prefix of each name, with its dot; may be empty.
    pub prefix: String,
    /// Whether the id of the resource follows the name of the meter.
    pub resource: bool,
    /// How cumulative meters are sent.
    pub cumulative: Cumulative,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// All errors, each with its pointer.
    pub fn read(options: &Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        read.warn_of_unknown(&["prefix", "resource", "cumulative"]);
        if !read.path().is_empty() {
            read.refuse("path", "StatsD has no paths; expected statsd://HOST[:PORT]?prefix=...");
        }
        let checked = Self {
            host: read.host().unwrap_or_default(),
            port: read.port(DEFAULT_PORT),
            prefix: prefix(read.text("prefix").unwrap_or_default()),
            resource: read.flag("resource").unwrap_or(true),
            cumulative: cumulative(&read),
        };
        let errors = errors.take();
        if errors.is_empty() { Ok(checked) } else { Err(errors) }
    }
}

fn prefix(text: &str) -> String {
    match text.trim_matches('.') {
        "" => String::new(),
        text => format!("{}.", name::levels(text)),
    }
}

fn cumulative(read: &UrlOptions<'_>) -> Cumulative {
    match read.text("cumulative") {
        None | Some("gauge") => Cumulative::Gauge,
        Some("counter") => Cumulative::Counter,
        Some("skip") => Cumulative::Skip,
        Some(other) => {
            read.refuse("cumulative", format!("is {other:?}; expected gauge, counter or skip"));
            Cumulative::Gauge
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_from_the_query_and_the_block() {
        let options = json!({
            "host": "[::1]", "port": 9125, "path": "", "query": {"prefix": ["cloud:a.b."]},
            "cumulative": "counter", "resource": false,
        });
        let wanted = Options {
            host: "::1".to_owned(),
            port: 9125,
            prefix: "cloud_a.b.".to_owned(),
            resource: false,
            cumulative: Cumulative::Counter,
        };
        assert_eq!(Options::read(&options).unwrap(), wanted);
        let usual = Options::read(&json!({"host": "h", "path": "/"})).unwrap();
        assert_eq!((usual.port, usual.prefix.as_str(), usual.resource), (8125, "", true));
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let options = json!({"path": "/x", "query": {"cumulative": ["rate"], "resource": ["?"]}});
        let errors = Options::read(&options).unwrap_err();
        let mut pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/host", "/path", "/query/cumulative", "/query/resource"]);
    }
}
