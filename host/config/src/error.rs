//! Problems of a configuration, as users read them: location, problem, remedy.
//!
//! Collects the problems of all checks, bounds their number, and suggests names for typing errors.

use std::fmt;

use thiserror::Error;

use super::location::Location;
use super::spec::{AgentSpec, SinkSpec};
use nephometer_model::{Bound, Exceeded, Row, clean};

/// One error or warning: location, problem and remedy. Contains no secrets: callers pass URLs
/// without their credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The location of the text.
    pub location: Location,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub remedy: String,
    /// Whether a secret is known to others, or could be.
    pub is_about_secret: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.location, self.what, self.remedy)
    }
}

/// All problems of all files, sorted by location. Has at least one problem.
#[derive(Debug, Clone, Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// Problems that must be fixed.
    pub problems: Vec<Problem>,
    /// Warnings.
    pub warnings: Vec<Problem>,
    /// The part that can still be checked against components, if `nephometer.yaml` is valid: the
    /// transformers of all sinks, and the publishers of sinks without an invalid one. No sources.
    pub rest: Option<Box<AgentSpec>>,
}

/// Problems in one log message or response; `check` prints all of them.
const LISTED: usize = 20;

fn lines(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED).map(Problem::to_string).collect();
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        lines.push(format!("and {more} more problems, which `nephometer check` prints"));
    }
    lines.join("\n")
}

/// Collects the findings of the checks: problems and warnings up to a bound, and the number of the
/// rest.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    more_problems: usize,
    more_warnings: usize,
    /// The sinks that can be checked further, whatever problems other parts have.
    pub(super) checkable: Vec<SinkSpec>,
}

impl Report {
    /// Adds a problem.
    pub(super) fn fault(
        &mut self,
        location: &Location,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(problem(location, what, remedy));
    }

    /// Adds a problem that was built elsewhere.
    pub(super) fn push(&mut self, found: Problem) {
        keep(&mut self.problems, &mut self.more_problems, found);
    }

    /// Adds a warning.
    pub(super) fn warn(
        &mut self,
        location: &Location,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        keep(&mut self.warnings, &mut self.more_warnings, problem(location, what, remedy));
    }

    /// Adds a warning about a secret.
    pub(super) fn caution(
        &mut self,
        location: &Location,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let found = Problem { is_about_secret: true, ..problem(location, what, remedy) };
        keep(&mut self.warnings, &mut self.more_warnings, found);
    }

    /// Adds warnings that were built elsewhere.
    pub(super) fn extend_warnings(&mut self, found: impl IntoIterator<Item = Problem>) {
        for found in found {
            keep(&mut self.warnings, &mut self.more_warnings, found);
        }
    }

    /// The number of problems, for callers that detect whether a check added some.
    pub(super) fn faults(&self) -> usize {
        self.problems.len() + self.more_problems
    }

    /// The problems up to the bound.
    #[cfg(test)]
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns `value` and the warnings, or the problems if there are any.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), ConfigError> {
        let problems = sorted(self.problems, self.more_problems);
        let warnings = sorted(self.warnings, self.more_warnings);
        match value {
            Some(value) if problems.is_empty() => Ok((value, warnings)),
            _ => Err(ConfigError { problems, warnings, rest: None }),
        }
    }
}

/// Keeps more than are reported, because aliases and checks repeat some.
fn keep(list: &mut Vec<Problem>, more: &mut usize, found: Problem) {
    if list.len() < 2 * Bound::Problems.size() {
        list.push(found);
    } else {
        *more += 1;
    }
}

/// Sorts by location and removes duplicates; the last entry has the number of omitted problems.
fn sorted(mut list: Vec<Problem>, more: usize) -> Vec<Problem> {
    list.sort_by(|a, b| (&a.location, &a.what).cmp(&(&b.location, &b.what)));
    // An alias repeats the problems of its anchor.
    list.dedup();
    let all = list.len() + more;
    list.truncate(Bound::Problems.size());
    let left_out = all - list.len();
    if let (Some(last), true) = (list.last(), left_out > 0) {
        let Row { name, remedy, .. } = Bound::Problems.row();
        let what = format!("and {left_out} more ({name})");
        list.push(problem(&last.location, what, remedy));
    }
    list
}

/// Builds a problem as one line; long texts are cut.
pub(super) fn problem(
    location: &Location,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Problem {
    let (what, remedy) = (clean(&what.into()), clean(&remedy.into()));
    Problem { location: location.clone(), what, remedy, is_about_secret: false }
}

/// The problem for a bound that is exceeded at `location`.
pub(super) fn exceeded(location: &Location, error: Exceeded) -> Problem {
    let (what, remedy) = parts(error);
    problem(location, what, remedy)
}

/// The problem and the remedy of an exceeded bound.
pub(super) fn parts(error: Exceeded) -> (String, String) {
    let (text, remedy) = (error.to_string(), error.bound.row().remedy);
    let what = text.strip_suffix(remedy).map_or(&*text, |what| what.trim_end_matches("; "));
    (what.to_owned(), remedy.to_owned())
}

/// Longer words are not typing errors.
const WORD: usize = 64;
/// The maximum of candidates that a word is compared with.
const CANDIDATES: usize = 100;

/// The entry of `known` that is most similar to `word`, if it is similar enough.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD {
        return None;
    }
    let word = word.trim().to_lowercase();
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

    fn location(line: usize) -> Location {
        Location { file: "f".into(), line, column: 1 }
    }

    #[test]
    fn problems_above_the_limit_are_counted() {
        let most = Bound::Problems.size();
        for (count, left_out) in [(most, None), (most + 1, Some(1)), (100_000, Some(99_000))] {
            let mut report = Report::default();
            for line in 1..=count {
                report.fault(&location(line), "x".repeat(5_000), "y");
                report.warn(&location(line), "a\u{1b}[2J", "y");
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
    fn duplicate_problems_are_reported_once() {
        let mut report = Report::default();
        for _ in 0..2 * Bound::Problems.size() {
            report.fault(&location(1), "x", "y");
        }
        assert_eq!(report.finish::<()>(None).unwrap_err().problems.len(), 1);
    }

    #[test]
    fn nearest_ignores_very_long_words() {
        assert_eq!(nearest("intervall", ["interval"]), Some("interval"));
        assert_eq!(nearest(" cpu ", ["vcpus", "cpu"]), Some("cpu"));
        assert_eq!(nearest(&"x".repeat(1 << 20), ["interval"]), None);
    }
}
