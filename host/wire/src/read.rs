//! Parses samples from JSON: lines of `once --format ndjson`, fixtures, or metering messages.

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use nephometer_model::{HostId, Meter, MeterType, Moment, Resource, Sample, Timestamp, Volume};

/// Keys that are accepted and ignored.
const IGNORED: [&str; 2] = ["message_signature", "publisher_id"];

/// Why a text is not a sample.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The text is not JSON.
    #[error("invalid JSON")]
    Syntax(#[source] serde_json::Error),
    /// The JSON is not an object.
    #[error("a sample must be a JSON object, one per line")]
    NotAnObject,
    /// A required key is missing.
    #[error("{0:?} is missing")]
    Missing(&'static str),
    /// A key is unknown.
    #[error("unknown key {0:?} in a sample")]
    Unknown(String),
    /// A value is invalid for its key.
    #[error("{key:?} is {found}; it must be {expected}")]
    Wrong {
        /// The key.
        key: &'static str,
        /// The value, as JSON.
        found: String,
        /// A description of valid values.
        expected: String,
    },
}

/// Parses a sample with the keys of Ceilometer's `as_dict` or of a metering message. `source` is the
/// default source, and the default id is made from the other fields; owner, metadata and
/// `monotonic_time` are optional. The monotonic time is used as the continuous one as well.
///
/// # Errors
///
/// If the text is not JSON, or a key is missing, unknown or invalid.
pub fn sample_from_json(text: &str, source: &Arc<str>) -> Result<Sample, ReadError> {
    let value: Value = serde_json::from_str(text).map_err(ReadError::Syntax)?;
    let Value::Object(map) = value else { return Err(ReadError::NotAnObject) };
    let mut keys = Keys(map);
    let kind = keys.require(["type", "counter_type"])?;
    let meter = Meter {
        name: keys.text(["name", "counter_name"])?,
        unit: keys.text(["unit", "counter_unit"])?,
        kind: as_text("type", &kind)?
            .parse::<MeterType>()
            .map_err(|expected| wrong("type", &kind, expected))?,
    };
    let volume = volume(&keys.require(["volume", "counter_volume"])?)?;
    let taken = keys.taken()?;
    let resource = Resource {
        id: keys.text(["resource_id"; 2])?,
        source: keys.optional("source")?.unwrap_or_else(|| Arc::clone(source)),
        project_id: keys.optional("project_id")?,
        user_id: keys.optional("user_id")?,
        project_name: keys.optional("project_name")?,
        user_name: keys.optional("user_name")?,
        metadata: match keys.take(["resource_metadata"; 2]) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(wrong("resource_metadata", &other, "an object")),
        },
    };
    let id = match keys.take(["id", "message_id"]) {
        None | Some(Value::Null) => {
            let nobody = HostId(Uuid::nil());
            nobody.polled(&resource.source, &resource.id, &meter.name, taken.wall)
        }
        Some(value) => {
            Uuid::parse_str(as_text("id", &value)?).map_err(|_| wrong("id", &value, "a uuid"))?
        }
    };
    keys.finish()?;
    Ok(Sample { id, meter: Arc::new(meter), resource: Arc::new(resource), volume, taken })
}

/// The keys not parsed yet. Keys come in pairs: the name in a sample and in a message.
struct Keys(Map<String, Value>);

impl Keys {
    fn take(&mut self, names: [&'static str; 2]) -> Option<Value> {
        names.iter().find_map(|name| self.0.shift_remove(*name))
    }

    fn require(&mut self, names: [&'static str; 2]) -> Result<Value, ReadError> {
        self.take(names).ok_or(ReadError::Missing(names[0]))
    }

    fn text(&mut self, names: [&'static str; 2]) -> Result<Arc<str>, ReadError> {
        as_text(names[0], &self.require(names)?).map(Arc::from)
    }

    fn optional(&mut self, name: &'static str) -> Result<Option<Arc<str>>, ReadError> {
        match self.take([name; 2]) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => as_text(name, &value).map(|text| Some(Arc::from(text))),
        }
    }

    fn taken(&mut self) -> Result<Moment, ReadError> {
        let value = self.require(["timestamp"; 2])?;
        let wall = Timestamp::parse(as_text("timestamp", &value)?)
            .map_err(|expected| wrong("timestamp", &value, expected))?;
        let monotonic = match self.take(["monotonic_time"; 2]) {
            None | Some(Value::Null) => None,
            Some(value) => Some(nanos(&value)?),
        };
        Ok(Moment { wall, continuous: monotonic, monotonic })
    }

    fn finish(self) -> Result<(), ReadError> {
        match self.0.into_iter().find(|(key, _)| !IGNORED.contains(&key.as_str())) {
            Some((key, _)) => Err(ReadError::Unknown(key)),
            None => Ok(()),
        }
    }
}

fn volume(value: &Value) -> Result<Volume, ReadError> {
    let Value::Number(number) = value else { return Err(wrong("volume", value, "a number")) };
    Ok(match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(whole), _, _) => Volume::Integer(i128::from(whole)),
        (_, Some(whole), _) => Volume::Integer(i128::from(whole)),
        (_, _, Some(float)) => Volume::Float(float),
        _ => return Err(wrong("volume", value, "a finite number")),
    })
}

