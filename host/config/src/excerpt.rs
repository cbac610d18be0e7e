//! The line of a file that a problem refers to, for the terminal, without secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::caution::is_secret;
use super::error::nearest;
use super::location::Location;
use nephometer_model::{Bound, is_hostile};

/// What stands for text that is not shown.
const OMITTED: char = '…';

/// Words in names of options with secrets, besides those of [`is_secret`].
const SECRET_WORDS: &[&str] =
    &["passw", "passphrase", "secret", "token", "api_key", "apikey", "credential_", "private"];
/// Names of secrets, for keys that are misspelt.
const SECRET_NAMES: &[&str] =
    &["password", "secret", "token", "api_key", "telemetry_secret", "passwd"];

/// A line of a file, safe for a terminal: without secrets and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, or the part of it that may be shown and fits.
    pub text: String,
    /// The index of the character in `text` at the column of the location.
    pub caret: usize,
}

/// The files that problems refer to. Each is read once.
#[derive(Debug, Default)]
pub struct ExcerptFiles {
    files: BTreeMap<Arc<str>, Option<ExcerptFile>>,
}

/// The text of a file, and whether its lines may be shown whole.
#[derive(Debug)]
struct ExcerptFile {
    text: String,
    valid: bool,
}

impl ExcerptFiles {
    /// The line at a location, at most `width` characters of it. `None` without a line, or if the
    /// file cannot be read (again).
    pub fn excerpt(&mut self, location: &Location, width: usize) -> Option<Excerpt> {
        let at = location.line.checked_sub(1)?;
        let name = &location.file;
        let file = self.files.entry(Arc::clone(name)).or_insert_with(|| open(Path::new(&**name)));
        let file = file.as_ref()?;
        let lines: Vec<&str> = file.text.lines().collect();
        let line = lines.get(at)?;
        let shown = shown(&lines, at, file.valid);
        Some(fitted(shown, shown.len() < line.len(), location.column, width))
    }
}

/// A pipe, such as standard input, cannot be read twice.
fn open(path: &Path) -> Option<ExcerptFile> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return None;
    }
    let mut text = String::new();
    let most = Bound::YamlBytes.most() + 1;
    nephometer_files::open(path).ok()?.take(most).read_to_string(&mut text).ok()?;
    ExcerptFile::new(path, &text)
}

impl ExcerptFile {
    /// `None` if the parser counts lines differently.
    fn new(path: &Path, text: &str) -> Option<Self> {
        if text.replace("\r\n", "\n").contains('\r') {
            return None;
        }
        // Values of files in the form of oslo.config have no types: any may be a secret.
        let is_yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
        let valid = is_yaml && serde_yaml::from_str::<serde_yaml::Value>(text).is_ok();
        let text = text.trim_start_matches('\u{feff}').to_owned();
        Some(Self { text, valid })
    }
}

/// The part of a line that may be shown: all of it, or only its key, or nothing.
///
/// A line is shown whole only if the file is valid YAML, and neither the line, nor a line that
/// encloses it or begins its value, suggests a secret.
fn shown<'a>(lines: &[&'a str], at: usize, valid: bool) -> &'a str {
    let line = lines[at];
    if valid && !hides(lines, at) {
        return line;
    }
    // A key of other characters may be a part of a password.
    let is_name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-');
    match key(line) {
        Some((key, end)) if key.chars().all(is_name) => &line[..end],
        _ => "",
    }
}

fn hides(lines: &[&str], at: usize) -> bool {
    let line = lines[at];
    let mut level = indentation(line);
    // Whether the line may be a part of a value that begins above it.
    let mut is_continued = key(line).is_none() && !line.trim_start().starts_with('-');
    if suggests_secret(line) {
        return true;
    }
    let mut previous = true;
    for above in lines[..at].iter().rev().filter(|line| !line.trim().is_empty()) {
        let inner = indentation(above);
        let is_open =
            previous && ['"', '\''].iter().any(|quote| above.matches(*quote).count() % 2 == 1);
        if (is_continued || inner < level || is_open) && suggests_secret(above) {
            return true;
        }
        is_continued &= key(above).is_none();
        (level, previous) = (level.min(inner), false);
        if level == 0 && !is_continued {
            break;
        }
    }
    false
}

