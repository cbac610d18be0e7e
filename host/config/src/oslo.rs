//! Files of oslo.config: sections, `key = value`, continuation lines, `$other_key`. An option of a
//! later file wins.

use std::cell::Cell;
use std::collections::HashMap;

use super::error::{Report, exceeded};
use super::location::Location;
use nephometer_model::{Bound, clean};

/// The section of options before the first section header.
pub(super) const DEFAULT: &str = "DEFAULT";

/// The maximum depth of references.
const DEPTH: usize = 10;

/// The options of files, in order.
#[derive(Debug, Default)]
pub(super) struct OsloFile {
    names: Vec<String>,
    options: Vec<OsloOption>,
    /// The index of the last option of each name, by key and section.
    last: HashMap<(String, String), usize>,
    /// Bytes of all values that were expanded so far.
    expanded: Cell<usize>,
}

/// One option as written.
#[derive(Clone)]
pub(super) struct OsloOption {
    pub(super) section: String,
    pub(super) key: String,
    value: String,
    /// The index of its file's name.
    file: usize,
    line: usize,
}

impl OsloOption {
    /// Whether the value is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// Section and key, for messages. Text before an `@` is hidden, because it may be part of a URL.
    pub(super) fn name(&self) -> String {
        let shown = |text: &str| match text.rsplit_once('@') {
            Some((_, after)) => format!("***@{}", clean(after)),
            None => clean(text),
        };
        format!("[{}] {}", shown(&self.section), shown(&self.key))
    }
}

/// Why a value cannot be expanded.
enum NoValue {
    /// It refers to an option that is not set, or to itself.
    Reference,
    /// All values are too long with what they refer to.
    Exceeded(nephometer_model::Exceeded),
}

/// Not derived, because the value may be a secret.
impl std::fmt::Debug for OsloOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.section, self.key)
    }
}

impl OsloFile {
    /// Parses the text of a file. Every invalid line is reported.
    pub(super) fn read(name: &str, text: &str, report: &mut Report) -> Self {
        let mut file = Self::default();
        file.add(name, text, report);
        file
    }

