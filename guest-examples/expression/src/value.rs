//! Values of expressions.

use serde_json::{Map, Value as Json};
use std::borrow::Cow;

use crate::EvaluateError;
use crate::node::Node;

/// A value of an expression.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A missing name: an empty namespace.
    Missing,
    /// None, or null in metadata.
    None,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A namespace: an object in metadata.
    Object(&'a Map<String, Json>),
    /// A list in metadata.
    List(&'a [Json]),
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::None,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match number.as_i128() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(text.into()),
            Json::Array(list) => Self::List(list),
            Json::Object(map) => Self::Object(map),
        }
    }
}

impl<'a> Value<'a> {
    /// Whether the value is true in Python.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Object(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
        }
    }

    /// The value as a number; true is 1, and `None` if it is not one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The kind of value, for error messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Missing => "a missing value",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Object(_) => "a namespace",
            Self::List(_) => "a list",
        }
    }

    pub(crate) fn key(&self, name: &str) -> Result<Self, EvaluateError> {
        match self {
            Self::Missing => Ok(Self::Missing),
            Self::Object(map) => Ok(map.get(name).map_or(Self::Missing, Self::from)),
            other => {
                let reason = format!("{} has no attribute '{name}'", other.kind());
                Err(EvaluateError(reason.into()))
            }
        }
    }

    pub(crate) fn item(&self, key: &Self) -> Result<Self, EvaluateError> {
        let index = match key {
            Self::Bool(flag) => Some(i128::from(*flag)),
            Self::Int(index) => Some(*index),
            _ => None,
        };
        let position = |length: usize| {
            let length = i128::try_from(length).ok()?;
            let from_end = index.map(|index| if index < 0 { index + length } else { index })?;
            usize::try_from(from_end).ok()
        };
        let found = match (self, key) {
            (Self::Missing | Self::Object(_), Self::Text(name)) => return self.key(name),
            (Self::Missing | Self::Object(_), _) => return Ok(Self::Missing),
            (Self::List(list), _) if index.is_some() => {
                position(list.len()).and_then(|at| list.get(at)).map(Self::from)
            }
            (Self::Text(text), _) if index.is_some() => position(text.chars().count())
                .and_then(|at| text.chars().nth(at))
                .map(|char| Self::Text(char.to_string().into())),
            _ => {
                let reason = format!("{} cannot be indexed with {}", self.kind(), key.kind());
                return Err(EvaluateError(reason.into()));
            }
        };
        found.ok_or_else(|| EvaluateError("index out of range".into()))
    }

    /// The constant node of this value, if there is one.
    pub(crate) fn into_constant(self) -> Option<Node> {
        match self {
            Self::None => Some(Node::None),
            Self::Bool(flag) => Some(Node::Bool(flag)),
            Self::Int(number) => Some(Node::Int(number)),
            Self::Float(number) => Some(Node::Float(number)),
            Self::Text(text) => Some(Node::Text(text.into_owned())),
            Self::Missing | Self::Object(_) | Self::List(_) => None,
        }
    }
}
