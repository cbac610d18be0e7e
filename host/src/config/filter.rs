//! Which meters a source wants.

use crate::model::{Glob, GlobError};

/// The `meters` of a source: names and globs, each one possibly excluded by a leading `!`. The
/// rules of what may stand together are checked where the file is read.
#[derive(Debug, Clone, PartialEq)]
pub struct MeterFilter {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl MeterFilter {
    /// Reads the entries of a list.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, GlobError> {
        let mut filter = Self { include: Vec::new(), exclude: Vec::new() };
        for entry in entries {
            match entry.strip_prefix('!') {
                Some(excluded) => filter.exclude.push(Glob::new(excluded)?),
                None => filter.include.push(Glob::new(entry)?),
            }
        }
        Ok(filter)
    }

    /// Whether a meter is wanted: not excluded, and either included or there are only exclusions.
    pub fn matches(&self, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(meter)))
    }

    /// The same for a meter that nobody gets who does not ask for its kind: some entry that covers
    /// it has to begin with `prefix`, so that `*` means what it has always meant.
    pub fn names(&self, prefix: &str, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && self.with_prefix(prefix).any(|glob| glob.matches(meter))
    }

    /// The entries that begin with `prefix`.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Glob> {
        self.include.iter().filter(move |glob| glob.as_str().starts_with(prefix))
    }
}