    /// Adds the options of another file.
    pub(super) fn add(&mut self, name: &str, text: &str, report: &mut Report) {
        self.names.push(name.to_owned());
        if let Err(error) = Bound::ConfBytes.check(text.len()) {
            return report.push(exceeded(&location(name, 0), error));
        }
        let mut section = DEFAULT.to_owned();
        // Whether the next line may continue the last option.
        let mut open = false;
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let trimmed = line.trim();
            if trimmed.is_empty() {
                open = false;
            } else if trimmed.starts_with(['#', ';']) {
                // A comment within a value ends nothing.
            } else if line.starts_with(char::is_whitespace) && open {
                if let Some(last) = self.options.last_mut() {
                    last.value.push('\n');
                    last.value.push_str(trimmed);
                }
            } else if let Some(inner) = trimmed.strip_prefix('[') {
                open = false;
                match inner.split_once(']') {
                    Some((name, _)) if !name.trim().is_empty() => {
                        name.trim().clone_into(&mut section);
                    }
                    _ => report.fault(
                        &location(name, number),
                        "this section has no name in brackets",
                        "write [NAME]",
                    ),
                }
            } else {
                open = self.option(&section, trimmed, number, report);
            }
        }
    }

    fn option(&mut self, section: &str, line: &str, number: usize, report: &mut Report) -> bool {
        let (key, value) = line.split_at(line.find(['=', ':']).unwrap_or(0));
        let (key, value) = (key.trim(), value.get(1..).unwrap_or_default().trim());
        if key.is_empty() {
            let what = "this line is neither a section nor an option";
            report.fault(&location(self.name(), number), what, "write KEY = VALUE, or # in front");
            return false;
        }
        self.last.insert((key.to_owned(), section.to_owned()), self.options.len());
        self.options.push(OsloOption {
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            file: self.names.len().saturating_sub(1),
            line: number,
        });
        true
    }

    /// All options; the last one of each name.
    pub(super) fn options(&self) -> impl Iterator<Item = &OsloOption> {
        self.options.iter().filter(|one| {
            let last = self.named(&one.key, &one.section);
            last.is_some_and(|last| (last.file, last.line) == (one.file, one.line))
        })
    }

    /// The last option of a name.
    pub(super) fn named(&self, key: &str, section: &str) -> Option<&OsloOption> {
        let at = self.last.get(&(key.to_owned(), section.to_owned()))?;
        self.options.get(*at)
    }

    /// The location of an option.
    pub(super) fn location(&self, option: &OsloOption) -> Location {
        location(self.names.get(option.file).map_or("", String::as_str), option.line)
    }

    /// The name of the file that is being read.
    fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// The value of an option, without quotes and with references expanded. `None` with a problem if
    /// a reference is missing.
    pub(super) fn value(&self, option: &OsloOption, report: &mut Report) -> Option<String> {
        match self.resolved(option, DEPTH) {
            Ok(value) => Some(value),
            Err(NoValue::Reference) => {
                let what = format!("{} refers to an option that is not set", option.name());
                report.fault(&self.location(option), what, "set it, or write $$ for a dollar sign");
                None
            }
            Err(NoValue::Exceeded(error)) => {
                report.push(exceeded(&self.location(option), error));
                None
            }
        }
    }

    /// Counts text before it is added to a value: a few lines with ten references each would expand
    /// to ten billion.
    fn count(&self, text: &str) -> Result<(), NoValue> {
        self.expanded.set(self.expanded.get() + text.len() + 1);
        Bound::ConfBytes.check(self.expanded.get()).map_err(NoValue::Exceeded)
    }

    fn resolved(&self, option: &OsloOption, depth: usize) -> Result<String, NoValue> {
        let mut value = String::new();
        let mut rest = unquoted(&option.value);
        while let Some((before, after)) = rest.split_once('$') {
            self.count(before)?;
            value.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                value.push('$');
                rest = after;
                continue;
            }
            let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, after) = match after.strip_prefix('{') {
                Some(inner) => inner.split_once('}').ok_or(NoValue::Reference)?,
                None => after.split_at(after.find(|c| !named(c)).unwrap_or(after.len())),
            };
            let other = self.named(name, &option.section).or_else(|| self.named(name, DEFAULT));
            let other = other.ok_or(NoValue::Reference)?;
            let depth = depth.checked_sub(1).ok_or(NoValue::Reference)?;
            value.push_str(&self.resolved(other, depth)?);
            rest = after;
        }
        self.count(rest)?;
        value.push_str(rest);
        Ok(value)
    }
}

/// Whether a text is true for oslo.config.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

/// Whether a text is true or false for oslo.config.
pub(super) fn is_switch(value: &str) -> bool {
    is_true(value) || matches!(value.to_lowercase().as_str(), "false" | "0" | "no" | "off")
}

