//! Fixtures for components: what goes in, and what has to come out. The format is described in
//! `docs/fixtures.md`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use nephometer_config as config;
use nephometer_model::{Release, Sample, Timestamp};
use nephometer_wire::{Notation, as_dict, sample_from_json};

/// Volumes may differ by this part: languages round their sums differently.
const ROUNDING: f64 = 1e-12;

/// Keys of a sample that `--update` writes where nothing was expected before.
const USUAL: [&str; 7] =
    ["name", "type", "unit", "volume", "resource_id", "project_id", "timestamp"];

/// Why a fixture cannot be used.
#[derive(Debug, Error)]
pub enum FixtureError {
    /// It cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no fixture.
    #[error("{}: {reason}", .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// What it shows, for people.
    #[serde(default, rename = "about")]
    _about: String,
    #[serde(default)]
    pub(crate) options: Map<String, Value>,
    /// What every sample has unless it says otherwise.
    #[serde(default)]
    defaults: Map<String, Value>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    /// Instead of steps: pointers and reasons of all that is wrong with the options.
    pub(crate) errors: Option<Vec<(String, String)>>,
}

/// What happens, and what has to come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Samples that go in.
    pub(crate) batch: Option<Vec<Map<String, Value>>>,
    /// With a batch: ids of resources that will not come again.
    #[serde(default)]
    pub(crate) gone: Vec<Arc<str>>,
    /// Or the time of a flush.
    pub(crate) flush: Option<String>,
    /// Or the state is saved, and a new instance goes on with it. What it has to be as JSON; `true`
    /// for any.
    pub(crate) state: Option<Value>,
    /// What comes out: of each sample the keys that are compared.
    #[serde(default)]
    pub(crate) out: Vec<Map<String, Value>>,
    /// Or a part of the reason for which the batch is refused.
    pub(crate) refusal: Option<String>,
    /// Lines of the component's log, with their level: `warn: too old`.
    #[serde(default)]
    pub(crate) log: Vec<String>,
}

impl Fixture {
    /// Reads a file, JSON or YAML.
    ///
    /// # Errors
    /// If it cannot be read, or is no fixture.
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

    /// The samples of a step.
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

/// A sample in Ceilometer's own keys.
pub(crate) fn shown(sample: &Sample) -> Map<String, Value> {
    let mut text = Vec::new();
    as_dict(&mut text, Notation::Json, Release::Current, sample);
    serde_json::from_slice(&text).expect("what is written as JSON is read as JSON")
}

/// All that differs, a line each.
pub(crate) fn differences(
    made: &[Map<String, Value>],
    wanted: &[Map<String, Value>],
) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (made, wanted)) in made.iter().zip(wanted).enumerate() {
        for (key, value) in wanted {
            let is = made.get(key).unwrap_or(&Value::Null);
            if !alike(key, is, value) {
                let number = at + 1;
                lines.push(format!("sample {number}: {key} is {is}, expected {value}"));
            }
        }
    }
    let one = |sample: &Map<String, Value>| Value::Object(usual(sample)).to_string();
    for sample in made.iter().skip(wanted.len()) {
        lines.push(format!("unexpected sample: {}", one(sample)));
    }
    for sample in wanted.iter().skip(made.len()) {
        lines.push(format!("missing sample: {}", Value::Object(sample.clone())));
    }
    lines
}

fn alike(key: &str, is: &Value, wanted: &Value) -> bool {
    match (key, is, wanted) {
        ("volume", Value::Number(is), Value::Number(wanted)) => {
            let (is, wanted) = (is.as_f64(), wanted.as_f64());
            is.zip(wanted).is_some_and(|(is, wanted)| {
                // Equal, or both infinite, or nearly equal.
                is == wanted || (is - wanted).abs() <= ROUNDING * wanted.abs()
            })
        }
        ("timestamp", Value::String(is), Value::String(wanted)) => {
            let time = |text: &str| Timestamp::parse(text).ok();
            time(is).is_some() && time(is) == time(wanted)
        }
        _ => equal(is, wanted),
    }
}

/// Equal as JSON is meant: 3 is 3.0.
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

fn usual(sample: &Map<String, Value>) -> Map<String, Value> {
    let known = |key: &str| {
        let value = sample.get(key).filter(|value| !value.is_null())?;
        Some((key.to_owned(), value.clone()))
    };
    USUAL.into_iter().filter_map(known).collect()
}

/// What a step would expect so that it fits: the keys that it compared before, or the usual ones.
pub(crate) fn expectation(
    made: &[Map<String, Value>],
    before: &[Map<String, Value>],
) -> Vec<Map<String, Value>> {
    let keys_of = |at: usize| before.get(at).or(before.last());
    let one = |(at, sample): (usize, &Map<String, Value>)| match keys_of(at) {
        Some(keys) => keys
            .keys()
            .map(|key| (key.clone(), sample.get(key).cloned().unwrap_or(Value::Null)))
            .collect(),
        None => usual(sample),
    };
    made.iter().enumerate().map(one).collect()
}

/// Writes a fixture as people do: a sample a line, other things spread out until they are flat.
pub(crate) fn written(value: &Value) -> String {
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
        // Samples and states are one line each, however deep they are.
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
    fn an_expectation_has_the_keys_that_it_had() {
        let made =
            samples(json!([{"name": "a", "volume": 1, "unit": ""}, {"name": "b", "volume": 2}]));
        let before = samples(json!([{"volume": 5}]));
        assert_eq!(expectation(&made, &before), samples(json!([{"volume": 1}, {"volume": 2}])));
        let fresh =
            samples(json!([{"name": "a", "unit": "", "volume": 1}, {"name": "b", "volume": 2}]));
        assert_eq!(expectation(&made, &[]), fresh);
    }

    #[test]
    fn a_fixture_is_written_a_sample_a_line() {
        let fixture = json!({
            "options": {"a": {"b": [1, 2]}},
            "steps": [{"batch": [{"name": "x", "m": {"k": {}}}], "out": []}, {"state": {"t": [[1]]}}],
        });
        let text = "{\n  \"options\": {\n    \"a\": {\n      \"b\": [1, 2]\n    }\n  },\n  \"steps\": [\n    {\n      \
                    \"batch\": [\n        {\"name\": \"x\", \"m\": {\"k\": {}}}\n      ],\n      \"out\": []\n    },\n    \
                    {\n      \"state\": {\"t\": [[1]]}\n    }\n  ]\n}\n";
        assert_eq!(written(&fixture), text);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), fixture);
    }
}
