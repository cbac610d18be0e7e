//! Parses files into values with locations. No other module depends on YAML.
//!
//! `tree` and `scalar` parse a file like PyYAML's `safe_load`; `mirror` has the typed mirrors that
//! serde_yaml fills from the result. The module converts the bytes of a file to a [`Document`];
//! `check` interprets the values.

mod collector;
mod indent;
mod mirror;
mod node;
mod scalar;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use serde_yaml::{Mapping, Number, Value};

pub(super) use collector::*;
pub(super) use mirror::*;
use node::{Data, Entries, Entry, Node};

use super::error::{Problem, exceeded, problem};
use super::location::{Location, ValueLocations};
use nephometer_model::Bound;

/// A parsed file. Values are looked up in the tree on demand: a table of all pointers would be as
/// large as the longest key times the number of values.
pub(super) struct Document {
    root: Node,
}

/// Location and type of one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact<'a> {
    /// The location of the value.
    pub(super) location: &'a Location,
    /// Its type.
    pub(super) kind: Kind,
    /// Whether Python evaluates it as false.
    pub(super) falsy: bool,
}

/// The types that `safe_load` distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    /// `false`: infinite or not a number, which JSON cannot represent.
    Float(bool),
    Text,
    Date,
    Binary,
    List,
    Map,
}

impl Kind {
    /// The name for messages, with its article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool => "a boolean",
            Self::Int | Self::Float(true) => "a number",
            Self::Float(false) => "not a finite number",
            Self::Text => "text",
            Self::Date => "a date",
            Self::Binary => "binary data",
            Self::List => "a list",
            Self::Map => "a mapping",
        }
    }
}

impl Document {
    /// Parses the bytes of a file and appends its warnings to `warnings`.
    pub(super) fn read(
        bytes: &[u8],
        file: &str,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Problem> {
        let file: Arc<str> = Arc::from(file);
        let whole = Location { file: file.clone(), line: 0, column: 0 };
        Bound::YamlBytes.check(bytes.len()).map_err(|error| exceeded(&whole, error))?;
        let text = decode(bytes, &file)?;
        Ok(Self { root: tree::read(&text, &file, warnings)? })
    }

    /// An empty document.
    pub(super) fn empty(file: &str) -> Self {
        let location = Location { file: Arc::from(file), line: 0, column: 0 };
        Self { root: Node { location, data: Data::Null } }
    }

    /// Sets text at a path of keys, with a location in a file named `origin`. Returns false if a
    /// value on the path is not a mapping.
    pub(super) fn set(&mut self, path: &[&str], values: &[String], origin: &str) -> bool {
        let location = Location { file: Arc::from(origin), line: 0, column: 0 };
        let text =
            |text: &String| Node { location: location.clone(), data: Data::Text(text.clone()) };
        let value = match values {
            [one] => text(one),
            several => {
                let items = several.iter().map(text).collect();
                Node { location: location.clone(), data: Data::List(Arc::new(items)) }
            }
        };
        set(&mut self.root, path, value)
    }

    /// Removes the value at a path of keys if `when` is true for its location.
    pub(super) fn forget(&mut self, path: &[&str], when: impl Fn(&Location) -> bool) {
        let Some((last, before)) = path.split_last() else { return };
        let mut node = &mut self.root;
        for key in before {
            let Data::Map(entries) = &mut node.data else { return };
            let Some(entry) = Arc::make_mut(entries).get_mut(key) else { return };
            node = &mut entry.value;
        }
        if let Data::Map(entries) = &mut node.data
            && entries.get(last).is_some_and(|entry| when(&entry.value.location))
        {
            Arc::make_mut(entries).remove(last);
        }
    }

    /// The typed mirror of the whole file.
    pub(super) fn mirror<T: serde::de::DeserializeOwned>(&self) -> Field<T> {
        serde_yaml::from_value(value(&self.root)).unwrap_or(Field::Wrong)
    }

    /// The number of entries of a list; 0 for any other value.
    pub(super) fn length(&self, pointer: &str) -> usize {
        match self.node(pointer).map(|node| &node.data) {
            Some(Data::List(items)) => items.len(),
            _ => 0,
        }
    }

    /// The value at a JSON Pointer as JSON, without numbers that JSON cannot represent.
    pub(super) fn json(&self, pointer: &str) -> Option<serde_json::Value> {
        self.node(pointer).map(json)
    }

    /// The value at a JSON Pointer or its nearest existing ancestor, and whether it is the value
    /// itself.
    fn find(&self, pointer: &str) -> (&Node, bool) {
        let mut node = &self.root;
        for step in pointer.split('/').skip(1) {
            let inner = match &node.data {
                Data::List(items) => step.parse::<usize>().ok().and_then(|at| items.get(at)),
                Data::Map(entries) => entries.get(&untoken(step)).map(|entry| &entry.value),
                _ => None,
            };
            match inner {
                Some(inner) => node = inner,
                None => return (node, false),
            }
        }
        (node, true)
    }

    fn node(&self, pointer: &str) -> Option<&Node> {
        let (node, found) = self.find(pointer);
        found.then_some(node)
    }

    /// Location and type of the value at a JSON Pointer.
    pub(super) fn fact(&self, pointer: &str) -> Option<Fact<'_>> {
        let node = self.node(pointer)?;
        let (kind, falsy) = kind(node);
        Some(Fact { location: &node.location, kind, falsy })
    }

    /// The keys of a mapping in order, each with its location; none for any other value.
    pub(super) fn keys(&self, pointer: &str) -> impl Iterator<Item = (&str, &Location)> {
        let entries = match self.node(pointer).map(|node| &node.data) {
            Some(Data::Map(entries)) => Some(entries.iter()),
            _ => None,
        };
        entries.into_iter().flatten().map(|entry| (entry.key.as_str(), &entry.key_place))
    }

