//! Locations in configuration files: file, line and column.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A position in a file, counted from 1. Line 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file name as the user wrote it.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// The locations of a value and of all values inside it, by JSON Pointer (RFC 6901).
#[derive(Debug, Clone)]
pub struct ValueLocations {
    root: Location,
    /// By pointer token.
    within: BTreeMap<String, Self>,
}

impl ValueLocations {
    /// `within` has the locations of the direct children of the value at `root`, by token.
    pub fn new(root: Location, within: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self { root, within: within.into_iter().collect() }
    }

    /// The location of the value at `pointer`, or of its nearest known ancestor.
    pub fn location(&self, pointer: &str) -> &Location {
        let mut found = self;
        for token in pointer.split('/').skip(1) {
            match found.within.get(token) {
                Some(inner) => found = inner,
                None => break,
            }
        }
        &found.root
    }
}
