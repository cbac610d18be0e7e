//! A mapping: its keys in their order, each found by its hash. A file may have 100,000 of them.

use std::collections::HashMap;

use super::tree::Node;
use crate::place::Place;

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// As JSON would write the key.
    pub(super) key: String,
    pub(super) key_place: Place,
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
