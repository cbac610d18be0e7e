//! What is wrong with a configuration, in words for the one who wrote it.

use std::fmt;

use thiserror::Error;

use super::place::Place;
use crate::model::{Bound, Exceeded, clean};

/// One fault, or one thing worth knowing: where it stands, what it is, what would be right. Holds
/// no secret: whoever makes one shows URLs without their credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the text stands that this is about.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// Every fault of every file, in the order of the files. Never without a problem.
#[derive(Debug, Clone, Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// What has to be mended.
    pub problems: Vec<Problem>,
    /// What was found besides.
    pub warnings: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects what the checks find.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    /// Records a fault.
    pub(super) fn fault(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(problem(place, what, remedy));
    }

    /// Records something worth knowing that stops nothing.
    pub(super) fn warn(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(problem(place, what, remedy));
    }

    /// `value` and the warnings, unless there was a fault.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Problem>), ConfigError> {
        // What an alias repeats is one fault all the same.
        for list in [&mut self.problems, &mut self.warnings] {
            list.sort_by(|a, b| (&a.place, &a.what).cmp(&(&b.place, &b.what)));
            list.dedup();
            cut(list);
        }
        match value {
            Some(value) if self.problems.is_empty() => Ok((value, self.warnings)),
            _ => Err(ConfigError { problems: self.problems, warnings: self.warnings }),
        }
    }
}

/// Keeps as many as somebody may read, and the number of the others.
fn cut(list: &mut Vec<Problem>) {
    if let Err(error) = Bound::Problems.check(list.len()) {
        let more = list.split_off(Bound::Problems.size());
        list.extend(more.first().map(|next| {
            let Problem { what, remedy, .. } = exceeded(&next.place, error);
            problem(&next.place, format!("and {} more; {what}", more.len()), remedy)
        }));
    }
}

/// A problem from its parts: one line, which quotes a long text by its beginning.
pub(super) fn problem(
    place: &Place,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Problem {
    Problem { place: place.clone(), what: clean(&what.into()), remedy: clean(&remedy.into()) }
}

/// A bound that was exceeded here.
pub(super) fn exceeded(place: &Place, error: Exceeded) -> Problem {
    let (what, remedy) = parts(error);
    problem(place, what, remedy)
}

/// What is wrong, and what would be right.
pub(super) fn parts(error: Exceeded) -> (String, String) {
    let (text, remedy) = (error.to_string(), error.bound.row().remedy);
    let what = text.strip_suffix(remedy).map_or(&*text, |what| what.trim_end_matches("; "));
    (what.to_owned(), remedy.to_owned())
}

/// Words longer than this are nobody's slip of a key.
const WORD: usize = 64;
/// Candidates that a word is compared with.
const CANDIDATES: usize = 100;

/// The one of `known` that `word` was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .take(CANDIDATES)
        .filter(|candidate| candidate.len() <= WORD)
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
