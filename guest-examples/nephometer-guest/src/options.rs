//! Reads options and collects errors.

use serde_json::{Map, Value};
use std::cell::RefCell;

use crate::{OptionError, log};

/// Reads one mapping of the options.
///
/// All readers of one set of options share a list of errors, so that all of them are reported at
/// once. A key that is absent or null is `None`; a key of another type than expected is an error,
/// and `None`.
#[derive(Debug)]
pub struct OptionReader<'a> {
    object: Option<&'a Map<String, Value>>,
    pointer: String,
    errors: &'a RefCell<Vec<OptionError>>,
}

impl<'a> OptionReader<'a> {
    /// A reader of the whole options; null is an empty mapping.
    pub fn new(options: &'a Value, errors: &'a RefCell<Vec<OptionError>>) -> Self {
        Self::at(options, String::new(), errors)
    }

    fn at(value: &'a Value, pointer: String, errors: &'a RefCell<Vec<OptionError>>) -> Self {
        let reader = Self { object: value.as_object(), pointer, errors };
        if reader.object.is_none() && !value.is_null() {
            let pointer = reader.pointer.clone();
            errors.borrow_mut().push(OptionError {
                pointer,
                reason: format!("is {}; expected a mapping of keys to values", kind(value)),
            });
        }
        reader
    }

    /// Adds an error for a key.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) {
        let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
        self.errors.borrow_mut().push(OptionError { pointer, reason: reason.into() });
    }

    /// The value of a key as it is.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.object?.get(key).filter(|value| !value.is_null())
    }

    /// The mapping under a key; an empty one if it is absent.
    pub fn object(&self, key: &str) -> OptionReader<'a> {
        let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
        Self::at(self.value(key).unwrap_or(&Value::Null), pointer, self.errors)
    }

    /// The list of mappings under a key; an empty one if it is absent.
    pub fn objects(&self, key: &str) -> Vec<OptionReader<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(list) = value.as_array() else {
            self.refuse(key, format!("is {}; expected a list", kind(value)));
            return Vec::new();
        };
        let pointer = |index: usize| format!("{}/{}/{index}", self.pointer, escape_pointer(key));
        let items = list.iter().enumerate();
        items.map(|(index, item)| Self::at(item, pointer(index), self.errors)).collect()
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.object.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// The string under a key.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.value(key)?;
        if value.as_str().is_none() {
            self.refuse(key, format!("is {}; expected a string", kind(value)));
        }
        value.as_str()
    }

    /// The number under a key; as in Python, true is 1 and false is 0.
    pub fn number(&self, key: &str) -> Option<f64> {
        let value = self.value(key)?;
        let number = match value {
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            other => other.as_f64(),
        };
        if number.is_none() {
            self.refuse(key, format!("is {}; expected a number", kind(value)));
        }
        number
    }

    /// Logs a warning for each key that is not in `known`. Ceilometer ignores such keys silently,
    /// so they are not errors, but a misspelt key should be noticed.
    pub fn warn_of_unknown(&self, known: &[&str]) {
        for key in self.object.into_iter().flat_map(Map::keys) {
            if !known.contains(&key.as_str()) {
                let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
                log::warn(&format!("unknown option {pointer} is ignored"));
            }
        }
    }
}

/// A key as part of a JSON Pointer (RFC 6901).
pub fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_the_pointer_of_its_key() {
        let options = serde_json::json!({
            "a/b": {"x": 1}, "c": [], "d": "text", "e": 5, "f": [{}, {"x": 7}],
        });
        let errors = RefCell::default();
        let reader = OptionReader::new(&options, &errors);
        assert_eq!(reader.object("a/b").text("x"), None);
        assert_eq!(reader.object("c").text("y"), None);
        assert_eq!(reader.objects("f")[1].text("x"), None);
        assert!(reader.objects("e").is_empty() && reader.objects("absent").is_empty());
        assert_eq!(reader.keys().count(), 5);
        assert_eq!(reader.number("d"), None);
        assert_eq!(reader.number("e"), Some(5.0));
        assert_eq!(reader.text("absent"), None);
        reader.warn_of_unknown(&["a/b", "c", "d", "f"]);
        let pointers: Vec<_> = errors.take().into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/a~1b/x", "/c", "/f/1/x", "/e", "/d"]);
        let lines = log::taken();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].1, "unknown option /e is ignored");
    }
}
