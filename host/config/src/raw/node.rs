//! Values with their locations. Mappings keep the order of their keys and find them by hash,
//! because a file may have 100,000 of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::location::Location;

/// A value and its location.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) location: Location,
    pub(super) data: Data,
}

/// The types that `safe_load` distinguishes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// In the format of Python's `str`.
    Date(String),
    /// Base64, as written.
    Binary(String),
    /// Shared, so that aliases do not copy it.
    List(Arc<Vec<Node>>),
    Map(Arc<Entries>),
}

/// Locations do not affect equality.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The key as JSON would write it.
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
    /// Inserts like Python's dict: an existing key keeps its position and gets the new value.
    /// Returns true if the key existed.
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
