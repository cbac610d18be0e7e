//! Standard output and standard error. All texts from guests, peers and files reach the terminal
//! through this module, which escapes control characters in them.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use nephometer_model::{Release, Sample, clean, is_hostile};
use nephometer_wire::{Notation, as_dict};

/// Prints one or more lines to standard error.
pub(super) fn print_error(text: &str) {
    let mut stderr = Escaped(io::stderr().lock());
    let ending = if text.ends_with('\n') { "" } else { "\n" };
    // A closed standard error cannot be reported anywhere.
    drop(write!(stderr, "{text}{ending}"));
}

/// Standard output, buffered; a closed pipe is an ordinary error.
pub(super) fn stdout() -> Escaped<io::BufWriter<io::StdoutLock<'static>>> {
    Escaped(terminal())
}

/// Unescaped standard output, for a live view that moves the cursor. Its callers clean all texts.
pub(super) fn terminal() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}

/// Columns and rows of the terminal at standard output; `None` if they are unknown.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Whether standard output is a terminal that can move its cursor.
pub(super) fn can_redraw() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !dumb
}

/// Whether standard output may have colours: it is a terminal, and its user does not refuse them
/// (<https://no-color.org>).
pub(super) fn is_coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

/// Cleans a text of several lines and indents all but the first, so that none looks like output of
/// the agent.
pub(super) fn paragraph(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(clean).collect();
    lines.join("\n  ")
}

/// Writes text with control characters, except line feeds and tabs, as JSON escapes. JSON keeps its
/// meaning.
#[derive(Debug)]
pub(super) struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
            return self.0.write(bytes);
        }
        let mut text = String::with_capacity(bytes.len());
        for c in String::from_utf8_lossy(bytes).chars() {
            if is_hostile(c) && !matches!(c, '\n' | '\t') {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                text.push(c);
            }
        }
        self.0.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints one JSON document as one line.
pub(super) fn print_json(document: &Value) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(out, "{document}")?;
    Ok(out.flush()?)
}

/// Prints a sample as one line of JSON, in Ceilometer's keys and order.
pub(super) fn print_sample(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    let mut line = Vec::with_capacity(1_024);
    as_dict(&mut line, Notation::Json, Release::Current, sample);
    line.push(b'\n');
    out.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        write!(Escaped(&mut out), "{text}").unwrap();
        String::from_utf8(out).unwrap()
    }

    // Names of meters and reasons of guests once reached the terminal unescaped.
    #[test]
    fn control_characters_are_escaped_and_json_keeps_its_meaning() {
        assert_eq!(escaped("töst\tok\n"), "töst\tok\n");
        assert_eq!(
            escaped("a\u{1b}[2J\rb\u{9b}2J\u{7f}\n"),
            "a\\u001b[2J\\u000db\\u009b2J\\u007f\n"
        );
        let value = serde_json::json!({"name": "\u{9b}2J\u{7f}\u{202e}\n", "é": "\u{1b}"});
        let text = escaped(&value.to_string());
        assert!(!text.chars().any(is_hostile), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn lines_of_a_foreign_text_are_indented() {
        assert_eq!(
            paragraph("it failed\nok: all\r\n\u{1b}c\n"),
            "it failed\n  ok: all\n  \\u{1b}c"
        );
    }
}
