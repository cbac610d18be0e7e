//! Values of settings: in one form, compared, and without secrets.

use std::time::Duration;

use serde_json::Value;

use crate::caution::is_secret;
use crate::check::{duration, parse_int, size, truth};
use crate::keys::{ConfigKey, ValueShape, in_units};
use crate::raw::Scalar;
use crate::url;
use nephometer_model::Release;

/// What is shown in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// A value in the form of its shape. Environment variables are text, and lists may be written as one.
pub(super) fn normal(shape: &ValueShape, value: Value) -> Value {
    let read = |value: &Value| -> Option<Value> {
        let scalar = serde_json::from_value::<Scalar>(value.clone()).ok()?;
        Some(match shape {
            ValueShape::Truth => truth(&scalar)?.into(),
            ValueShape::Whole(..) | ValueShape::Interval => {
                parse_int(value.as_str()?).map(Value::from)?
            }
            ValueShape::Time | ValueShape::TimeOrForever if value.is_number() => {
                format!("{value}s").into()
            }
            ValueShape::Size(..) if value.is_number() => in_units(size(&scalar)?).into(),
            ValueShape::Texts(list) => {
                let separator = list.separator?;
                let parts = value.as_str()?.split(separator).map(str::trim);
                parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().into()
            }
            ValueShape::Meters => vec![value.as_str()?].into(),
            ValueShape::Address if value == false => "off".into(),
            _ => return None,
        })
    };
    read(&value).unwrap_or(value)
}

/// Whether two values mean the same.
pub(super) fn same(shape: &ValueShape, one: &Value, other: &Value) -> bool {
    let scalar = |value: &Value| serde_json::from_value::<Scalar>(value.clone()).ok();
    let equal = match shape {
        ValueShape::Time | ValueShape::TimeOrForever => {
            let time = |value| scalar(value).as_ref().and_then(duration);
            time(one).zip(time(other)).map(|(one, other)| one == other)
        }
        ValueShape::Size(..) => {
            let size = |value| scalar(value).as_ref().and_then(size);
            size(one).zip(size(other)).map(|(one, other)| one == other)
        }
        _ => None,
    };
    equal.unwrap_or_else(|| normal(shape, one.clone()) == normal(shape, other.clone()))
}

/// Whether a time is longer than the one that is used.
pub(super) fn is_longer(value: &Value, used: Duration) -> bool {
    let scalar = serde_json::from_value::<Scalar>(value.clone()).ok();
    scalar.as_ref().and_then(duration).is_some_and(|time| time > used)
}

/// The default of `message.signature`.
pub(super) fn signature(release: Release) -> &'static str {
    match release {
        Release::Liberty => "python2",
        Release::Zed | Release::Current => "python3",
    }
}

/// A value without its secrets.
pub(super) fn shown(key: &ConfigKey, value: &Value) -> Value {
    match (&key.shape, value) {
        (ValueShape::Url, Value::String(text)) if key.name == "uri" => {
            url::without_user(text).into()
        }
        (ValueShape::Url, Value::String(text)) => url::label(text).into(),
        (ValueShape::Publishers, Value::Array(urls)) => {
            urls.iter().map(|one| one.as_str().map_or_else(|| HIDDEN.into(), url::label)).collect()
        }
        (ValueShape::Options(_), value) => without_secrets(value, key.secret),
        // Nothing is there to hide.
        (_, Value::String(text)) if key.secret && text.is_empty() => value.clone(),
        _ if key.secret => HIDDEN.into(),
        _ => value.clone(),
    }
}

/// Options without those that are named like secrets, or without the values of all.
fn without_secrets(value: &Value, all: bool) -> Value {
    match value {
        Value::Object(options) => {
            let each = options
                .iter()
                .map(|(key, value)| (key.clone(), without_secrets(value, all || is_secret(key))));
            Value::Object(each.collect())
        }
        Value::Array(items) => items.iter().map(|item| without_secrets(item, all)).collect(),
        _ if all => HIDDEN.into(),
        value => value.clone(),
    }
}
