//! Which meters a source wants.

use nephometer_model::{Glob, GlobError};

/// The `meters` of a source, and where samples are routed by name also those of the pipelines that
/// take them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MeterFilter {
    own: MeterList,
    /// Some of these has to match, too; none means that there is no such condition.
    one_of: Vec<MeterList>,
    /// None of these may match.
    none_of: Vec<MeterList>,
}

/// Names and globs, each one possibly excluded by a leading `!`. The rules of what may stand
/// together are checked where the file is read.
#[derive(Debug, Clone, PartialEq, Default)]
struct MeterList {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl MeterList {
    /// Whether a meter is wanted: not excluded, and either included or there are only exclusions.
    fn matches(&self, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(meter)))
    }

    /// The same for a meter that nobody gets who does not ask for its kind: some entry that covers
    /// it has to begin with `prefix`, so that `*` means what it has always meant.
    fn names(&self, prefix: &str, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && self.with_prefix(prefix).any(|glob| glob.matches(meter))
    }

    fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Glob> {
        self.include.iter().filter(move |glob| glob.as_str().starts_with(prefix))
    }
}

impl MeterFilter {
    /// Reads the entries of a list.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, GlobError> {
        let mut own = MeterList::default();
        for entry in entries {
            match entry.strip_prefix('!') {
                Some(excluded) => own.exclude.push(Glob::new(excluded)?),
                None => own.include.push(Glob::new(entry)?),
            }
        }
        Ok(Self { own, ..Self::default() })
    }

    /// Only what the list of one of these wants as well.
    pub(super) fn for_some_of<'a>(mut self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        self.one_of.extend(others.into_iter().map(|other| other.own.clone()));
        self
    }

    /// Without what the list of one of these wants.
    pub(super) fn without<'a>(mut self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        self.none_of.extend(others.into_iter().map(|other| other.own.clone()));
        self
    }

    /// Whether a meter is wanted.
    pub fn matches(&self, meter: &str) -> bool {
        self.own.matches(meter)
            && self.is_taken(meter)
            && !self.none_of.iter().any(|list| list.matches(meter))
    }

    /// The same for a meter that nobody gets who does not ask for its kind: some entry of the own
    /// list has to begin with `prefix`.
    pub fn names(&self, prefix: &str, meter: &str) -> bool {
        self.own.names(prefix, meter)
            && self.is_taken(meter)
            && !self.none_of.iter().any(|list| list.names(prefix, meter))
    }

    /// The entries of the own list that begin with `prefix`.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Glob> {
        self.own.with_prefix(prefix)
    }

    /// The entries of the own list, as they were written; `*` if there is none.
    pub fn texts(&self) -> Vec<String> {
        let include = self.own.include.iter().map(|glob| glob.as_str().to_owned());
        let exclude = self.own.exclude.iter().map(|glob| format!("!{}", glob.as_str()));
        let texts: Vec<String> = include.chain(exclude).collect();
        if texts.is_empty() { vec!["*".to_owned()] } else { texts }
    }

    fn is_taken(&self, meter: &str) -> bool {
        self.one_of.is_empty() || self.one_of.iter().any(|list| list.matches(meter))
    }
}
