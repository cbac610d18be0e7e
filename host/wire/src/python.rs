//! Formats values like Python: as JSON, as `repr`, and as `repr` with byte strings.
//!
//! Receivers recompute signatures over Python's text of a value, and files without `json` contain
//! it. The output must therefore equal Python's byte for byte.

use std::io::Write as _;

use serde_json::{Map, Number, Value};

use nephometer_model::Volume;

const WRITING: &str = "a vector takes every write";

/// The notation of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `json.dumps` with its defaults: ASCII only, `", "` and `": "`.
    Json,
    /// `repr` of Python 3.
    Repr,
    /// `repr` of Python 3 with strings encoded as UTF-8 bytes and dictionaries sorted by key: the
    /// signed text of lists.
    BytesRepr,
    /// `repr` of Python 2.7 with strings encoded as UTF-8 bytes, the plain strings of that version.
    Python2Repr,
}

impl Notation {
    /// Appends any value.
    pub fn value(self, out: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Null => self.none(out),
            Value::Bool(truth) => self.boolean(out, *truth),
            Value::Number(number) => {
                self::number(out, number);
                // Python 2 prints an integer beyond a machine word as a `long`.
                if self == Self::Python2Repr && number.is_u64() && number.as_i64().is_none() {
                    out.push(b'L');
                }
            }
            Value::String(text) => self.string(out, text),
            Value::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    self.value(out, item);
                }
                out.push(b']');
            }
            Value::Object(map) => self.object(out, map),
        }
    }

    /// Appends a dictionary.
    pub fn object(self, out: &mut Vec<u8>, map: &Map<String, Value>) {
        let mut entries: Vec<_> = map.iter().collect();
        if matches!(self, Self::BytesRepr | Self::Python2Repr) {
            entries.sort_unstable_by_key(|(key, _)| *key);
        }
        out.push(b'{');
        for (at, (key, value)) in entries.into_iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            self.string(out, key);
            out.extend_from_slice(b": ");
            self.value(out, value);
        }
        out.push(b'}');
    }

    /// Appends a string with its quotes.
    pub fn string(self, out: &mut Vec<u8>, text: &str) {
        match self {
            Self::Json => json_string(out, text),
            Self::Repr => repr_string(out, text),
            Self::BytesRepr => {
                out.push(b'b');
                bytes_repr(out, text);
            }
            Self::Python2Repr => bytes_repr(out, text),
        }
    }

    /// Appends `null` or `None`.
    pub fn none(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == Self::Json { b"null" } else { b"None" });
    }

    fn boolean(self, out: &mut Vec<u8>, truth: bool) {
        out.extend_from_slice(match (self, truth) {
            (Self::Json, true) => b"true",
            (Self::Json, false) => b"false",
            (_, true) => b"True",
            (_, false) => b"False",
        });
    }
}

/// Appends a volume: the same text in every notation.
pub(crate) fn volume(out: &mut Vec<u8>, volume: Volume) {
    match volume {
        Volume::Integer(whole) => write!(out, "{whole}").expect(WRITING),
        Volume::Float(value) => float(out, value),
    }
}

/// Appends a number: the same text in every notation.
pub(crate) fn number(out: &mut Vec<u8>, number: &Number) {
    match number.as_f64() {
        Some(value) if number.is_f64() => float(out, value),
        _ => write!(out, "{number}").expect(WRITING),
    }
}

/// Appends `repr(value)`: the shortest digits that read back as the same number, with an exponent
/// below 1e-4 and from 1e16 on.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) && value.is_finite() {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("`e` asks for an exponent");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(out, "{digits}e{sign}{exponent:0>2}").expect(WRITING);
        return;
    }
    let start = out.len();
    write!(out, "{value}").expect(WRITING);
    if value.is_finite() && !out[start..].contains(&b'.') {
        out.extend_from_slice(b".0");
    }
}

/// Appends `str(value)` of Python 2.7: twelve significant digits, with an exponent below 1e-4 and
/// from 1e12 on.
pub(crate) fn short_float(out: &mut Vec<u8>, value: f64) {
    const DIGITS: i32 = 12;
    if !value.is_finite() {
        return float(out, value);
    }
    let text = format!("{value:.11e}");
    let (digits, exponent) = text.split_once('e').expect("`e` asks for an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    if (-4..DIGITS).contains(&exponent) {
        let places = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        let text = format!("{value:.places$}");
        let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
        let end = if text.ends_with('.') {
            "0"
        } else if text.contains('.') {
            ""
        } else {
            ".0"
        };
        write!(out, "{text}{end}").expect(WRITING);
    } else {
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:0>2}", exponent.abs()).expect(WRITING);
    }
}

