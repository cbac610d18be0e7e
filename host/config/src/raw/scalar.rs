//! The types of unquoted scalars. Ceilometer has always read `pipeline.yaml` with PyYAML's
//! `safe_load`, that is, YAML 1.1 with PyYAML's own deviations: `yes` is true, `010` is eight,
//! `1:30` is ninety, `1e3` is text, `2015-10-01` is a date.

use std::sync::LazyLock;

use regex::Regex;

use super::node::Data;

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the patterns of this file are constants")
}

static INT: LazyLock<Regex> = LazyLock::new(|| {
    regex("[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)")
});

static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    ))
});

static DATE: LazyLock<Regex> = LazyLock::new(|| regex("([0-9]{4})-([0-9]{2})-([0-9]{2})"));

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[Tt]|[ \t]+)",
        r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?",
        r"(?:[ \t]*(Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    ))
});

/// Parses a plain scalar without a tag. The error names the invalid text.
pub(super) fn plain(text: &str) -> Result<Data, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Data::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Data::Bool(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Data::Bool(false));
        }
        "=" | "<<" => return Err(format!("{text:?} without quotes has no meaning here")),
        _ => {}
    }
    if FLOAT.is_match(text) {
        float(text)
    } else if INT.is_match(text) {
        int(text)
    } else if DATE.is_match(text) || TIME.is_match(text) {
        timestamp(text)
    } else {
        Ok(Data::Text(text.to_owned()))
    }
}

/// Parses a scalar with a standard YAML tag, such as `!!int "5"`; `None` for an unknown tag.
pub(super) fn tagged(tag: &str, text: &str) -> Option<Result<Data, String>> {
    Some(match tag {
        "str" => Ok(Data::Text(text.to_owned())),
        "null" => Ok(Data::Null),
        "bool" => match text.to_lowercase().as_str() {
            "yes" | "true" | "on" => Ok(Data::Bool(true)),
            "no" | "false" | "off" => Ok(Data::Bool(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        "int" => int(text),
        "float" => float(text),
        "timestamp" => timestamp(text),
        "binary" => Ok(Data::Binary(text.split_whitespace().collect())),
        _ => return None,
    })
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn int(text: &str) -> Result<Data, String> {
    let refused = || format!("{text:?} is not a whole number");
    let plain = text.replace('_', "");
    let (negative, digits) = split_sign(&plain);
    let read = |digits: &str, radix: u32| match i128::from_str_radix(digits, radix) {
        Ok(value) if !digits.starts_with(['-', '+']) => Ok(value),
        _ => Err(refused()),
    };
    let value = if let Some(binary) = digits.strip_prefix("0b") {
        read(binary, 2)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        read(hex, 16)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        read(digits, 8)?
    } else if digits.contains(':') {
        let mut value: i128 = 0;
        for part in digits.split(':') {
            value = value
                .checked_mul(60)
                .and_then(|value| value.checked_add(read(part, 10).ok()?))
                .ok_or_else(refused)?;
        }
        value
    } else if digits.len() > 38 && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        // Python's integers are unbounded; beyond 38 digits the nearest float is used instead.
        return float(text);
    } else {
        read(digits, 10)?
    };
    Ok(Data::Int(if negative { -value } else { value }))
}

fn float(text: &str) -> Result<Data, String> {
    let refused = |_| format!("{text:?} is not a number");
    let plain = text.replace('_', "").to_lowercase();
    let (negative, digits) = split_sign(&plain);
    let value = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => {
            let mut value = 0.0;
            for part in digits.split(':') {
                value = value * 60.0 + part.parse::<f64>().map_err(refused)?;
            }
            value
        }
    };
    Ok(Data::Float(if negative { -value } else { value }))
}

/// Parses a date or a time into the format of Python's `str`.
fn timestamp(text: &str) -> Result<Data, String> {
    let refused = || format!("{text:?} looks like a date, but there is no such date");
    let found = DATE.captures(text).or_else(|| TIME.captures(text)).ok_or_else(refused)?;
    let field = |at: usize| found.get(at).map(|field| field.as_str());
    let number = |at: usize| field(at).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let (year, month, day) = (number(1), number(2), number(3));
    if year == 0 || !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return Err(refused());
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if found.len() < 5 {
        return Ok(Data::Date(date));
    }
    let (hour, minute, second) = (number(4), number(5), number(6));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(refused());
    }
    let mut fraction = field(7).unwrap_or("").chars().take(6).collect::<String>();
    if fraction.chars().all(|digit| digit == '0') {
        fraction.clear();
    } else {
        fraction = format!(".{fraction:0<6}");
    }
    let zone = match field(8) {
        None => String::new(),
        Some("Z") => "+00:00".to_owned(),
        Some(zone) => {
            let (sign, rest) = zone.split_at(1);
            let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
            format!("{sign}{hours:0>2}:{minutes}")
        }
    };
    Ok(Data::Date(format!("{date} {hour:02}:{minute:02}:{second:02}{fraction}{zone}")))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}
