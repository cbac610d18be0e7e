//! Fixtures: the expected output of a component for a given input. Reads, compares and formats them;
//! `docs/fixtures.md` describes the format.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use nephometer_config as config;
use nephometer_model::{Release, Sample, Timestamp};
use nephometer_wire::{Notation, as_dict, sample_from_json};

/// The relative difference up to which volumes are equal: languages round sums differently.
const TOLERANCE: f64 = 1e-12;

/// The keys that `--update` writes for samples that were not expected before.
const DEFAULT_KEYS: [&str; 7] =
    ["name", "type", "unit", "volume", "resource_id", "project_id", "timestamp"];

/// Why a fixture cannot be read or written.
#[derive(Debug, Error)]
pub enum FixtureError {
    /// The file cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// The path of the fixture.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not a fixture.
    #[error("{}: {reason}", .path.display())]
    Malformed {
        /// The path of the fixture.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
}

/// A fixture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// A description for the reader.
    #[serde(default, rename = "about")]
    _about: String,
    #[serde(default)]
    pub(crate) options: Map<String, Value>,
    /// Keys of all samples, which samples may override.
    #[serde(default)]
    defaults: Map<String, Value>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    /// Instead of steps: the expected errors in the options, as pointers and reasons.
    pub(crate) errors: Option<Vec<(String, String)>>,
}

/// One step: its input, and its expected output.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// The samples of a batch.
    pub(crate) batch: Option<Vec<Map<String, Value>>>,
    /// With a batch: ids of removed resources.
    #[serde(default, rename = "gone")]
    pub(crate) removed: Vec<Arc<str>>,
    /// Or the time of the end of a polling cycle.
    pub(crate) flush: Option<String>,
    /// Or a save of the state, with which a new instance continues. The expected state as JSON; `true`
    /// for any.
    pub(crate) state: Option<Value>,
    /// The expected samples. Only their keys are compared.
    #[serde(default)]
    pub(crate) out: Vec<Map<String, Value>>,
    /// Or a part of the reason of an expected refusal.
    pub(crate) refusal: Option<String>,
    /// Expected log lines with their level: `warn: too old`.
    #[serde(default)]
    pub(crate) log: Vec<String>,
}

impl Fixture {
    /// Reads a file, JSON or YAML.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a fixture.
    pub fn read(path: &Path) -> Result<Self, FixtureError> {
        let malformed = |reason| FixtureError::Malformed { path: path.to_owned(), reason };
        let text = nephometer_files::read_text(path)
            .map_err(|source| FixtureError::File { path: path.to_owned(), source })?;
        let value = config::value_of(&text).map_err(malformed)?;
        let fixture: Self =
            serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        for (at, step) in fixture.steps.iter().enumerate() {
            let kinds = [step.batch.is_some(), step.flush.is_some(), step.state.is_some()];
            if kinds.iter().filter(|is| **is).count() != 1 {
                let number = at + 1;
                let reason =
                    format!("step {number}: requires exactly one of `batch`, `flush` and `state`");
                return Err(malformed(reason));
            }
        }
        Ok(fixture)
    }

    /// Converts the samples of a step.
    ///
    /// # Errors
    /// With the number of the first sample that is not valid.
    pub(crate) fn samples(&self, batch: &[Map<String, Value>]) -> Result<Vec<Sample>, String> {
        let source = Arc::from("openstack");
        let read = |(at, sample): (usize, &Map<String, Value>)| {
            let mut whole = self.defaults.clone();
            whole.extend(sample.clone());
            sample_from_json(&Value::Object(whole).to_string(), &source)
                .map_err(|error| format!("sample {} of the batch: {error}", at + 1))
        };
        batch.iter().enumerate().map(read).collect()
    }
}

/// A sample as a map with Ceilometer's keys.
pub(crate) fn to_map(sample: &Sample) -> Map<String, Value> {
    let mut text = Vec::new();
    as_dict(&mut text, Notation::Json, Release::Current, sample);
    serde_json::from_slice(&text).expect("what is written as JSON is read as JSON")
}

/// The differences between samples, one line each.
pub(crate) fn differences(
    actual: &[Map<String, Value>],
    expected: &[Map<String, Value>],
) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        for (key, value) in expected {
            let is = actual.get(key).unwrap_or(&Value::Null);
            if !matches_expected(key, is, value) {
                let number = at + 1;
                lines.push(format!("sample {number}: {key} is {is}, expected {value}"));
            }
        }
    }
    let one = |sample: &Map<String, Value>| Value::Object(default_keys(sample)).to_string();
    for sample in actual.iter().skip(expected.len()) {
        lines.push(format!("unexpected sample: {}", one(sample)));
    }
    for sample in expected.iter().skip(actual.len()) {
        lines.push(format!("missing sample: {}", Value::Object(sample.clone())));
    }
    lines
}

/// Compares one value. Volumes have a tolerance, timestamps may have different zones.
fn matches_expected(key: &str, is: &Value, expected: &Value) -> bool {
    match (key, is, expected) {
        ("volume", Value::Number(is), Value::Number(expected)) => {
            let (is, expected) = (is.as_f64(), expected.as_f64());
            is.zip(expected).is_some_and(|(is, expected)| {
                // Equal, or both infinite, or nearly equal.
                is == expected || (is - expected).abs() <= TOLERANCE * expected.abs()
            })
        }
        ("timestamp", Value::String(is), Value::String(expected)) => {
            let time = |text: &str| Timestamp::parse(text).ok();
            time(is).is_some() && time(is) == time(expected)
        }
        _ => equal(is, expected),
    }
}