fn json_string(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    out.push(b'"');
    let mut rest = text;
    loop {
        // Nearly all texts are plain ASCII: copied as a whole.
        let plain = rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        out.extend_from_slice(&rest.as_bytes()[..plain]);
        let mut chars = rest[plain..].chars();
        match chars.next() {
            None => break,
            Some('"') => out.extend_from_slice(b"\\\""),
            Some('\\') => out.extend_from_slice(b"\\\\"),
            Some('\n') => out.extend_from_slice(b"\\n"),
            Some('\r') => out.extend_from_slice(b"\\r"),
            Some('\t') => out.extend_from_slice(b"\\t"),
            Some('\u{8}') => out.extend_from_slice(b"\\b"),
            Some('\u{c}') => out.extend_from_slice(b"\\f"),
            Some(other) => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect(WRITING);
                }
            }
        }
        rest = chars.as_str();
    }
    out.push(b'"');
}

fn repr_string(out: &mut Vec<u8>, text: &str) {
    let quote = quote(text);
    push(out, quote);
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ if c == quote => {
                out.push(b'\\');
                push(out, c);
            }
            ' '..='~' => push(out, c),
            _ if code >= 0x80 && printable(c) => push(out, c),
            _ if code < 0x100 => write!(out, "\\x{code:02x}").expect(WRITING),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}").expect(WRITING),
            _ => write!(out, "\\U{code:08x}").expect(WRITING),
        }
    }
    push(out, quote);
}

/// Appends the `repr` of bytes without the `b` prefix of Python 3.
fn bytes_repr(out: &mut Vec<u8>, text: &str) {
    let quote = quote(text);
    push(out, quote);
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ if char::from(byte) == quote => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => write!(out, "\\x{byte:02x}").expect(WRITING),
        }
    }
    push(out, quote);
}

/// Python uses double quotes only where they avoid escapes.
fn quote(text: &str) -> char {
    if text.contains('\'') && !text.contains('"') { '"' } else { '\'' }
}

/// Like `str.isprintable`. The standard library has the same categories but exposes them only in
/// the escaping of strings, which treats a mark in first position differently.
fn printable(c: char) -> bool {
    String::from_iter(['a', c]).escape_debug().nth(1) != Some('\\')
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_pythons() {
        for (value, expected) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (-2.5e-7, "-2.5e-07"),
            (1_234_567.123_456_789, "1234567.123456789"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(text(|out| float(out, value)), expected);
        }
    }

    #[test]
    fn short_floats_are_those_of_python_2() {
        for (value, expected) in [
            (0.1, "0.1"),
            (100.0, "100.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1e-5, "1e-05"),
            (0.000_123_456_789_012_345, "0.000123456789012"),
            (1_234_567.123_456_789, "1234567.12346"),
            (123_456_789_012.3, "123456789012.0"),
            (999_999_999_999.9, "1e+12"),
            (1e12, "1e+12"),
            (1.5e300, "1.5e+300"),
            (1.0 / 3.0, "0.333333333333"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(text(|out| short_float(out, value)), expected);
        }
    }

    #[test]
    fn json_is_ascii() {
        let value = json!({"a\"b": ["é", "😀", "\n\u{1}\u{7f}\\", null, true, 1, 1.0], "e": {}});
        assert_eq!(
            text(|out| Notation::Json.value(out, &value)),
            r#"{"a\"b": ["\u00e9", "\ud83d\ude00", "\n\u0001\u007f\\", null, true, 1, 1.0], "e": {}}"#
        );
    }

    #[test]
    fn repr_is_pythons() {
        for (value, expected) in [
            (json!("it's"), r#""it's""#),
            (json!("it's \"x\""), r#"'it\'s "x"'"#),
            (json!("say \"x\""), r#"'say "x"'"#),
            (json!("é😀\u{301}"), "'é😀\u{301}'"),
            (
                json!("\u{0}\u{7f}\u{a0}\u{ad}\u{2028}\u{e000}\u{e0001}"),
                r"'\x00\x7f\xa0\xad\u2028\ue000\U000e0001'",
            ),
            (json!("\t\\"), r"'\t\\'"),
            (json!({"b": [null, true, false], "a": 1.0}), "{'b': [None, True, False], 'a': 1.0}"),
        ] {
            assert_eq!(text(|out| Notation::Repr.value(out, &value)), expected);
        }
    }

    #[test]
    fn bytes_repr_sorts_and_escapes() {
        let value = json!([1, {"é": ["x'"], "a": null}]);
        assert_eq!(
            text(|out| Notation::BytesRepr.value(out, &value)),
            r#"[1, {b'a': None, b'\xc3\xa9': [b"x'"]}]"#
        );
    }
}
