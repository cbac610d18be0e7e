//! Formats values like Python: as JSON, as `repr`, and as `repr` with byte strings.
//!
//! Receivers recompute signatures over Python's text of a value, and files without `json` contain
//! it. The output must therefore equal Python's byte for byte.

use std::io::Write as _;

use serde_json::{Map, Number, Value};

use nephometer_model::Volume;

/// Bytes that are checked at once for characters to be escaped.
const BLOCK: usize = 16;
const WRITING: &str = "a vector takes every write";

/// The notation of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `json.dumps` with its defaults: ASCII only, `", "` and `": "`.
    Json,
    /// `Json`, escaped once more for a string of JSON.
    NestedJson,
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
        out.push(b'{');
        if matches!(self, Self::BytesRepr | Self::Python2Repr) {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            self.entries(out, entries);
        } else {
            self.entries(out, map);
        }
        out.push(b'}');
    }

    fn entries<'a>(
        self,
        out: &mut Vec<u8>,
        entries: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) {
        for (at, (key, value)) in entries.into_iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            self.string(out, key);
            out.extend_from_slice(b": ");
            self.value(out, value);
        }
    }

    /// Appends a string with its quotes.
    pub fn string(self, out: &mut Vec<u8>, text: &str) {
        match self {
            Self::Json => json_string(out, text, "\"", "\\"),
            Self::NestedJson => json_string(out, text, "\\\"", "\\\\"),
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
        out.extend_from_slice(if self.is_json() { b"null" } else { b"None" });
    }

    fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::NestedJson)
    }

    fn boolean(self, out: &mut Vec<u8>, truth: bool) {
        out.extend_from_slice(match (self.is_json(), truth) {
            (true, true) => b"true",
            (true, false) => b"false",
            (false, true) => b"True",
            (false, false) => b"False",
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
/// below 1e-4 and from 1e16 on. Of two candidates that are equally near, Python takes the even one,
/// as `zmij` does and the standard library does not.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format(value);
    if let Some((digits, exponent)) = text.split_once("e-") {
        write!(out, "{digits}e-{exponent:0>2}").expect(WRITING);
    } else if (1e-5..1e-4).contains(&value.abs()) {
        let (sign, digits) = text.split_once("0.0000").expect("printed without an exponent");
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        write!(out, "{sign}{first}{point}{rest}e-05").expect(WRITING);
    } else {
        out.extend_from_slice(text.as_bytes());
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

/// Appends a JSON string between these quotes, with this in front of each escaped character: `"` and
/// `\`, or both as they stand within another JSON string.
fn json_string(out: &mut Vec<u8>, text: &str, quote: &str, escape: &str) {
    out.extend_from_slice(quote.as_bytes());
    let mut rest = text;
    loop {
        // Nearly all texts are plain ASCII: copied as a whole.
        let plain = plain_length(rest.as_bytes());
        out.extend_from_slice(&rest.as_bytes()[..plain]);
        let mut chars = rest[plain..].chars();
        let Some(special) = chars.next() else { break };
        out.extend_from_slice(escape.as_bytes());
        match special {
            '"' => out.extend_from_slice(quote.as_bytes()),
            '\\' => out.extend_from_slice(escape.as_bytes()),
            '\n' => out.push(b'n'),
            '\r' => out.push(b'r'),
            '\t' => out.push(b't'),
            '\u{8}' => out.push(b'b'),
            '\u{c}' => out.push(b'f'),
            other => {
                let mut units = [0; 2];
                for (at, unit) in other.encode_utf16(&mut units).iter().enumerate() {
                    let escape = if at == 0 { "" } else { escape };
                    write!(out, "{escape}u{unit:04x}").expect(WRITING);
                }
            }
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(quote.as_bytes());
}

/// The number of characters at the start of a text that JSON takes unescaped.
fn plain_length(text: &[u8]) -> usize {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    // Whole blocks without a branch per byte are compiled to vector instructions.
    let all_plain = |block: &&[u8]| block.iter().fold(true, |all, byte| all & is_plain(byte));
    let start = text.chunks_exact(BLOCK).take_while(all_plain).count() * BLOCK;
    let rest = &text[start..];
    start + rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len())
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
            (2e-5, "2e-05"),
            (10.000_01, "10.00001"),
            (-0.000_098_765, "-9.8765e-05"),
            (1.25e-120, "1.25e-120"),
            // Equally near to a digit on both sides.
            (1_602_103_310_142_037.0 + 0.25, "1602103310142037.2"),
            (2_f64.powi(-25), "2.9802322387695312e-08"),
            (1_234_567.123_456_789, "1234567.123456789"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(text(|out| float(out, value)), expected);
        }
    }

    #[test]
    fn floats_of_all_sizes_read_back_from_the_fewest_digits() {
        let digits = |text: &str| {
            let mantissa = text.split('e').next().unwrap();
            let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
            digits.trim_matches('0').len()
        };
        let mut bits = 1_u64;
        for _ in 0..100_000 {
            // A linear congruential generator.
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // Half of them from the range without an exponent.
            let size = if bits & 1 == 0 { (bits >> 52) & 0x7ff } else { 1_008 + (bits >> 52) % 70 };
            let value = f64::from_bits(bits & !(0x7ff << 52) | (size << 52));
            if value.is_finite() {
                let printed = text(|out| float(out, value));
                assert_eq!(printed.parse(), Ok(value));
                assert_eq!(digits(&printed), digits(&format!("{value:e}")), "{printed}");
                let has_exponent = !(1e-4..1e16).contains(&value.abs());
                assert_eq!(printed.contains('e'), has_exponent, "{printed}");
            }
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

    /// Every kind of character, before and behind the boundary of a block.
    #[test]
    fn nested_json_is_json_within_json() {
        let special =
            ('\0'..='\u{ff}').chain("\u{2028}\u{d7ff}\u{e000}\u{ffff}😀\u{10ffff}".chars());
        for special in special {
            for before in 0..=BLOCK + 1 {
                let hostile = format!("{}{special}\"{special}y", "x".repeat(before));
                let value = json!({hostile.clone(): [hostile.clone(), null, true, 1.5]});
                let json = text(|out| Notation::Json.value(out, &value));
                assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
                let nested = text(|out| Notation::NestedJson.value(out, &value));
                assert_eq!(format!("\"{nested}\""), serde_json::to_string(&json).unwrap());
            }
        }
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
