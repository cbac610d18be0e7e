//! From bytes to values with places: the only folder that knows YAML.
//!
//! `tree` and `scalar` read a file as PyYAML's `safe_load` does, `mirror` holds the typed mirrors
//! that serde_yaml fills from it. Given the bytes of a file, this gives a [`Document`]; what the
//! values mean is for `check`.

mod indent;
mod mirror;
mod scalar;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml::{Mapping, Number, Value};

pub(super) use mirror::*;
use tree::{Data, Entry, Node};

use super::error::{Problem, problem};
use super::place::{Place, Positions};

/// A file, read.
pub(super) struct Document {
    root: Node,
    /// By JSON Pointer.
    facts: BTreeMap<String, Fact>,
}

/// What is known about one value.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    /// Of the value itself.
    pub(super) place: Place,
    /// Of its key, or of the value where it has none.
    pub(super) key_place: Place,
    /// What it is.
    pub(super) kind: Kind,
    /// Whether Python takes it for false.
    pub(super) falsy: bool,
    /// Keys in their order, if it is a mapping.
    pub(super) keys: Vec<String>,
}

/// What `safe_load` makes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    /// `false`: infinite or not a number at all, which JSON cannot say.
    Float(bool),
    Text,
    Date,
    Binary,
    List,
    Map,
}

impl Kind {
    /// With its article.
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
    /// Reads the bytes of a file; `warnings` gets what stops nothing.
    pub(super) fn read(
        bytes: &[u8],
        file: &str,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Problem> {
        let file: Arc<str> = Arc::from(file);
        let text = decode(bytes, &file)?;
        let root = tree::read(&text, &file, warnings)?;
        let mut document = Self { root, facts: BTreeMap::new() };
        document.index();
        Ok(document)
    }

    /// A document in which nothing is set.
    pub(super) fn empty(file: &str) -> Self {
        let place = Place { file: Arc::from(file), line: 0, column: 0 };
        let mut document = Self { root: Node { place, data: Data::Null }, facts: BTreeMap::new() };
        document.index();
        document
    }

    /// Sets the text at a path of keys, as if it were written in a file called `origin`. `false`
    /// if something on the way is no mapping.
    pub(super) fn set(&mut self, path: &[&str], values: &[String], origin: &str) -> bool {
        let place = Place { file: Arc::from(origin), line: 0, column: 0 };
        let text = |text: &String| Node { place: place.clone(), data: Data::Text(text.clone()) };
        let value = match values {
            [one] => text(one),
            several => {
                let items = several.iter().map(text).collect();
                Node { place: place.clone(), data: Data::List(items) }
            }
        };
        let done = set(&mut self.root, path, value);
        self.index();
        done
    }

    /// Removes the value at a path of keys if its place is one that `when` names.
    pub(super) fn forget(&mut self, path: &[&str], when: impl Fn(&Place) -> bool) {
        let Some((last, before)) = path.split_last() else { return };
        let mut node = &mut self.root;
        for key in before {
            let Data::Map(entries) = &mut node.data else { return };
            let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) else { return };
            node = &mut entry.value;
        }
        if let Data::Map(entries) = &mut node.data {
            entries.retain(|entry| entry.key != *last || !when(&entry.value.place));
        }
        self.index();
    }

    /// The typed mirror of the whole file.
    pub(super) fn mirror<T: serde::de::DeserializeOwned>(&self) -> Field<T> {
        serde_yaml::from_value(value(&self.root)).unwrap_or(Field::Wrong)
    }

    /// What is known about the value that a JSON Pointer names.
    pub(super) fn fact(&self, pointer: &str) -> Option<&Fact> {
        self.facts.get(pointer)
    }