/// Converts the spellings of true and false in oslo.config.
pub(super) fn truth(value: String) -> String {
    match value.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => "true".to_owned(),
        "false" | "0" | "no" | "off" => "false".to_owned(),
        _ => value,
    }
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn location(file: &str, line: usize) -> Location {
    Location { file: file.into(), line, column: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(String, String, String)>, String) {
        let mut report = Report::default();
        let file = OsloFile::read("c.conf", text, &mut report);
        let all = file.options().filter_map(|option| {
            let value = file.value(option, &mut report)?;
            Some((option.section.clone(), option.key.clone(), value))
        });
        let all = all.collect();
        let problems = report.problems().iter().map(|problem| format!("{problem}\n")).collect();
        (all, problems)
    }

    #[test]
    fn options_are_read_as_oslo_does() {
        let (options, problems) = read(
            "\u{feff}host = a\n# comment\n;comment\nlist: one,\n  two\n\nhost=b\n[publisher]\n\
             secret = \"quoted # not a comment\"\nurl = rabbit://$host:${port}/$$x\nport = 5\n\
             [ other ]\nempty =\n",
        );
        let expected = [
            ("DEFAULT", "list", "one,\ntwo"),
            ("DEFAULT", "host", "b"),
            ("publisher", "secret", "quoted # not a comment"),
            ("publisher", "url", "rabbit://b:5/$x"),
            ("publisher", "port", "5"),
            ("other", "empty", ""),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(options, expected);
        assert_eq!(problems, "");
    }

    #[test]
    fn options_of_a_later_file_win() {
        let mut report = Report::default();
        let mut file = OsloFile::read("a.conf", "host = a\nlist = x\n", &mut report);
        file.add("a.conf.d/1.conf", "  y\n\nhost = $list\n[other]\nb = 1\n", &mut report);
        let all: Vec<_> = file
            .options()
            .map(|one| {
                (file.location(one).to_string(), one.key.clone(), file.value(one, &mut report))
            })
            .collect();
        let expected = [
            ("a.conf:2:1", "list", "x"),
            ("a.conf.d/1.conf:3:1", "host", "x"),
            ("a.conf.d/1.conf:5:1", "b", "1"),
        ];
        let expected = expected
            .map(|(at, key, value)| (at.to_owned(), key.to_owned(), Some(value.to_owned())));
        assert_eq!(all, expected);
        // A continuation does not cross files.
        let problems: Vec<String> = report.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("a.conf.d/1.conf:1:1: this line is neither"),
            "{problems:?}"
        );
    }

    #[test]
    fn faults_have_their_lines_and_no_values() {
        let (_, problems) = read("hunter2\n[]\n[x\na = $nobody\nb = $c\nc = $b\n= hunter2\n");
        assert_eq!(
            problems,
            "c.conf:1:1: this line is neither a section nor an option; write KEY = VALUE, or # in front\n\
             c.conf:2:1: this section has no name in brackets; write [NAME]\n\
             c.conf:3:1: this section has no name in brackets; write [NAME]\n\
             c.conf:7:1: this line is neither a section nor an option; write KEY = VALUE, or # in front\n\
             c.conf:4:1: [DEFAULT] a refers to an option that is not set; set it, or write $$ for a dollar sign\n\
             c.conf:5:1: [DEFAULT] b refers to an option that is not set; set it, or write $$ for a dollar sign\n\
             c.conf:6:1: [DEFAULT] c refers to an option that is not set; set it, or write $$ for a dollar sign\n"
        );
    }

    /// Ten lines of ten references each are ten billion values, and finding each took as long as
    /// the file.
    #[test]
    fn references_are_bounded() {
        let line = |key: u8| {
            let next = char::from(key + 1);
            format!("{} = {}\n", char::from(key), format!("${next}").repeat(10))
        };
        let bomb: String = (b'a'..b'j').map(line).collect();
        let (_, faults) = read(&format!("{bomb}j = x\n"));
        assert!(faults.starts_with("c.conf:"), "{faults}");
        assert!(faults.contains("(conf_bytes)") && faults.len() < 3_000, "{faults}");

        let many: String = (0..100_000).map(|at| format!("a{at}=\n")).collect();
        let (options, faults) = read(&many);
        assert_eq!((options.len(), &*faults), (100_000, ""));
    }

    #[test]
    fn values_above_the_limit_are_refused() {
        let most = Bound::ConfBytes.size();
        let file = |length: usize| format!("a={}", "x".repeat(length - 2));
        let (options, faults) = read(&file(most));
        assert_eq!((options[0].2.len(), &*faults), (most - 2, ""));
        let (options, faults) = read(&file(most + 1));
        assert!(options.is_empty());
        assert_eq!(
            faults,
            "c.conf: a ceilometer.conf with its references expanded: 1048577 bytes, at most \
             1048576 bytes (conf_bytes); refer to other options less often\n"
        );
        // Each value counts one extra byte, and a referenced value counts twice.
        let twice = |length: usize| format!("a={}\nb=$a\n", "x".repeat(length));
        let (options, _) = read(&twice(most / 2 - 2));
        assert_eq!(options.len(), 2);
        let (options, faults) = read(&twice(most / 2 - 1));
        assert_eq!(options.len(), 1);
        assert!(faults.contains("(conf_bytes)"), "{faults}");
    }
}
