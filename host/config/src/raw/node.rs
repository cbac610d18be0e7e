//! Values with their places. A mapping has its keys in their order, each found by its hash: a file may
//! have 100,000 of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::location::Location;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) location: Location,
    pub(super) data: Data,
}

/// What `safe_load` tells apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// As Python's `str` writes it.
    Date(String),
    /// Base64, as written.
    Binary(String),
    /// Shared, so that an anchor costs nothing.
    List(Arc<Vec<Node>>),
    Map(Arc<Entries>),
}

/// Two values are the same wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// As JSON would write the key.
    pub(super) key: String,
    pub(super) key_place: Location,
    pub(super) value: Node,
}

/// Entries with distinct keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Entries {
    /// As Python's dict: a key that is there already keeps its position and gets the new value.
    /// `true` if it was there.
    pub(super) fn put(&mut self, entry: Entry) -> bool {
        if let Some(at) = self.by_key.get(&entry.key) {
            self.list[*at] = entry;
            return true;
        }
        self.by_key.insert(entry.key.clone(), self.list.len());
        self.list.push(entry);
        false
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).map(|at| &self.list[*at])
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.by_key.get(key).map(|at| &mut self.list[*at])
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.by_key.remove(key).is_some() {
            self.list.retain(|entry| entry.key != key);
            let numbered = self.list.iter().enumerate();
            self.by_key = numbered.map(|(at, entry)| (entry.key.clone(), at)).collect();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