    /// The text of a value, if it is text.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        let mut node = &self.root;
        for step in pointer.split('/').skip(1) {
            node = match &node.data {
                Data::List(items) => items.get(step.parse::<usize>().ok()?)?,
                Data::Map(entries) => {
                    &entries.iter().find(|entry| token(&entry.key) == step)?.value
                }
                _ => return None,
            };
        }
        match &node.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The place of a value, or of the nearest one around it.
    pub(super) fn place(&self, pointer: &str) -> &Place {
        let mut pointer = pointer;
        loop {
            match (self.facts.get(pointer), pointer.rfind('/')) {
                (Some(fact), _) => return &fact.place,
                (None, Some(slash)) => pointer = &pointer[..slash],
                (None, None) => return &self.root.place,
            }
        }
    }

    /// The places of a value and of all within it.
    pub(super) fn positions(&self, pointer: &str) -> Positions {
        let within = self
            .within(pointer)
            .map(|(inner, fact)| (inner[pointer.len()..].to_owned(), fact.place.clone()))
            .collect();
        Positions::new(self.place(pointer).clone(), within)
    }

    /// A value and all within it, by pointer.
    pub(super) fn within<'a>(
        &'a self,
        pointer: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Fact)> {
        self.facts
            .range(pointer.to_owned()..)
            .take_while(move |(inner, _)| inner.starts_with(pointer))
            .filter(move |(inner, _)| {
                inner.len() == pointer.len() || inner[pointer.len()..].starts_with('/')
            })
            .map(|(inner, fact)| (inner.as_str(), fact))
    }

    fn index(&mut self) {
        let mut facts = BTreeMap::new();
        index(&self.root, &self.root.place, String::new(), &mut facts);
        self.facts = facts;
    }
}

/// A key as a token of a JSON Pointer.
pub(super) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn decode(bytes: &[u8], file: &Arc<str>) -> Result<String, Problem> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..]
            .chunks(2)
            .map(|pair| read([pair[0], pair.get(1).copied().unwrap_or(0)]))
            .collect();
        String::from_utf16(&units).map_err(|_| {
            let start = Place { file: file.clone(), line: 1, column: 1 };
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
        let place = Place { file: file.clone(), line, column };
        problem(&place, "this is not UTF-8 text", "save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
}

fn set(node: &mut Node, path: &[&str], value: Node) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return true;
    };
    if node.data == Data::Null {
        node.data = Data::Map(Vec::new());
    }
    let Data::Map(entries) = &mut node.data else { return false };
    let at = entries.iter().position(|entry| entry.key == *first).unwrap_or_else(|| {
        entries.push(Entry {
            key: (*first).to_owned(),
            key_place: value.place.clone(),
            value: Node { place: value.place.clone(), data: Data::Null },
        });
        entries.len() - 1
    });
    let entry = &mut entries[at];
    if rest.is_empty() {
        entry.key_place = value.place.clone();
    }
    set(&mut entry.value, rest, value)
}

fn index(node: &Node, key_place: &Place, pointer: String, facts: &mut BTreeMap<String, Fact>) {
    let (kind, falsy) = match &node.data {
        Data::Null => (Kind::Null, true),
        Data::Bool(value) => (Kind::Bool, !value),
        Data::Int(value) => (Kind::Int, *value == 0),
        Data::Float(value) => (Kind::Float(value.is_finite()), *value == 0.0),
        Data::Text(text) => (Kind::Text, text.is_empty()),
        Data::Date(_) => (Kind::Date, false),
        Data::Binary(text) => (Kind::Binary, text.is_empty()),
        Data::List(items) => {
            for (at, item) in items.iter().enumerate() {
                index(item, &item.place, format!("{pointer}/{at}"), facts);
            }
            (Kind::List, items.is_empty())
        }
        Data::Map(entries) => {
            for entry in entries {
                let inner = format!("{pointer}/{}", token(&entry.key));
                index(&entry.value, &entry.key_place, inner, facts);
            }
            (Kind::Map, entries.is_empty())
        }
    };
    let keys = match &node.data {
        Data::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    };
    let (place, key_place) = (node.place.clone(), key_place.clone());
    facts.insert(pointer, Fact { place, key_place, kind, falsy, keys });
}

/// The tree as serde_yaml knows it, without places.
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
