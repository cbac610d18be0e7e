use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::message::{ReadMessage, StreamPlace};
use crate::sample::Shared;

/// What is committed together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) messages: Vec<ReadMessage>,
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) rule: WriteRule,
}

/// How samples older than the window are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WriteRule {
    /// They are refused, because nobody can tell whether they are new.
    #[default]
    InWindow,
    /// They are stored: the caller has found that their time has no samples yet.
    History,
}

/// A message that could not be read. It is kept until someone removes it or it can be read.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) origin: Shared,
    pub(crate) place: Option<StreamPlace>,
    pub(crate) body: Vec<u8>,
    pub(crate) reason: String,
}

impl DeadLetter {
    /// Whether its body has the id of one of the projects.
    pub(crate) fn names(&self, projects: &BTreeSet<String>) -> bool {
        projects
            .iter()
            .any(|project| self.body.windows(project.len()).any(|part| part == project.as_bytes()))
    }
}

/// A dead letter in the store.
#[derive(Debug, Clone)]
pub(crate) struct StoredLetter {
    pub(crate) number: i64,
    pub(crate) arrived: nephometer_model::Timestamp,
    pub(crate) letter: DeadLetter,
}

/// What became of the samples of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) stored: u64,
    pub(crate) duplicates: u64,
    /// By reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) letters: u64,
    /// Stored samples of closed months.
    pub(crate) corrections: u64,
    /// The oldest sample that was stored, as its age at the commit.
    pub(crate) oldest: Option<Duration>,
}