/// Compares JSON values; 3 equals 3.0.
pub(crate) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|other| equal(value, other))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// The default keys of a sample that have a value.
fn default_keys(sample: &Map<String, Value>) -> Map<String, Value> {
    let entry = |key: &str| {
        let value = sample.get(key).filter(|value| !value.is_null())?;
        Some((key.to_owned(), value.clone()))
    };
    DEFAULT_KEYS.into_iter().filter_map(entry).collect()
}

/// The expectation that these samples meet, with the keys that were compared before, or the default
/// ones.
pub(crate) fn expectation(
    actual: &[Map<String, Value>],
    before: &[Map<String, Value>],
) -> Vec<Map<String, Value>> {
    let keys_of = |at: usize| before.get(at).or(before.last());
    let one = |(at, sample): (usize, &Map<String, Value>)| match keys_of(at) {
        Some(keys) => keys
            .keys()
            .map(|key| (key.clone(), sample.get(key).cloned().unwrap_or(Value::Null)))
            .collect(),
        None => default_keys(sample),
    };
    actual.iter().enumerate().map(one).collect()
}

/// Formats a fixture for readers: one line per sample, other values spread over lines until they are
/// flat.
pub(crate) fn format_fixture(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0, false);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, indent: usize, inline: bool) {
    let flat = |value: &Value| !value.is_array() && !value.is_object();
    let spread = match value {
        Value::Array(list) => !list.iter().all(flat),
        Value::Object(map) => !map.values().all(flat),
        _ => false,
    } && !inline;
    let (ends, entries): (&str, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(list) => ("[]", list.iter().map(|value| (None, value)).collect()),
        Value::Object(map) => ("{}", map.iter().map(|(key, value)| (Some(key), value)).collect()),
        other => return text.push_str(&other.to_string()),
    };
    text.push_str(&ends[..1]);
    for (at, (key, value)) in entries.iter().enumerate() {
        match (at, spread) {
            (0, false) => {}
            (0, true) => text.push('\n'),
            (_, false) => text.push_str(", "),
            (_, true) => text.push_str(",\n"),
        }
        if spread {
            text.push_str(&"  ".repeat(indent + 1));
        }
        if let Some(key) = key {
            text.push_str(&format!("{}: ", Value::from(key.as_str())));
        }
        // Samples and states take one line each, however deep.
        let sample = value.is_object() && key.is_none() && value.get("name").is_some();
        let state = key.is_some_and(|key| key == "state");
        write(text, value, indent + 1, inline || sample || state);
    }
    if spread && !entries.is_empty() {
        text.push('\n');
        text.push_str(&"  ".repeat(indent));
    }
    text.push_str(&ends[1..]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn samples(list: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(list).unwrap()
    }

    #[test]
    fn differences_name_sample_and_key() {
        let made = samples(json!([
            {"name": "a", "volume": 0.1 + 0.2, "timestamp": "2026-03-01T10:00:00", "unit": "x"},
            {"name": "b", "volume": 2, "unit": "x"},
        ]));
        let same = samples(json!([
            {"name": "a", "volume": 0.3, "timestamp": "2026-03-01T11:00:00+01:00"}, {"volume": 2.0},
        ]));
        assert!(differences(&made, &same).is_empty());
        let other = samples(json!([{"name": "c", "volume": 0.300001}]));
        let lines = [
            "sample 1: name is \"a\", expected \"c\"",
            "sample 1: volume is 0.30000000000000004, expected 0.300001",
            "unexpected sample: {\"name\":\"b\",\"unit\":\"x\",\"volume\":2}",
        ];
        assert_eq!(differences(&made, &other), lines);
        assert_eq!(
            differences(&[], &other)[0],
            "missing sample: {\"name\":\"c\",\"volume\":0.300001}"
        );
    }

    #[test]
    fn an_expectation_keeps_its_keys() {
        let made =
            samples(json!([{"name": "a", "volume": 1, "unit": ""}, {"name": "b", "volume": 2}]));
        let before = samples(json!([{"volume": 5}]));
        assert_eq!(expectation(&made, &before), samples(json!([{"volume": 1}, {"volume": 2}])));
        let fresh =
            samples(json!([{"name": "a", "unit": "", "volume": 1}, {"name": "b", "volume": 2}]));
        assert_eq!(expectation(&made, &[]), fresh);
    }

    #[test]
    fn a_fixture_is_formatted_with_one_line_per_sample() {
        let fixture = json!({
            "options": {"a": {"b": [1, 2]}},
            "steps": [{"batch": [{"name": "x", "m": {"k": {}}}], "out": []}, {"state": {"t": [[1]]}}],
        });
        let text = "{\n  \"options\": {\n    \"a\": {\n      \"b\": [1, 2]\n    }\n  },\n  \"steps\": [\n    {\n      \
                    \"batch\": [\n        {\"name\": \"x\", \"m\": {\"k\": {}}}\n      ],\n      \"out\": []\n    },\n    \
                    {\n      \"state\": {\"t\": [[1]]}\n    }\n  ]\n}\n";
        assert_eq!(format_fixture(&fixture), text);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), fixture);
    }
}
