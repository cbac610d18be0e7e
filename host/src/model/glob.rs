use regex::Regex;
use thiserror::Error;

/// A shell glob over a meter's name, as Python's `fnmatch` on a POSIX system reads it: `*`, `?`,
/// `[seq]` and `[!seq]`, case-sensitive, `*` crosses dots, nothing is quoted.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    regex: Regex,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A pattern that cannot be read.
#[derive(Debug, Error)]
#[error("the pattern {text:?} cannot be read")]
pub struct GlobError {
    text: String,
    source: regex::Error,
}

impl Glob {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        Regex::new(&translate(text))
            .map(|regex| Self { text: text.to_owned(), regex })
            .map_err(|source| GlobError { text: text.to_owned(), source })
    }

    /// Whether it covers the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The translation of Python's `fnmatch.translate`. A `[` that is never closed is a plain
/// character, and a range that runs backwards matches nothing.
fn translate(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    let chars: Vec<char> = glob.chars().collect();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        at += 1;
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match set(&chars[at..]) {
                Some((class, used)) => {
                    regex.push_str(&class);
                    at += used;
                }
                None => regex.push_str("\\["),
            },
            other => regex.push_str(&regex::escape(&other.to_string())),
        }
    }
    regex.push('$');
    regex
}

/// The character class that `tail`, what stands behind a `[`, begins with, and its length.
fn set(tail: &[char]) -> Option<(String, usize)> {
    let negated = tail.first() == Some(&'!');
    let start = usize::from(negated);
    // A closing bracket in first place is a member.
    let end = start + 1 + tail.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = &tail[start..end];
    let mut class = String::from(if negated { "[^" } else { "[" });
    let escape = |c: char| format!("\\u{{{:x}}}", u32::from(c));
    let (mut at, mut any) = (0, false);
    while at < members.len() {
        let low = members[at];
        if at + 2 < members.len() && members[at + 1] == '-' {
            let high = members[at + 2];
            if low <= high {
                class.push_str(&format!("{}-{}", escape(low), escape(high)));
                any = true;
            }
            at += 3;
        } else {
            class.push_str(&escape(low));
            any = true;
            at += 1;
        }
    }
    class.push(']');
    let class = match (any, negated) {
        (true, _) => class,
        (false, true) => ".".to_owned(),
        (false, false) => "[^\\u{0}-\\u{10ffff}]".to_owned(),
    };
    Some((class, end + 1))
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
            ("c{p}u", "cpu", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} against {name}");
        }
    }
}
