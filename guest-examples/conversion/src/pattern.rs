//! Python's `re.sub`, on an engine without look-around and back-references in patterns.

use regex_lite::{Captures, Regex};

/// Compiles a pattern in Python's notation.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translate(pattern)).map_err(|error| {
        format!("unsupported pattern (no look-around, no back-references): {error}")
    })
}

/// Rewrites Python's notation for the engine: `\Z`, `{,n}`, literal braces and brackets, and
/// needlessly escaped punctuation.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    let mut in_class = false;
    let mut class_began = false;
    while let Some(char) = rest.next() {
        let first_in_class = std::mem::take(&mut class_began);
        match char {
            '\\' => match rest.next() {
                Some('Z') if !in_class => translated.push_str(r"\z"),
                Some(plain @ ('<' | '>')) => translated.push(plain),
                Some(plain) if !plain.is_ascii() => translated.push(plain),
                Some(other) => translated.extend(['\\', other]),
                None => translated.push('\\'),
            },
            ']' if in_class && !first_in_class => {
                in_class = false;
                translated.push(char);
            }
            '^' if first_in_class => {
                class_began = !translated.ends_with('^');
                translated.push(char);
            }
            '[' | ']' | '&' | '~' if in_class => translated.extend(['\\', char]),
            '[' => {
                in_class = true;
                class_began = true;
                translated.push(char);
            }
            '{' if !in_class => match quantifier(rest.as_str()) {
                Some(from_zero) => translated.push_str(if from_zero { "{0" } else { "{" }),
                None => translated.push_str(r"\{"),
            },
            other => translated.push(other),
        }
    }
    translated
}

/// `Some` if the text after a brace makes it a quantifier; true if its lower bound is left out.
fn quantifier(rest: &str) -> Option<bool> {
    let (inside, _) = rest.split_once('}')?;
    let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let empty = inside.is_empty() || (low.is_empty() && high.is_empty());
    (!empty && digits(low) && digits(high)).then_some(low.is_empty())
}

/// The replacement of a match.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Parses a replacement in Python's notation: `\1`, `\g<1>`, `\g<name>`, `\n` and the like.
    pub(crate) fn parse(text: &str, pattern: &Regex) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            plain.push_str(before);
            let escape = after.chars().next().ok_or("ends in a single '\\'")?;
            rest = &after[escape.len_utf8()..];
            let group = match escape {
                'g' => {
                    let inside = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                    let (name, after) = inside.ok_or(r"'\g' must be followed by <name>")?;
                    rest = after;
                    let number = name.parse().ok();
                    number
                        .or_else(|| pattern.capture_names().position(|one| one == Some(name)))
                        .ok_or_else(|| format!("the pattern has no group '{name}'"))?
                }
                '1'..='9' => {
                    let second = rest.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
                    let digits = &after[..1 + usize::from(second)];
                    rest = &after[digits.len()..];
                    digits.parse().map_err(|_| "not a group number")?
                }
                other => {
                    plain.push_str(&literal(other)?);
                    continue;
                }
            };
            if group >= pattern.captures_len() {
                return Err(format!("the pattern has no group {group}"));
            }
            parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Group(group)]);
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// Replaces every match of the pattern in the text.
    pub(crate) fn replace_all(&self, pattern: &Regex, text: &str) -> String {
        let replacement = |found: &Captures<'_>| {
            let part = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Group(number) => found.get(*number).map_or("", |at| at.as_str()).to_owned(),
            };
            self.0.iter().map(part).collect::<String>()
        };
        pattern.replace_all(text, replacement).into_owned()
    }
}

fn literal(escape: char) -> Result<String, String> {
    Ok(match escape {
        '\\' => "\\".to_owned(),
        'a' => "\x07".to_owned(),
        'b' => "\x08".to_owned(),
        'f' => "\x0c".to_owned(),
        'n' => "\n".to_owned(),
        'r' => "\r".to_owned(),
        't' => "\t".to_owned(),
        'v' => "\x0b".to_owned(),
        letter if letter.is_ascii_alphanumeric() => {
            return Err(format!("unknown escape '\\{letter}'"));
        }
        other => format!("\\{other}"),
    })
}
