use thiserror::Error;

use super::bounds::{Bound, Exceeded};
use super::text::clean;

/// A shell glob for meter names, with the semantics of Python's `fnmatch` on POSIX systems: `*`,
/// `?`, `[seq]` and `[!seq]`, case-sensitive, `*` matches dots, and there is no escape character.
///
/// Globs are not compiled to regular expressions: these take about 25 KB each, and components and
/// files can have many.
#[derive(Debug, Clone)]
pub struct Glob {
    text: Box<str>,
    /// `None`: the text is a plain name.
    steps: Option<Box<[Step]>>,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// An invalid pattern.
#[derive(Debug, Error)]
#[error("the pattern {start:?}... is refused: {exceeded}")]
pub struct GlobError {
    start: String,
    exceeded: Exceeded,
}

/// One element of a pattern.
#[derive(Debug, Clone)]
enum Step {
    /// Any number of characters, including none.
    Many,
    /// Any one character.
    One,
    Char(char),
    /// One character inside any of the ranges or, if negated, inside none of them.
    Set {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

impl Step {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Many | Self::One => true,
            Self::Char(own) => *own == c,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Glob {
    /// Parses a pattern.
    ///
    /// ```
    /// # use nephometer_model::Glob;
    /// let disks = Glob::new("disk.*.bytes")?;
    /// assert!(disks.matches("disk.read.bytes"));
    /// assert!(!disks.matches("disk.read.requests"));
    /// # Ok::<(), nephometer_model::GlobError>(())
    /// ```
    ///
    /// # Errors
    /// If it is longer than [`Bound::GlobBytes`].
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if let Err(exceeded) = Bound::GlobBytes.check(text.len()) {
            let start: String = text.chars().take(20).collect();
            return Err(GlobError { start: clean(&start), exceeded });
        }
        let steps = text.contains(['*', '?', '[']).then(|| steps(text).into_boxed_slice());
        Ok(Self { text: text.into(), steps })
    }

    /// Whether the pattern matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        match &self.steps {
            Some(steps) => covers(steps, name),
            None => *self.text == *name,
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether `steps` match all of `name`. On a mismatch, the last [`Step::Many`] is extended by one
/// character. Earlier ones need no backtracking, so the time is at most the product of both
/// lengths.
fn covers(steps: &[Step], name: &str) -> bool {
    let (mut at, mut rest) = (0, name.chars());
    let mut again = None;
    loop {
        if matches!(steps.get(at), Some(Step::Many)) {
            at += 1;
            again = Some((at, rest.clone()));
            continue;
        }
        let mut after = rest.clone();
        match (steps.get(at), after.next()) {
            (None, None) => return true,
            (Some(step), Some(c)) if step.takes(c) => {
                at += 1;
                rest = after;
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = &mut again else { return false };
        if from.next().is_none() {
            return false;
        }
        at = *behind;
        rest = from.clone();
    }
}

/// Parses a pattern like Python's `fnmatch.translate`: an unclosed `[` is a plain character, and a
/// reversed range matches nothing.
fn steps(glob: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let chars: Vec<char> = glob.chars().collect();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        at += 1;
        match c {
            '*' if matches!(steps.last(), Some(Step::Many)) => {}
            '*' => steps.push(Step::Many),
            '?' => steps.push(Step::One),
            '[' => match set(&chars[at..]) {
                Some((set, used)) => {
                    steps.push(set);
                    at += used;
                }
                None => steps.push(Step::Char('[')),
            },
            other => steps.push(Step::Char(*other)),
        }
    }
    steps
}

/// Parses the character set at the start of `tail`, the text after a `[`. Returns it with its
/// length.
fn set(tail: &[char]) -> Option<(Step, usize)> {
    let negated = tail.first() == Some(&'!');
    let start = usize::from(negated);
    // A closing bracket in first position is a member of the set.
    let end = start + 1 + tail.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = &tail[start..end];
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        let low = members[at];
        if at + 2 < members.len() && members[at + 1] == '-' {
            let high = members[at + 2];
            if low <= high {
                ranges.push((low, high));
            }
            at += 3;
        } else {
            ranges.push((low, low));
            at += 1;
        }
    }
    Some((Step::Set { negated, ranges: ranges.into() }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, name: &str) -> bool {
        Glob::new(glob).unwrap().matches(name)
    }

    #[test]
    fn matches_as_fnmatch_does() {
        for (glob, name, expected) in [
            ("*", "disk.read.bytes", true),
            ("disk.*", "disk.read.bytes", true),
            ("disk.*", "disks", false),
            ("?pu", "cpu", true),
            ("[cd]pu", "cpu", true),
            ("[!c]pu", "cpu", false),
            ("[!d]pu", "cpu", true),
            ("[a-c]pu", "cpu", true),
            ("[c-a]pu", "cpu", false),
            ("[]c]pu", "cpu", true),
            ("cpu[", "cpu[", true),
            ("cpu", "CPU", false),
            ("c.u", "cpu", false),
            ("", "", true),
            ("", "c", false),
            ("*", "", true),
            ("**p*", "cpu", true),
            ("*.bytes", "disk.bytes.bytes", true),
            ("*ab", "aab", true),
            ("a*b*c", "abcbd", false),
            ("a*b*c", "axxbyybzc", true),
            ("?", "é", true),
            ("[c-a!]pu", "cpu", false),
            ("[!c-a]pu", "xpu", true),
            ("[a", "[a", true),
            ("c{p}u", "cpu", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} against {name}");
        }
    }

    /// Regression test: the error for a pattern of 1 MB contained the whole pattern.
    #[test]
    fn long_patterns_are_refused_in_few_words() {
        let most = Bound::GlobBytes.size();
        assert!(Glob::new(&"*".repeat(most)).is_ok());
        let error = Glob::new(&"x\u{1b}".repeat(500_000)).unwrap_err();
        let text = format!("{error}");
        assert!(text.contains("1000000 bytes, at most 1024 bytes"), "{text}");
        assert!(text.len() < 300 && !text.contains('\u{1b}'), "{text}");
        assert!(Glob::new(&"*".repeat(most + 1)).is_err());
    }

    /// There are exponentially many ways to split the name; the time must not grow with their
    /// number.
    #[test]
    fn many_wildcards_take_no_time() {
        let name = "a".repeat(1_000);
        assert!(!matches(&format!("{}b", "*a".repeat(500)), &name));
        assert!(matches(&"*a".repeat(500), &name));
    }
}
