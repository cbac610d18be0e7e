use serde_json::{Map, Value as Json};
use std::borrow::Cow;

use crate::EvaluateError;
use crate::node::Node;

/// A value while an expression is evaluated.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A name that nothing has: an empty namespace.
    Missing,
    /// None, or null in metadata.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A text.
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
    /// Whether this counts as true.
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

    /// As a number, true being 1; `None` for all that is not one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// What this is, in words for an error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::None => "None",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Object(_) => "a namespace",
            Self::List(_) => "a list",
        }
    }

    pub(crate) fn key(&self, name: &str) -> Result<Self, EvaluateError> {
        match self {
            Self::Missing => Ok(Self::Missing),
            Self::Object(map) => Ok(map.get(name).map_or(Self::Missing, Self::from)),
            other => {
                let reason = format!("'{name}' is asked of {}, which has no names", other.kind());
                Err(EvaluateError(reason.into()))
            }
        }
    }

    pub(crate) fn item(&self, which: &Self) -> Result<Self, EvaluateError> {
        let index = match which {
            Self::Bool(flag) => Some(i128::from(*flag)),
            Self::Int(index) => Some(*index),
            _ => None,
        };
        let place = |length: usize| {
            let length = i128::try_from(length).ok()?;
            let from_end = index.map(|index| if index < 0 { index + length } else { index })?;
            usize::try_from(from_end).ok()
        };
        let found = match (self, which) {
            (Self::Missing | Self::Object(_), Self::Text(name)) => return self.key(name),
            (Self::Missing | Self::Object(_), _) => return Ok(Self::Missing),
            (Self::List(list), _) if index.is_some() => {
                place(list.len()).and_then(|at| list.get(at)).map(Self::from)
            }
            (Self::Text(text), _) if index.is_some() => place(text.chars().count())
                .and_then(|at| text.chars().nth(at))
                .map(|char| Self::Text(char.to_string().into())),
            _ => {
                let reason = format!("{} has no item under {}", self.kind(), which.kind());
                return Err(EvaluateError(reason.into()));
            }
        };
        found.ok_or_else(|| EvaluateError("an index is out of range".into()))
    }

    /// The node of this value, if it depends on nothing else.
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
