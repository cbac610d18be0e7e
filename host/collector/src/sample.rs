//! Samples as they arrive: read from JSON, checked against bounds, with their metadata as one text
//! that is stored once.

use std::sync::Arc;

use nephometer_model::{Bound, Timestamp, Volume};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The `message_id` of a sample. Nearly all are UUIDs, which are stored as 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SampleId {
    /// In its usual form, lower-case and with dashes.
    Uuid(Uuid),
    /// Any other text.
    Text(Box<str>),
}

impl SampleId {
    pub(crate) fn new(text: &str) -> Self {
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.hyphenated().to_string() == text => Self::Uuid(uuid),
            _ => Self::Text(text.into()),
        }
    }
}

impl std::fmt::Display for SampleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "{}", uuid.hyphenated()),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What is metered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MeterKey {
    pub(crate) name: Box<str>,
    pub(crate) unit: Box<str>,
    /// `gauge`, `delta` or `cumulative`.
    pub(crate) kind: &'static str,
}

/// Whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OwnerKey {
    pub(crate) resource_id: Box<str>,
    pub(crate) project_id: Option<Box<str>>,
    pub(crate) user_id: Option<Box<str>>,
    pub(crate) source: Box<str>,
}

/// Metadata as JSON text, and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataText {
    pub(crate) text: Box<str>,
    pub(crate) digest: [u8; 32],
}

/// A sample that arrived and was checked.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    pub(crate) id: SampleId,
    pub(crate) meter: MeterKey,
    pub(crate) owner: OwnerKey,
    pub(crate) metadata: MetadataText,
    /// `None` for JSON's `null`, which the real collector stores as well.
    pub(crate) volume: Option<Volume>,
    pub(crate) time: Timestamp,
}

/// Why a sample is not stored. The names stand in metrics and in the answer of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// A key is missing or has a wrong value.
    Invalid,
    /// The signature is missing.
    Unsigned,
    /// The signature is of no known secret.
    WrongSignature,
    /// Older than the window: nobody can tell whether it is new.
    TooOld,
    /// Too far in the future.
    TooEarly,
    /// Longer than a receiver reads.
    TooLarge,
}

impl Refusal {
    pub(crate) const ALL: [Self; 6] = [
        Self::Invalid,
        Self::Unsigned,
        Self::WrongSignature,
        Self::TooOld,
        Self::TooEarly,
        Self::TooLarge,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsigned => "unsigned",
            Self::WrongSignature => "wrong_signature",
            Self::TooOld => "too_old",
            Self::TooEarly => "too_early",
            Self::TooLarge => "too_large",
        }
    }
}

/// The kinds of meters.
pub(crate) const KINDS: [&str; 3] = ["gauge", "delta", "cumulative"];

impl Measurement {
    /// Reads a sample with the keys of a metering message or of `as_dict`.
    ///
    /// # Errors
    /// With the key, what is wrong with it, and what would be right.
    pub(crate) fn read(map: &Map<String, Value>) -> Result<Self, String> {
        let meter = MeterKey {
            name: required(map, ["counter_name", "name"])?,
            unit: required(map, ["counter_unit", "unit"])?,
            kind: kind(map)?,
        };
        let owner = OwnerKey {
            resource_id: required(map, ["resource_id"; 2])?,
            project_id: optional(map, "project_id")?,
            user_id: optional(map, "user_id")?,
            source: optional(map, "source")?.unwrap_or_else(|| "openstack".into()),
        };
        let time = required(map, ["timestamp"; 2])?;
        let time = Timestamp::parse(&time).map_err(|error| format!("timestamp: {error}"))?;
        Ok(Self {
            id: SampleId::new(&required(map, ["message_id", "id"])?),
            meter,
            owner,
            metadata: metadata(map)?,
            volume: volume(map)?,
            time,
        })
    }
}

impl Measurement {
    /// The same sample without metadata.
    pub(crate) fn nameless(&self) -> Self {
        Self { metadata: MetadataText::new("{}".to_owned()), ..self.clone() }
    }
}

impl MetadataText {
    fn new(text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes()).into();
        Self { text: text.into(), digest }
    }
}

fn find<'a>(map: &'a Map<String, Value>, names: [&'static str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| map.get(*name))
}

fn required(map: &Map<String, Value>, names: [&'static str; 2]) -> Result<Box<str>, String> {
    match find(map, names) {
        Some(Value::String(text)) => bounded(names[0], text),
        Some(other) => Err(wrong(names[0], other, "text")),
        None => Err(format!("{:?} is missing", names[0])),
    }
}

fn optional(map: &Map<String, Value>, name: &'static str) -> Result<Option<Box<str>>, String> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => bounded(name, text).map(Some),
        Some(other) => Err(wrong(name, other, "text or null")),
    }
}

