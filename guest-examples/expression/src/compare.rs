//! Comparisons, as in Python.

use serde_json::Value as Json;
use std::cmp::Ordering;

use crate::EvaluateError;
use crate::node::Comparison;
use crate::value::Value;

pub(crate) fn compare(
    comparison: Comparison,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool, EvaluateError> {
    Ok(match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::Is => left.is_same_singleton(right),
        Comparison::IsNot => !left.is_same_singleton(right),
        Comparison::In => left.is_in(right)?,
        Comparison::NotIn => !left.is_in(right)?,
        Comparison::Less => order(left, right)?.is_some_and(Ordering::is_lt),
        Comparison::LessOrEqual => order(left, right)?.is_some_and(Ordering::is_le),
        Comparison::Greater => order(left, right)?.is_some_and(Ordering::is_gt),
        Comparison::GreaterOrEqual => order(left, right)?.is_some_and(Ordering::is_ge),
    })
}

/// `None` if every comparison is false: NaN.
fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Option<Ordering>, EvaluateError> {
    if let (Some(left), Some(right)) = (left.as_whole(), right.as_whole()) {
        return Ok(Some(left.cmp(&right)));
    }
    if let (Some(left), Some(right)) = (left.as_number(), right.as_number()) {
        return Ok(left.partial_cmp(&right));
    }
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        return Ok(Some(left.cmp(right)));
    }
    let reason = format!("cannot order {} and {}", left.kind(), right.kind());
    Err(EvaluateError(reason.into()))
}

impl Value<'_> {
    pub(crate) fn as_whole(&self) -> Option<i128> {
        match self {
            Self::Bool(flag) => Some(i128::from(*flag)),
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Ceilometer's namespaces are equal only to themselves.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Object(left), Self::Object(right)) => std::ptr::eq(*left, *right),
            (Self::List(left), Self::List(right)) => {
                let equal = |(a, b): (&Json, &Json)| Value::from(a).equals(&Value::from(b));
                left.len() == right.len() && left.iter().zip(*right).all(equal)
            }
            _ => matches!(order(self, other), Ok(Some(Ordering::Equal))),
        }
    }

    fn is_same_singleton(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            _ => false,
        }
    }

    fn is_in(&self, whole: &Self) -> Result<bool, EvaluateError> {
        match (self, whole) {
            (Self::Text(part), Self::Text(text)) => Ok(text.contains(&**part)),
            (_, Self::List(list)) => Ok(list.iter().any(|one| self.equals(&one.into()))),
            (Self::Text(name), Self::Object(map)) => Ok(map.contains_key(&**name)),
            (_, Self::Object(_) | Self::Missing) => Ok(false),
            _ => {
                let reason = format!("{} cannot be in {}", self.kind(), whole.kind());
                Err(EvaluateError(reason.into()))
            }
        }
    }
}