/// Converts seconds to nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was checked"
)]
fn nanos(value: &Value) -> Result<u64, ReadError> {
    match value.as_f64() {
        Some(seconds) if (0.0..1e10).contains(&seconds) => Ok((seconds * 1e9).round() as u64),
        _ => Err(wrong("monotonic_time", value, "a number of seconds")),
    }
}

fn as_text<'a>(key: &'static str, value: &'a Value) -> Result<&'a str, ReadError> {
    value.as_str().ok_or_else(|| wrong(key, value, "a string"))
}

fn wrong(key: &'static str, found: &Value, expected: impl Into<String>) -> ReadError {
    ReadError::Wrong { key, found: found.to_string(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({"name": "cpu", "type": "cumulative", "unit": "ns", "volume": 5,
               "resource_id": "r", "timestamp": "2015-10-01T12:00:00.5"})
    }

    fn read(value: &Value) -> Result<Sample, ReadError> {
        sample_from_json(&value.to_string(), &Arc::from("here"))
    }

    fn with(key: &str, value: Value) -> Value {
        let mut sample = base();
        sample[key] = value;
        sample
    }

    #[test]
    fn optional_keys_have_defaults() {
        let sample = read(&base()).unwrap();
        assert_eq!(&*sample.resource.source, "here");
        assert_eq!(sample.volume, Volume::Integer(5));
        assert_eq!(sample.taken.wall.iso(), "2015-10-01T12:00:00.500000");
        assert_eq!(sample.taken.monotonic, None);
        assert_eq!(sample.id, read(&base()).unwrap().id);
        assert_ne!(sample.id, read(&with("name", json!("cpu_util"))).unwrap().id);
    }

    #[test]
    fn whole_numbers_and_others_are_kept_apart() {
        assert_eq!(read(&with("volume", json!(5.0))).unwrap().volume, Volume::Float(5.0));
        let big = read(&with("volume", json!(u64::MAX))).unwrap().volume;
        assert_eq!(big, Volume::Integer(i128::from(u64::MAX)));
        assert_eq!(read(&with("volume", json!(-7))).unwrap().volume, Volume::Integer(-7));
    }

    #[test]
    fn floats_come_back_as_they_were() {
        let mut bits = 88_172_645_463_325_252_u64;
        for _ in 0..2_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let read = read(&with("volume", json!(value))).unwrap().volume;
                assert_eq!(read, Volume::Float(value));
            }
        }
    }

    #[test]
    fn monotonic_time_is_seconds() {
        let taken = read(&with("monotonic_time", json!(3_197.199_513_571))).unwrap().taken;
        assert_eq!(taken.monotonic, Some(3_197_199_513_571));
        assert_eq!(taken.continuous, Some(3_197_199_513_571));
    }

    #[test]
    fn errors_name_the_key() {
        let mut nameless = base();
        nameless.as_object_mut().unwrap().shift_remove("name");
        for (value, expected) in [
            (nameless, r#""name" is missing"#),
            (with("volume", json!("5")), r#""volume" is "5"; it must be a number"#),
            (with("volumes", json!(5)), r#"unknown key "volumes" in a sample"#),
            (with("id", json!("x")), r#""id" is "x"; it must be a uuid"#),
            (with("monotonic_time", json!(-1)), r#""monotonic_time" is -1"#),
            (with("resource_metadata", json!([])), r#""resource_metadata" is []"#),
            (with("type", json!("rate")), r#""type" is "rate""#),
            (with("timestamp", json!("now")), r#""timestamp" is "now""#),
            (json!([]), "must be a JSON object"),
        ] {
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(sample_from_json("{", &Arc::from("s")).is_err());
    }
}
