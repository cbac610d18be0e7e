//! The options of a publisher: the parts of its URL beside its own block.

use serde_json::Value;
use std::cell::RefCell;

use crate::{OptionError, OptionReader};

/// Reads what `configure` of a publisher is given: `{url, scheme, host, port, path, user,
/// password, query: {name: [values]}}` merged with the keys of its own block.
///
/// A setting may stand in the query of the URL or in the block; the query wins, as it belongs to
/// one place in `pipeline.yaml`, and the block to all. Errors are collected in the list that
/// [`OptionReader`] shares, at the place where the value stands.
#[derive(Debug)]
pub struct UrlOptions<'a> {
    whole: OptionReader<'a>,
    query: OptionReader<'a>,
}

impl<'a> UrlOptions<'a> {
    /// Reads the whole of the options.
    pub fn new(options: &'a Value, errors: &'a RefCell<Vec<OptionError>>) -> Self {
        let whole = OptionReader::new(options, errors);
        let query = whole.object("query");
        Self { whole, query }
    }

    /// The host of the URL, without the brackets of an IPv6 address; an error if there is none.
    pub fn host(&self) -> Option<String> {
        let host = self.whole.text("host").unwrap_or_default();
        if host.is_empty() {
            self.whole.refuse("host", "the URL names no host; it has to be SCHEME://HOST[:PORT]");
            return None;
        }
        Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    /// The port of the URL, or the one that is usual.
    pub fn port(&self, usual: u16) -> u16 {
        let Some(value) = self.whole.value("port") else { return usual };
        let port = value.as_u64().and_then(|number| u16::try_from(number).ok());
        match port {
            Some(port) if port != 0 => port,
            _ => {
                self.whole.refuse("port", "has to be a number from 1 to 65535");
                usual
            }
        }
    }

    /// The path of the URL without the slash that it begins with, `%` escapes taken out.
    pub fn path(&self) -> String {
        let path = self.whole.text("path").unwrap_or_default();
        percent_decoded(path.strip_prefix('/').unwrap_or(path))
    }

    /// The user of the URL or the block.
    pub fn user(&self) -> Option<&'a str> {
        self.whole.text("user").filter(|user| !user.is_empty())
    }

    /// A text of the query, else of the block. Given several times in the query, the last counts.
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
            self.query.refuse(key, format!("is {text:?}; it has to be a number"));
        }
        number
    }

    /// A switch of the query (`true`, `false`, or the bare name for true), else of the block.
    pub fn flag(&self, key: &str) -> Option<bool> {
        if let Some(text) = self.text_of_query(key) {
            match text {
                "true" | "yes" | "1" | "" => return Some(true),
                "false" | "no" | "0" => return Some(false),
                _ => self.query.refuse(key, format!("is {text:?}; it has to be true or false")),
            }
            return None;
        }
        let value = self.whole.value(key)?;
        if value.as_bool().is_none() {
            self.whole.refuse(key, "has to be true or false");
        }
        value.as_bool()
    }

    /// A value of the block as it stands; the query is not asked.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.whole.value(key)
    }

    /// What the query alone says, as it is written there; the last, if it says it several times.
    pub fn text_of_query(&self, key: &str) -> Option<&'a str> {
        match self.query.value(key)? {
            Value::Array(values) => values.last()?.as_str(),
            other => other.as_str(),
        }
    }

    /// Notes that something is wrong with a setting, where it stands.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) {
        let reader = if self.query.value(key).is_some() { &self.query } else { &self.whole };
        reader.refuse(key, reason);
    }

    /// Accepts settings that nobody reads, and says so in the log. `known` need not name the parts
    /// of the URL.
    pub fn warn_of_unknown(&self, known: &[&str]) {
        self.warn_of_unknown_in_block(known);
        self.query.warn_of_unknown(known);
    }

    /// The same, where the query may have keys that are the receiver's.
    pub fn warn_of_unknown_in_block(&self, known: &[&str]) {
        const PARTS: [&str; 8] =
            ["url", "scheme", "host", "port", "path", "user", "password", "query"];
        let all: Vec<&str> = PARTS.iter().chain(known).copied().collect();
        self.whole.warn_of_unknown(&all);
    }
}

/// Takes out `%XX`; what is no such escape stays as it is, and what is no UTF-8 is replaced.
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
    fn the_query_wins_over_the_block_and_errors_name_their_place() {
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
    fn a_url_without_a_host_or_with_a_port_out_of_range_is_refused() {
        let options = serde_json::json!({"host": null, "port": 70000});
        let errors = RefCell::default();
        let read = UrlOptions::new(&options, &errors);
        assert_eq!((read.host(), read.port(8086)), (None, 8086));
        let pointers: Vec<_> = errors.take().into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/host", "/port"]);
    }
}
