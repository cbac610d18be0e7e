//! Meter filters: the `meters` lists of sources, and how they combine in routing by name.

use nephometer_model::{Glob, GlobError};

/// The `meters` of a source. With routing by name, also restricted by the `meters` of the pipelines
/// that receive its samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MeterFilter {
    own: MeterList,
    /// At least one of these must match as well; empty means no restriction.
    one_of: Vec<MeterList>,
    /// None of these may match.
    none_of: Vec<MeterList>,
}

/// Names and globs; a leading `!` excludes. Invalid combinations are rejected when the file is
/// checked.
#[derive(Debug, Clone, PartialEq, Default)]
struct MeterList {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl MeterList {
    /// Whether a meter matches: not excluded, and included unless there are only exclusions.
    fn matches(&self, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(meter)))
    }

    /// As `matches`, but for opt-in meters: an entry that begins with `prefix` must match, so that `*`
    /// keeps its meaning.
    fn names(&self, prefix: &str, meter: &str) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(meter))
            && self.with_prefix(prefix).any(|glob| glob.matches(meter))
    }

    fn texts(&self) -> Vec<String> {
        let include = self.include.iter().map(|glob| glob.as_str().to_owned());
        let exclude = self.exclude.iter().map(|glob| format!("!{}", glob.as_str()));
        let texts: Vec<String> = include.chain(exclude).collect();
        if texts.is_empty() { vec!["*".to_owned()] } else { texts }
    }

    fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Glob> {
        self.include.iter().filter(move |glob| glob.as_str().starts_with(prefix))
    }
}

impl MeterFilter {
    /// Parses the entries of a list.
    ///
    /// # Errors
    ///
    /// If a glob is invalid.
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

    /// Restricts the filter to meters that at least one of `others` matches.
    pub(super) fn restricted_to<'a>(mut self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        self.one_of.extend(others.into_iter().map(|other| other.own.clone()));
        self
    }

    /// Removes the meters that one of `others` matches.
    pub(super) fn without<'a>(mut self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        self.none_of.extend(others.into_iter().map(|other| other.own.clone()));
        self
    }

    /// Whether the filter matches a meter.
    pub fn matches(&self, meter: &str) -> bool {
        self.own.matches(meter)
            && self.is_routed(meter)
            && !self.none_of.iter().any(|list| list.matches(meter))
    }

    /// As [`Self::matches`], but for opt-in meters: an entry of the own list that begins with `prefix`
    /// must match.
    pub fn names(&self, prefix: &str, meter: &str) -> bool {
        self.own.names(prefix, meter)
            && self.is_routed(meter)
            && !self.none_of.iter().any(|list| list.names(prefix, meter))
    }

    /// The entries of the own list that begin with `prefix`.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Glob> {
        self.own.with_prefix(prefix)
    }

    /// The entries of the own list, as written; `*` if it is empty.
    pub fn texts(&self) -> Vec<String> {
        self.own.texts()
    }

    /// The lists of which a meter has to match one as well, if there are any; and those of which it may
    /// match none.
    pub fn restrictions(&self) -> [Vec<Vec<String>>; 2] {
        [&self.one_of, &self.none_of].map(|lists| lists.iter().map(MeterList::texts).collect())
    }

    fn is_routed(&self, meter: &str) -> bool {
        self.one_of.is_empty() || self.one_of.iter().any(|list| list.matches(meter))
    }
}