    /// The text of a value, if it is text.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        match &self.node(pointer)?.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The location of a value, or of its nearest existing ancestor.
    pub(super) fn location(&self, pointer: &str) -> &Location {
        &self.find(pointer).0.location
    }

    /// The locations of a value and of all values inside it.
    pub(super) fn locations(&self, pointer: &str) -> ValueLocations {
        match self.find(pointer) {
            (node, true) => locations(node),
            (context, false) => ValueLocations::new(context.location.clone(), Vec::new()),
        }
    }

    /// The pointers of at most `most` numbers inside a value that JSON cannot represent.
    pub(super) fn infinite(&self, pointer: &str, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(node) = self.node(pointer) {
            infinite(node, &mut pointer.to_owned(), most, &mut found);
        }
        found
    }
}

/// YAML of this crate as JSON; null if it is invalid.
pub(super) fn json_of(text: &str) -> serde_json::Value {
    let read = Document::read(text.as_bytes(), "", &mut Vec::new());
    read.map_or(serde_json::Value::Null, |doc| json(&doc.root))
}

fn json(node: &Node) -> serde_json::Value {
    // A key is always text, so that nothing can fail but a number.
    serde_json::to_value(value(node)).unwrap_or_default()
}

fn locations(node: &Node) -> ValueLocations {
    let within = match &node.data {
        Data::List(items) => {
            let numbered = items.iter().enumerate();
            numbered.map(|(at, item)| (at.to_string(), locations(item))).collect()
        }
        Data::Map(entries) => {
            entries.iter().map(|entry| (token(&entry.key), locations(&entry.value))).collect()
        }
        _ => Vec::new(),
    };
    ValueLocations::new(node.location.clone(), within)
}

fn infinite(node: &Node, pointer: &mut String, most: usize, found: &mut Vec<String>) {
    let mut within = |token: &str, node: &Node| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(token);
        infinite(node, pointer, most, found);
        pointer.truncate(length);
    };
    match &node.data {
        Data::List(items) => {
            items.iter().enumerate().for_each(|(at, item)| within(&at.to_string(), item));
        }
        Data::Map(entries) => {
            entries.iter().for_each(|entry| within(&token(&entry.key), &entry.value));
        }
        Data::Float(value) if !value.is_finite() && found.len() < most => {
            found.push(pointer.clone());
        }
        _ => {}
    }
}

/// Escapes a key as a token of a JSON Pointer.
pub(super) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn untoken(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn decode(bytes: &[u8], file: &Arc<str>) -> Result<String, Problem> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..]
            .chunks(2)
            .map(|pair| read([pair[0], pair.get(1).copied().unwrap_or(0)]))
            .collect();
        String::from_utf16(&units).map_err(|_| {
            let start = Location { file: file.clone(), line: 1, column: 1 };
            problem(&start, "this is not UTF-16 text", "save the file as UTF-8")
        })
    };
    match bytes {
        [0xff, 0xfe, ..] => return wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => return wide(u16::from_be_bytes),
        _ => {}
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let location = Location { file: file.clone(), line, column };
        problem(&location, "this is not UTF-8 text", "save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
}

fn set(node: &mut Node, path: &[&str], value: Node) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return true;
    };
    if node.data == Data::Null {
        node.data = Data::Map(Arc::default());
    }
    let Data::Map(entries) = &mut node.data else { return false };
    let entries: &mut Entries = Arc::make_mut(entries);
    if entries.get(first).is_none() {
        let location = &value.location;
        entries.put(Entry {
            key: (*first).to_owned(),
            key_place: location.clone(),
            value: Node { location: location.clone(), data: Data::Null },
        });
    }
    let Some(entry) = entries.get_mut(first) else { return false };
    if rest.is_empty() {
        entry.key_place = value.location.clone();
    }
    set(&mut entry.value, rest, value)
}

/// The type of a value, and whether Python evaluates it as false.
fn kind(node: &Node) -> (Kind, bool) {
    match &node.data {
        Data::Null => (Kind::Null, true),
        Data::Bool(value) => (Kind::Bool, !value),
        Data::Int(value) => (Kind::Int, *value == 0),
        Data::Float(value) => (Kind::Float(value.is_finite()), *value == 0.0),
        Data::Text(text) => (Kind::Text, text.is_empty()),
        Data::Date(_) => (Kind::Date, false),
        Data::Binary(text) => (Kind::Binary, text.is_empty()),
        Data::List(items) => (Kind::List, items.is_empty()),
        Data::Map(entries) => (Kind::Map, entries.is_empty()),
    }
}

/// Converts the tree to a value of serde_yaml, without locations.
fn value(node: &Node) -> Value {
    match &node.data {
        Data::Null => Value::Null,
        Data::Bool(value) => Value::Bool(*value),
        Data::Int(value) => Value::Number(integer(*value)),
        Data::Float(value) => Value::Number(Number::from(*value)),
        Data::Text(text) | Data::Date(text) | Data::Binary(text) => Value::String(text.clone()),
        Data::List(items) => Value::Sequence(items.iter().map(value).collect()),
        Data::Map(entries) => Value::Mapping(
            entries
                .iter()
                .map(|entry| (Value::String(entry.key.clone()), value(&entry.value)))
                .collect::<Mapping>(),
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "JSON readers take such a number for a float too")]
fn integer(value: i128) -> Number {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => Number::from(value),
        (_, Ok(value)) => Number::from(value),
        _ => Number::from(value as f64),
    }
}
