//! Standard output and standard error: the one place where what guests, peers and files have named
//! reaches a terminal, and where it is made harmless.

use std::io::{self, Write};

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

/// The same for those who move the cursor themselves, and write nothing that is not clean.
pub(super) fn terminal() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}

/// Text of several lines by others: none of them looks like a line of ours.
pub(super) fn paragraph(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(clean).collect();
    lines.join("\n  ")
}

/// Writes text, in which no character but the ends of lines and tabs moves a cursor. What would is
/// written as JSON escapes it, so that JSON stays what it was.
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

/// One sample as a line of JSON, in Ceilometer's own keys and order.
pub(super) fn sample(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    let mut line = Vec::with_capacity(1_024);
    as_dict(&mut line, Notation::Json, Release::Current, sample);
    line.push(b'\n');
    out.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write!(Escaped(&mut out), "{text}").unwrap();
        String::from_utf8(out).unwrap()
    }

    // Names of meters and reasons of guests once reached the terminal as they were.
    #[test]
    fn nothing_moves_the_cursor_and_json_stays_what_it_was() {
        assert_eq!(written("töst\tok\n"), "töst\tok\n");
        assert_eq!(
            written("a\u{1b}[2J\rb\u{9b}2J\u{7f}\n"),
            "a\\u001b[2J\\u000db\\u009b2J\\u007f\n"
        );
        let value = serde_json::json!({"name": "\u{9b}2J\u{7f}\u{202e}\n", "é": "\u{1b}"});
        let text = written(&value.to_string());
        assert!(!text.chars().any(is_hostile), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn lines_of_others_do_not_look_like_ours() {
        assert_eq!(
            paragraph("it failed\nok: all\r\n\u{1b}c\n"),
            "it failed\n  ok: all\n  \\u{1b}c"
        );
    }
}