/// The column of the first character that is no space and no dash of a list.
fn indentation(line: &str) -> usize {
    let mut rest = line.trim_start_matches(' ');
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start_matches(' ');
    }
    line.len() - rest.len()
}

/// The key of a line, and the index behind its colon or equals sign.
fn key(line: &str) -> Option<(&str, usize)> {
    let start = indentation(line);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '"' | '\'');
    let rest = &line[start..];
    let length = rest.find(|c| !is_part(c))?;
    let (name, behind) = rest.split_at(length);
    let mark = behind.trim_start_matches(' ');
    let spaces = behind.len() - mark.len();
    let after_colon = mark.strip_prefix(':');
    let ends = mark.starts_with('=')
        || after_colon.is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t']));
    (!name.is_empty() && ends).then_some((name, start + length + spaces + 1))
}

/// Whether a line may have a secret: by its words, as a URL with more than host and path, or as an
/// anchor, whose value may be used as a secret elsewhere.
fn suggests_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_name =
        |word: &str| is_secret(word) || word == "key" || word == "auth" || word.ends_with("_key");
    // Escapes of YAML and of URLs spell words differently.
    let escaped = lower.contains(['@', '&', '\\', '%']);
    let url = lower.split_once("://").is_some_and(|(_, rest)| !is_plain(rest));
    let named = SECRET_WORDS.iter().any(|word| lower.contains(word))
        || lower.split(|c| !is_word(c)).any(is_name);
    let misspelt = || {
        lower
            .split([',', '{', ' ', '-', '"', '\''])
            .filter_map(|part| part.strip_suffix([':', '=']))
            .any(|word| word.len() > 4 && nearest(word, SECRET_NAMES.iter().copied()).is_some())
    };
    escaped || url || named || misspelt()
}

/// Whether the rest of a URL has neither options nor a fragment, and only numbers behind colons.
fn is_plain(rest: &str) -> bool {
    let port = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit() || "/ ,'\"]}".contains(c)) || part.is_empty()
    };
    !rest.contains(['?', '#']) && rest.split(':').skip(1).all(port)
}

