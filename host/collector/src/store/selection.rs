//! Which samples a query is about.

use nephometer_model::Timestamp;
use serde_json::Value;

use crate::sample::OwnerKey;

/// Conditions that all have to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) meter: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) project: Option<WantedOwner>,
    pub(crate) user: Option<WantedOwner>,
    pub(crate) source: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) times: TimeRange,
    pub(crate) metadata: Vec<MetaCondition>,
    /// The number of samples that may be read.
    pub(crate) budget: u64,
}

/// Whose samples are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedOwner {
    Id(String),
    /// Samples that belong to nobody.
    Nobody,
}

impl WantedOwner {
    /// The id; `None` for nobody.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) => Some(id),
            Self::Nobody => None,
        }
    }
}

/// Microseconds since the epoch: from `start` on, before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Default for TimeRange {
    fn default() -> Self {
        Self { start: 0, end: i64::MAX }
    }
}

/// Microseconds since the epoch.
pub(crate) fn micros(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// A length of time in microseconds.
pub(crate) fn micros_of(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The time of microseconds since the epoch.
pub(crate) fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(micros).unwrap_or(0).saturating_mul(1_000))
}

/// A value that metadata has to have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetaCondition {
    /// The path, such as `flavor.id`.
    pub(crate) path: String,
    pub(crate) value: MetaScalar,
}

/// A value in metadata. Values of different types are different, as in the real API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MetaScalar {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
}

impl MetaScalar {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::String(text) => Self::Text(text.clone()),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => Self::Integer(whole.into()),
                (_, Some(whole)) => Self::Integer(whole.into()),
                _ => Self::Float(number.as_f64()?),
            },
            Value::Array(_) | Value::Object(_) => return None,
        })
    }
}

impl Selection {
    /// Whether samples of an owner may be wanted, whatever the resource.
    pub(crate) fn accepts_owner(&self, owner: &OwnerKey) -> bool {
        let is = |wanted: &Option<WantedOwner>, found: &Option<Box<str>>| {
            wanted.as_ref().is_none_or(|wanted| wanted.id() == found.as_deref())
        };
        is(&self.project, &owner.project_id)
            && is(&self.user, &owner.user_id)
            && self.source.as_ref().is_none_or(|source| **source == *owner.source)
    }

    /// Whether metadata fulfils all conditions. Text that is not JSON fulfils none.
    pub(crate) fn accepts_metadata(&self, text: &str) -> bool {
        if self.metadata.is_empty() {
            return true;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
        let pairs = flat_pairs(&value);
        self.metadata.iter().all(|condition| {
            let found = pairs.iter().find(|(path, _)| *path == condition.path);
            // As in the real API, what is missing is null.
            found.map_or(&MetaScalar::Null, |(_, value)| value) == &condition.value
        })
    }
}

/// The scalars in a value with their paths: `a.b` in objects, `a[0]` in lists.
pub(crate) fn flat_pairs(value: &Value) -> Vec<(String, MetaScalar)> {
    let mut pairs = Vec::new();
    collect(value, &mut String::new(), &mut pairs);
    pairs
}

/// A value in the metadata as text.
pub(crate) fn metadata_value(text: &str, path: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (_, found) = flat_pairs(&value).into_iter().find(|(known, _)| known == path)?;
    match found {
        MetaScalar::Null => None,
        MetaScalar::Bool(value) => Some(if value { "True" } else { "False" }.to_owned()),
        MetaScalar::Integer(value) => Some(value.to_string()),
        MetaScalar::Float(value) => Some(format!("{value:?}")),
        MetaScalar::Text(text) => Some(text),
    }
}

fn collect(value: &Value, path: &mut String, pairs: &mut Vec<(String, MetaScalar)>) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                collect(inner, path, pairs);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                path.push_str(&format!("[{at}]"));
                collect(inner, path, pairs);
                path.truncate(length);
            }
        }
        scalar => {
            pairs.extend(MetaScalar::of(scalar).map(|scalar| (path.clone(), scalar)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_compared_by_path_and_type() {
        let text = r#"{"flavor": {"id": "1", "ram": 96}, "list": [1.5, true], "none": null}"#;
        let fulfils = |path: &str, value: MetaScalar| {
            let metadata = vec![MetaCondition { path: path.into(), value }];
            Selection { metadata, ..Selection::default() }.accepts_metadata(text)
        };
        assert!(fulfils("flavor.id", MetaScalar::Text("1".into())));
        assert!(!fulfils("flavor.id", MetaScalar::Integer(1)));
        assert!(fulfils("flavor.ram", MetaScalar::Integer(96)));
        assert!(fulfils("list[0]", MetaScalar::Float(1.5)));
        assert!(fulfils("list[1]", MetaScalar::Bool(true)));
        assert!(fulfils("none", MetaScalar::Null));
        assert!(fulfils("missing", MetaScalar::Null));
        assert!(!fulfils("flavor.id", MetaScalar::Null));
    }
}
