//! Files of oslo.config: sections, `key = value`, continuation lines, `$other_key`.

use super::error::Report;
use super::place::Place;

/// The section of what stands before any other.
pub(super) const DEFAULT: &str = "DEFAULT";

/// How deep values may refer to each other.
const DEPTH: usize = 10;

/// The options of a file, in their order.
#[derive(Debug, Default)]
pub(super) struct OsloFile {
    name: String,
    options: Vec<OsloOption>,
}

/// One option as it is written.
#[derive(Clone)]
pub(super) struct OsloOption {
    pub(super) section: String,
    pub(super) key: String,
    value: String,
    line: usize,
}

impl OsloOption {
    /// Whether it is set to nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// Not derived: its value may be a secret.
impl std::fmt::Debug for OsloOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.section, self.key)
    }
}

impl OsloFile {
    /// Reads the text of a file. Every line that cannot be read is told.
    pub(super) fn read(name: &str, text: &str, report: &mut Report) -> Self {
        let mut file = Self { name: name.to_owned(), options: Vec::new() };
        let mut section = DEFAULT.to_owned();
        // Whether the next line may go on with the last option.
        let mut open = false;
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let trimmed = line.trim();
            if trimmed.is_empty() {
                open = false;
            } else if trimmed.starts_with(['#', ';']) {
                // A comment within a value ends nothing.
            } else if line.starts_with(char::is_whitespace) && open {
                if let Some(last) = file.options.last_mut() {
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
                        &place(&file.name, number),
                        "this section has no name in brackets",
                        "write [NAME]",
                    ),
                }
            } else {
                open = file.option(&section, trimmed, number, report);
            }
        }
        file
    }

    fn option(&mut self, section: &str, line: &str, number: usize, report: &mut Report) -> bool {
        let (key, value) = line.split_at(line.find(['=', ':']).unwrap_or(0));
        let (key, value) = (key.trim(), value.get(1..).unwrap_or_default().trim());
        if key.is_empty() {
            let what = "this line is neither a section nor an option";
            report.fault(&place(&self.name, number), what, "write KEY = VALUE, or # in front");
            return false;
        }
        self.options.push(OsloOption {
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            line: number,
        });
        true
    }

    /// All options; of one that is given several times the last.
    pub(super) fn options(&self) -> impl Iterator<Item = &OsloOption> {
        self.options.iter().enumerate().filter_map(|(at, one)| {
            let later = &self.options[at + 1..];
            let again = later.iter().any(|two| two.section == one.section && two.key == one.key);
            (!again).then_some(one)
        })
    }

    /// Where an option stands.
    pub(super) fn place(&self, option: &OsloOption) -> Place {
        place(&self.name, option.line)
    }

    /// The value of an option: without quotes around it, and with what it refers to. `None` with a
    /// fault if that is not there.
    pub(super) fn value(&self, option: &OsloOption, report: &mut Report) -> Option<String> {
        let value = self.resolved(option, DEPTH);
        if value.is_none() {
            let what = format!("{} refers to an option that is not set", option.key);
            report.fault(&self.place(option), what, "set it, or write $$ for a dollar sign");
        }
        value
    }

    fn resolved(&self, option: &OsloOption, depth: usize) -> Option<String> {
        let mut value = String::new();
        let mut rest = unquoted(&option.value);
        while let Some((before, after)) = rest.split_once('$') {
            value.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                value.push('$');
                rest = after;
                continue;
            }
            let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, after) = match after.strip_prefix('{') {
                Some(inner) => inner.split_once('}')?,
                None => after.split_at(after.find(|c| !named(c)).unwrap_or(after.len())),
            };
            let of = |section: &str| {
                self.options().find(|one| one.section == section && one.key == name)
            };
            let other = of(&option.section).or_else(|| of(DEFAULT))?;
            value.push_str(&self.resolved(other, depth.checked_sub(1)?)?);
            rest = after;
        }
        value.push_str(rest);
        Some(value)
    }
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn place(file: &str, line: usize) -> Place {
    Place { file: file.into(), line, column: 1 }
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
        let told = report.problems.iter().map(|problem| format!("{problem}\n")).collect();
        (all, told)
    }

    #[test]
    fn options_are_read_as_oslo_does() {
        let (options, told) = read(
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
        assert_eq!(told, "");
    }

    #[test]
    fn faults_have_their_lines_and_no_values() {
        let (_, told) = read("hunter2\n[]\n[x\na = $nobody\nb = $c\nc = $b\n= hunter2\n");
        assert_eq!(
            told,
            "c.conf:1:1: this line is neither a section nor an option; write KEY = VALUE, or # in front\n\
             c.conf:2:1: this section has no name in brackets; write [NAME]\n\
             c.conf:3:1: this section has no name in brackets; write [NAME]\n\
             c.conf:7:1: this line is neither a section nor an option; write KEY = VALUE, or # in front\n\
             c.conf:4:1: a refers to an option that is not set; set it, or write $$ for a dollar sign\n\
             c.conf:5:1: b refers to an option that is not set; set it, or write $$ for a dollar sign\n\
             c.conf:6:1: c refers to an option that is not set; set it, or write $$ for a dollar sign\n"
        );
    }
}