/// Escapes a line and cuts it to `width` characters around `column`, which is counted from 1.
fn fitted(line: &str, is_cut: bool, column: usize, width: usize) -> Excerpt {
    let (mut text, mut caret) = (Vec::new(), None);
    for (at, c) in line.chars().enumerate() {
        if at + 1 == column {
            caret = Some(text.len());
        }
        if is_hostile(c) { text.extend(c.escape_default()) } else { text.push(c) }
    }
    let mut caret = caret.unwrap_or(text.len() + usize::from(is_cut));
    if is_cut {
        if !text.is_empty() {
            text.push(' ');
        }
        caret = caret.min(text.len());
        text.push(OMITTED);
    }
    let width = width.max(8);
    if text.len() > width {
        let start = if caret + 1 < width { 0 } else { (caret - width / 2).min(text.len() - width) };
        let (before, after) = (start > 0, start + width < text.len());
        text = text[start..start + width].to_vec();
        if before {
            text[0] = OMITTED;
        }
        if after {
            text[width - 1] = OMITTED;
        }
        caret = (caret - start).min(width);
    }
    Excerpt { text: text.into_iter().collect(), caret }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str, line: usize) -> String {
        let file = ExcerptFile::new(Path::new("a.yaml"), text).unwrap();
        let lines: Vec<&str> = file.text.lines().collect();
        shown(&lines, line - 1, file.valid).to_owned()
    }

    #[test]
    fn lines_without_secrets_are_shown() {
        let text = "sources:\n  - name: a\n    interval: soon\nsinks:\n- name: b\n  publishers:\n  - \
                    udp://host:4952\n  - notifier://u:hunter2@h\n  - notifier://host:5672/\n";
        for line in [1, 2, 3, 4, 5, 6, 7, 9] {
            assert_eq!(of(text, line), text.lines().nth(line - 1).unwrap());
        }
        assert_eq!(of(text, 8), "");
    }

    #[test]
    fn secrets_are_not_shown() {
        for (text, line, expected) in [
            ("password: hunter2", 1, "password:"),
            ("  pazsword: hunter2", 1, "  pazsword:"),
            ("telemetry_sxcret: hunter2", 1, "telemetry_sxcret:"),
            ("message: {telemetry_secret: hunter2}", 1, "message:"),
            ("a: 1\nb: 2\nc: hunter2: x", 3, "c:"),
            ("token:\n  hunter2", 2, ""),
            ("token: |\n  a: b\n\n  hunter2", 4, ""),
            ("token: |\n  hunter: 2", 2, "  hunter:"),
            ("x: {token:\nhunter2}", 2, ""),
            ("token: 'a\n  b\n  hunter2'", 3, ""),
            ("x: &t\n  hunter2\ny: {token: *t}", 2, ""),
            ("tls:\n  key: hunter2", 2, "  key:"),
            ("tokens:\n- hunter2", 2, ""),
            ("url: notifier://broker/#hunter2", 1, "url:"),
            ("- tcp://host?key=hunter2", 1, ""),
            ("- amqp://u:hunter2", 1, ""),
            ("- u:hunter2@host", 1, ""),
            ("\"p\\x61ssword\": hunter2", 1, ""),
            ("amqp://u:hunter2@h: x", 1, ""),
            ("Hunter2: &x", 1, ""),
        ] {
            assert_eq!(of(text, line), expected, "{text}");
        }
        let conf = ExcerptFile::new(Path::new("c.conf"), "rabbit_login_method = hunter2");
        assert_eq!(
            shown(&["rabbit_login_method = hunter2"], 0, conf.unwrap().valid),
            "rabbit_login_method ="
        );
        assert!(ExcerptFile::new(Path::new("a.yaml"), "a: 1\rb: 2").is_none());
    }

    #[test]
    fn carets_stay_below_their_column() {
        let excerpt = |line, is_cut, column, width| {
            let found = fitted(line, is_cut, column, width);
            (found.text, found.caret)
        };
        assert_eq!(excerpt("a: soon", false, 4, 80), ("a: soon".to_owned(), 3));
        assert_eq!(excerpt("a:\u{1b}soon", false, 4, 80), ("a:\\u{1b}soon".to_owned(), 8));
        assert_eq!(excerpt("token:", true, 8, 80), ("token: …".to_owned(), 7));
        assert_eq!(excerpt("", true, 8, 80), ("…".to_owned(), 0));
        assert_eq!(excerpt("0123456789", false, 9, 8), ("…3456789".to_owned(), 6));
    }

    proptest! {
        /// Whatever the form of the value is.
        #[test]
        fn no_form_of_a_secret_is_shown(
            key in "(my_)?(password|secret|token|api_key|TOKEN)",
            secret in "[A-Z][A-Za-z0-9]{6,12}Z",
            form in 0..6usize,
            before in "( {0,3}[a-z]{1,4}: [a-z0-9]{1,5}\n){0,3}",
        ) {
            let text = match form {
                0 => format!("{before}{key}: {secret}\n"),
                1 => format!("{before}{key}:\n   {secret}\n"),
                2 => format!("{before}{key}: |\n   {secret}\n\n   x: {secret}\n"),
                3 => format!("{before}x: {{ {key}: {secret}, y: 1 }}\n"),
                4 => format!("{before}- {key}: \"\n   {secret}\"\n"),
                _ => format!("{before}url: amqp://user:{secret}@host/\n"),
            };
            let lines: Vec<&str> = text.lines().collect();
            for at in 0..lines.len() {
                for valid in [true, false] {
                    let shown = shown(&lines, at, valid);
                    prop_assert!(!shown.contains(&secret), "{shown} of {text}");
                }
            }
        }

        #[test]
        fn excerpts_fit(line in any::<String>(), column in 0..200usize, width in 8..100usize, is_cut: bool) {
            let found = fitted(&line, is_cut, column, width);
            prop_assert!(found.text.chars().count() <= width);
            prop_assert!(found.caret <= width);
            prop_assert!(!found.text.contains(is_hostile));
        }
    }
}
