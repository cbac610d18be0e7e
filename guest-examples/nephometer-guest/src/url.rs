//! Reads the options of a publisher, from its URL and its block.

use serde_json::Value;
use std::cell::RefCell;

use crate::{OptionError, OptionReader};

/// Reads the options of a publisher: `{url, scheme, host, port, path, user, password, query: {name:
/// [values]}}` merged with the keys of its block.
///
/// An option may be set in the query of the URL and in the block. The query takes precedence: it
/// belongs to one place in `pipeline.yaml`, the block to all. Errors are added to the list that is
/// shared with [`OptionReader`], with the pointer of the value.
#[derive(Debug)]
pub struct UrlOptions<'a> {
    whole: OptionReader<'a>,
    query: OptionReader<'a>,
}

impl<'a> UrlOptions<'a> {
    /// A reader of the whole options.
    pub fn new(options: &'a Value, errors: &'a RefCell<Vec<OptionError>>) -> Self {
        let whole = OptionReader::new(options, errors);
        let query = whole.object("query");
        Self { whole, query }
    }

    /// The host of the URL, without the brackets of an IPv6 address; an error if there is none.
    pub fn host(&self) -> Option<String> {
        let host = self.whole.text("host").unwrap_or_default();
        if host.is_empty() {
            self.whole.refuse("host", "the URL has no host; expected SCHEME://HOST[:PORT]");
            return None;
        }
        Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    /// The port of the URL, or the default.
    pub fn port(&self, default: u16) -> u16 {
        let Some(value) = self.whole.value("port") else { return default };
        let port = value.as_u64().and_then(|number| u16::try_from(number).ok());
        match port {
            Some(port) if port != 0 => port,
            _ => {
                self.whole.refuse("port", "expected a number from 1 to 65535");
                default
            }
        }
    }

    /// The path of the URL without its first slash, with `%` escapes decoded.
    pub fn path(&self) -> String {
        let path = self.whole.text("path").unwrap_or_default();
        percent_decoded(path.strip_prefix('/').unwrap_or(path))
    }

    /// The user of the URL, else of the block.
    pub fn user(&self) -> Option<&'a str> {
        self.whole.text("user").filter(|user| !user.is_empty())
    }

    /// A string of the query, else of the block. The last one counts if the query repeats it.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        match self.text_of_query(key) {
            Some(text) => Some(text),
            None => self.whole.text(key),
        }
    }

    /// A number of the query, else of the block.
    pub fn number(&self, key: &str) -> Option<f64> {
        let Some(text) = self.text_of_query(key) else { return self.whole.number(key) };
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.query.refuse(key, format!("is {text:?}; expected a number"));
        }
        number
    }

    /// A boolean of the query (`true`, `false`, or the name alone for true), else of the block.
    pub fn flag(&self, key: &str) -> Option<bool> {
        if let Some(text) = self.text_of_query(key) {
            match text {
                "true" | "yes" | "1" | "" => return Some(true),
                "false" | "no" | "0" => return Some(false),
                _ => self.query.refuse(key, format!("is {text:?}; expected true or false")),
            }
            return None;
        }
        let value = self.whole.value(key)?;
        if value.as_bool().is_none() {
            self.whole.refuse(key, "expected true or false");
        }
        value.as_bool()
    }

    /// A value of the block or of the URL as it is; the query is ignored.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.whole.value(key)
    }

    /// A string of the query only. The last one counts if the query repeats it.
    pub fn text_of_query(&self, key: &str) -> Option<&'a str> {
        match self.query.value(key)? {
            Value::Array(values) => values.last()?.as_str(),
            other => other.as_str(),
        }
    }

    /// Adds an error for an option, in the query if it is set there.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) {
        let reader = if self.query.value(key).is_some() { &self.query } else { &self.whole };
        reader.refuse(key, reason);
    }

    /// Logs a warning for each option that is not in `known`. The parts of the URL are always
    /// known.
    pub fn warn_of_unknown(&self, known: &[&str]) {
        self.warn_of_unknown_in_block(known);
        self.query.warn_of_unknown(known);
    }

    /// The same for the block only, if other keys of the query are sent to the receiver.
    pub fn warn_of_unknown_in_block(&self, known: &[&str]) {
        const PARTS: [&str; 8] =
            ["url", "scheme", "host", "port", "path", "user", "password", "query"];
        let all: Vec<&str> = PARTS.iter().chain(known).copied().collect();
        self.whole.warn_of_unknown(&all);
    }
}

/// Decodes `%XX`. Malformed escapes are kept, invalid UTF-8 is replaced.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let escaped = match others {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_takes_precedence_and_errors_have_pointers() {
        let options = serde_json::json!({
            "url": "influx://h:1/a%20b?x=1&x=2&bad=z", "host": "[::1]", "port": 99, "path": "/a%20b%",
            "query": {"x": ["1", "2"], "bad": ["z"], "on": [""]}, "x": 7, "y": 5, "bad2": "maybe",
        });
        let errors = RefCell::default();
        let read = UrlOptions::new(&options, &errors);
        assert_eq!(read.host().as_deref(), Some("::1"));
        assert_eq!((read.port(1), read.path().as_str()), (99, "a b%"));
        assert_eq!((read.number("x"), read.number("y")), (Some(2.0), Some(5.0)));
        assert_eq!((read.flag("on"), read.flag("absent")), (Some(true), None));
        assert_eq!((read.number("bad"), read.flag("bad2")), (None, None));
        let pointers: Vec<_> = errors.take().into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/query/bad", "/bad2"]);
    }

    #[test]
    fn urls_without_host_or_with_a_port_out_of_range_are_refused() {
        let options = serde_json::json!({"host": null, "port": 70000});
        let errors = RefCell::default();
        let read = UrlOptions::new(&options, &errors);
        assert_eq!((read.host(), read.port(8086)), (None, 8086));
        let pointers: Vec<_> = errors.take().into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/host", "/port"]);
    }
}
