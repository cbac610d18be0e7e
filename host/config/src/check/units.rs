//! Parses numbers, durations and sizes with units.

use std::time::Duration;

use crate::raw::{Kind, Scalar};

/// The remedy for an invalid duration.
pub(super) const DURATION: &str = "write a time above zero with its unit, such as 3s or 500ms";
/// The remedy for an invalid size.
pub(super) const SIZE: &str = "write a size above zero with its unit, such as 64MiB";

/// Python's `int(x)`: `"30"` and `" 3_0 "` are 30, 1.9 is 1, true is 1. `None` where Python raises.
pub(super) fn python_int(value: &Scalar, kind: Kind) -> Option<i64> {
    match value {
        _ if matches!(kind, Kind::Date | Kind::Binary) => None,
        Scalar::Bool(value) => Some(i64::from(*value)),
        Scalar::Int(value) => Some(*value),
        Scalar::Float(value) => truncated(*value),
        Scalar::Text(text) => parse_int(text),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn truncated(value: f64) -> Option<i64> {
    (value.is_finite() && value.abs() < 9e18).then(|| value.trunc() as i64)
}

/// Python's `int(text)`: blanks around it, one underscore between digits.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let well_formed = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    well_formed.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// A time above zero: `3s`, `500ms`, `2m`, `1h`, or a number of seconds.
pub(crate) fn duration(value: &Scalar) -> Option<Duration> {
    let (number, unit) = number_and_unit(value)?;
    let seconds = match unit.as_str() {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

/// Parses a duration above zero from the command line, in the form of the configuration.
///
/// # Errors
///
/// If the text is not such a duration, with an example.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(&Scalar::Text(text.to_owned()))
        .ok_or_else(|| "not a time above zero; write it like 500ms, 2s or 1m".to_owned())
}

/// Parses a size above zero from the command line, in bytes, in the form of the configuration.
///
/// # Errors
///
/// If the text is not such a size, with an example.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size(&Scalar::Text(text.to_owned()))
        .ok_or_else(|| "not a size above zero; write it like 64MiB".to_owned())
}

/// A size above zero in bytes: `64MiB`, `16 MB`, or a number of bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
pub(crate) fn size(value: &Scalar) -> Option<u64> {
    let (number, unit) = number_and_unit(value)?;
    let factor = match unit.to_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1_048_576.0,
        "gib" | "g" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = number * factor;
    (1.0..9e15).contains(&bytes).then_some(bytes as u64)
}

/// A whole number, also in quotes.
pub(super) fn whole(value: &Scalar) -> Option<i64> {
    match value {
        Scalar::Int(value) => Some(*value),
        Scalar::Text(text) => parse_int(text),
        _ => None,
    }
}

/// True or false, also in quotes, as it comes from an environment variable.
pub(crate) fn truth(value: &Scalar) -> Option<bool> {
    match value {
        Scalar::Bool(value) => Some(*value),
        Scalar::Text(text) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time or a size needs no more than 53 bits")]
fn number_and_unit(value: &Scalar) -> Option<(f64, String)> {
    match value {
        Scalar::Bool(_) => None,
        Scalar::Int(value) => Some((*value as f64, String::new())),
        Scalar::Float(value) => Some((*value, String::new())),
        Scalar::Text(text) => {
            let text = text.trim();
            let end = text.find(|c: char| c != '.' && c != '_' && !c.is_ascii_digit());
            let (number, unit) = text.split_at(end.unwrap_or(text.len()));
            Some((number.replace('_', "").parse().ok()?, unit.trim().to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn int_is_pythons() {
        for (value, expected) in [
            (text("30"), Some(30)),
            (text(" 3_0\n"), Some(30)),
            (text("+5"), Some(5)),
            (text("-5"), Some(-5)),
            (text("1.9"), None),
            (text("3__0"), None),
            (text("_3"), None),
            (text(""), None),
            (text("- 5"), None),
            (Scalar::Float(1.9), Some(1)),
            (Scalar::Float(-1.9), Some(-1)),
            (Scalar::Float(f64::INFINITY), None),
            (Scalar::Float(f64::NAN), None),
            (Scalar::Bool(true), Some(1)),
        ] {
            assert_eq!(python_int(&value, Kind::Text), expected, "{value}");
        }
        assert_eq!(python_int(&text("20151001"), Kind::Date), None);
    }

    #[test]
    fn times_and_sizes() {
        for (value, expected) in [
            ("3s", Some(3000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1.5 s", Some(1500)),
            ("7", Some(7000)),
            ("0s", None),
            ("-1s", None),
            ("3 fortnights", None),
            ("s", None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(duration(&text(value)), expected, "{value}");
        }
        for (value, expected) in [
            ("64MiB", Some(64 << 20)),
            ("16 MB", Some(16_000_000)),
            ("1.5KiB", Some(1536)),
            ("512", Some(512)),
            ("0", None),
            ("9e9", None),
            ("12 parsecs", None),
        ] {
            assert_eq!(size(&text(value)), expected, "{value}");
        }
        assert_eq!(size(&Scalar::Int(-1)), None);
    }
}
