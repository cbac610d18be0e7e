//! Where things stand in a file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A position in a file, counted from 1. Line 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// The places of a value and of everything within it, by JSON Pointer (RFC 6901).
#[derive(Debug, Clone)]
pub struct Positions {
    root: Place,
    /// By token of a pointer.
    within: BTreeMap<String, Self>,
}

impl Positions {
    /// `within` has those of what stands directly in the value at `root`, by token.
    pub fn new(root: Place, within: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self { root, within: within.into_iter().collect() }
    }

    /// The place of the value that `pointer` names, or of the nearest one around it that is known.
    pub fn place(&self, pointer: &str) -> &Place {
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