fn bounded(name: &str, text: &str) -> Result<Box<str>, String> {
    let within = Bound::CollectorText.check(text.len());
    within.map(|()| text.into()).map_err(|error| format!("{name:?}: {error}"))
}

fn wrong(name: &str, found: &Value, expected: &str) -> String {
    let found = found.to_string();
    format!("{name:?} is {}; it must be {expected}", clip(&found))
}

fn kind(map: &Map<String, Value>) -> Result<&'static str, String> {
    let names = ["counter_type", "type"];
    let given = required(map, names)?;
    let known = KINDS.iter().find(|kind| **kind == &*given);
    known
        .copied()
        .ok_or_else(|| format!("{:?} is {given:?}; it must be one of {KINDS:?}", names[0]))
}

/// Numbers, numbers as text as the real collector accepts them, and null.
fn volume(map: &Map<String, Value>) -> Result<Option<Volume>, String> {
    let names = ["counter_volume", "volume"];
    let read = |number: &serde_json::Number| match (number.as_u64(), number.as_i64()) {
        (Some(whole), _) => Some(Volume::Integer(whole.into())),
        (_, Some(whole)) => Some(Volume::Integer(whole.into())),
        _ => number.as_f64().filter(|float| float.is_finite()).map(Volume::Float),
    };
    let value = find(map, names).ok_or_else(|| format!("{:?} is missing", names[0]))?;
    let volume = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => read(number),
        Value::String(text) => serde_json::from_str(text.trim()).ok().as_ref().and_then(read),
        _ => None,
    };
    volume.map(Some).ok_or_else(|| wrong(names[0], value, "a finite number or null"))
}

fn metadata(map: &Map<String, Value>) -> Result<MetadataText, String> {
    let text = match map.get("resource_metadata") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(value @ Value::Object(_)) => value.to_string(),
        Some(other) => return Err(wrong("resource_metadata", other, "an object")),
    };
    Bound::CollectorMetadata.check(text.len()).map_err(|error| error.to_string())?;
    Ok(MetadataText::new(text))
}

/// The beginning of a text, for messages.
pub(crate) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

/// A shared text, for what messages of one origin have in common.
pub(crate) type Shared = Arc<str>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Measurement, String> {
        let mut value = json!({
            "source": "openstack", "counter_name": "cpu", "counter_type": "cumulative",
            "counter_unit": "ns", "counter_volume": 5, "user_id": "u", "project_id": null,
            "resource_id": "r", "timestamp": "2026-11-28T20:00:00+02:00",
            "resource_metadata": {"b": 1, "a": {"c": null}},
            "message_id": "3a5f2c1e-6821-11e5-9d70-fa163e000001",
        });
        change(&mut value);
        Measurement::read(value.as_object().unwrap())
    }

    #[test]
    fn what_the_real_collector_accepts_is_read() {
        let sample = read(|_| {}).unwrap();
        assert_eq!(sample.time.iso(), "2026-11-28T18:00:00");
        assert_eq!((sample.volume, &*sample.meter.name), (Some(Volume::Integer(5)), "cpu"));
        assert_eq!(&*sample.metadata.text, r#"{"b":1,"a":{"c":null}}"#);
        assert!(matches!(sample.id, SampleId::Uuid(_)));
        let volume = |value: Value| read(|sample| sample["counter_volume"] = value).unwrap().volume;
        assert_eq!(volume(json!("7")), Some(Volume::Integer(7)));
        assert_eq!(volume(json!(null)), None);
        assert_eq!(volume(json!(1e300)), Some(Volume::Float(1e300)));
        assert_eq!(volume(json!(u64::MAX)), Some(Volume::Integer(u64::MAX.into())));
        let odd =
            read(|sample| sample["message_id"] = json!("3A5F2C1E-6821-11e5-9d70-fa163e000001"));
        assert_eq!(odd.unwrap().id.to_string(), "3A5F2C1E-6821-11e5-9d70-fa163e000001");
    }

    #[test]
    fn errors_name_the_key_and_what_is_right() {
        for (key, value, expected) in [
            ("counter_volume", json!("many"), r#""counter_volume" is "many"; it must be a finite"#),
            ("counter_volume", json!([1]), "it must be a finite number or null"),
            ("counter_type", json!("rate"), r#""counter_type" is "rate"; it must be one of"#),
            ("timestamp", json!("now"), r#""now" is not a time"#),
            ("resource_id", json!(7), r#""resource_id" is 7; it must be text"#),
            ("resource_metadata", json!([]), "it must be an object"),
            ("user_id", json!("x".repeat(2_000)), "collector_text_bytes"),
            ("resource_metadata", json!({"x": "y".repeat(300_000)}), "collector_metadata_bytes"),
        ] {
            let error = read(|sample| sample[key] = value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let missing = read(|sample| _ = sample.as_object_mut().unwrap().shift_remove("message_id"));
        assert_eq!(missing.unwrap_err(), r#""message_id" is missing"#);
    }
}
