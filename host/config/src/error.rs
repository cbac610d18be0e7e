//! What is wrong with a configuration, in words for the one who wrote it.

use std::fmt;

use thiserror::Error;

use super::place::Place;
use super::spec::{AgentSpec, SinkSpec};
use nephometer_model::{Bound, Exceeded, Row, clean};

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
    /// What can be checked further all the same, if the host's own file is well: transformers of every
    /// sink, and publishers of sinks that have no wrong one. It has no sources.
    pub rest: Option<Box<AgentSpec>>,
}

/// Problems in a message of the log or an answer; `check` prints all that are kept.
const LISTED: usize = 20;

fn lines(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED).map(Problem::to_string).collect();
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        lines.push(format!("and {more} more problems, which `nephometer check` prints"));
    }
    lines.join("\n")
}

/// Collects what the checks find: as many of both kinds as somebody may read, and the number of the
/// others.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    more_problems: usize,
    more_warnings: usize,
    /// What of the sinks can be checked further, whatever is wrong elsewhere.
    pub(super) checkable: Vec<SinkSpec>,
}

impl Report {
    /// Records a fault.
    pub(super) fn fault(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(problem(place, what, remedy));
    }

    /// The same, made elsewhere.
    pub(super) fn push(&mut self, found: Problem) {
        keep(&mut self.problems, &mut self.more_problems, found);
    }

    /// Records something worth knowing that stops nothing.
    pub(super) fn warn(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        keep(&mut self.warnings, &mut self.more_warnings, problem(place, what, remedy));
    }

    /// The same, made elsewhere.
    pub(super) fn warn_of(&mut self, found: impl IntoIterator<Item = Problem>) {
        for found in found {
            keep(&mut self.warnings, &mut self.more_warnings, found);
        }
    }

    /// How many faults there are: to see whether a check has found some.
    pub(super) fn faults(&self) -> usize {
        self.problems.len() + self.more_problems
    }

    /// The faults that are kept.
    #[cfg(test)]
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// `value` and the warnings, unless there was a fault.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), ConfigError> {
        let problems = sorted(self.problems, self.more_problems);
        let warnings = sorted(self.warnings, self.more_warnings);
        match value {
            Some(value) if problems.is_empty() => Ok((value, warnings)),
            _ => Err(ConfigError { problems, warnings, rest: None }),
        }
    }
}

/// Some more than are reported, because aliases and checks repeat some.
fn keep(list: &mut Vec<Problem>, more: &mut usize, found: Problem) {
    if list.len() < 2 * Bound::Problems.size() {
        list.push(found);
    } else {
        *more += 1;
    }
}

/// By place, each once, and at the end the number of those that are left out.
fn sorted(mut list: Vec<Problem>, more: usize) -> Vec<Problem> {
    list.sort_by(|a, b| (&a.place, &a.what).cmp(&(&b.place, &b.what)));
    // What an alias repeats is one fault all the same.
    list.dedup();
    let all = list.len() + more;
    list.truncate(Bound::Problems.size());
    let left_out = all - list.len();
    if let (Some(last), true) = (list.last(), left_out > 0) {
        let Row { name, remedy, .. } = Bound::Problems.row();
        let what = format!("and {left_out} more ({name})");
        list.push(problem(&last.place, what, remedy));
    }
    list
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize) -> Place {
        Place { file: "f".into(), line, column: 1 }
    }

    #[test]
    fn the_limit_is_reported_and_more_are_counted() {
        let most = Bound::Problems.size();
        for (count, left_out) in [(most, None), (most + 1, Some(1)), (100_000, Some(99_000))] {
            let mut report = Report::default();
            for line in 1..=count {
                report.fault(&place(line), "x".repeat(5_000), "y");
                report.warn(&place(line), "a\u{1b}[2J", "y");
            }
            assert_eq!(report.faults(), count);
            let error = report.finish::<()>(None).unwrap_err();
            for list in [&error.problems, &error.warnings] {
                assert_eq!(list.len(), most + usize::from(left_out.is_some()));
                let last = list.last().unwrap();
                let expected = left_out.map(|number| format!("and {number} more ("));
                assert!(expected.is_none_or(|text| last.what.starts_with(&text)), "{last}");
            }
            assert!(error.problems[0].what.ends_with(" [cut]"));
            assert!(error.to_string().len() < 25_000, "{} bytes", error.to_string().len());
            assert_eq!(error.warnings[0].what, "a\\u{1b}[2J");
        }
    }

    #[test]
    fn what_is_found_twice_is_reported_once() {
        let mut report = Report::default();
        for _ in 0..2 * Bound::Problems.size() {
            report.fault(&place(1), "x", "y");
        }
        assert_eq!(report.finish::<()>(None).unwrap_err().problems.len(), 1);
    }

    #[test]
    fn nobody_meant_a_word_of_a_megabyte() {
        assert_eq!(nearest("intervall", ["interval"]), Some("interval"));
        assert_eq!(nearest(&"x".repeat(1 << 20), ["interval"]), None);
    }
}
