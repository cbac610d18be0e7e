//! The filter of a question: read from JSON, and tried on samples as SQL would.

use std::cmp::Ordering;

use nephometer_model::{Bound, Volume};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::api::conditions::moment;
use crate::api::error::ApiError;
use crate::store::{MetaScalar, Selection, StoredSample, WantedOwner, flat_pairs};

/// Bytes of a compiled pattern.
const PATTERN: usize = 1 << 20;

/// Conditions on samples.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(Comparison, Field, Literal),
    In(Field, Vec<Literal>),
    Matches(Field, Regex),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A field of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Meter,
    Kind,
    Unit,
    Volume,
    User,
    Project,
    Resource,
    Timestamp,
    Recorded,
    Id,
    Signature,
    Metadata(String),
}

/// A value to compare with, or of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    /// Microseconds since the epoch.
    Time(i64),
}

fn invalid(value: &Value) -> ApiError {
    let text = value.to_string();
    let shown = crate::sample::clip(&text);
    let text =
        format!("Filter expression not valid: {shown} is not valid under any of the given schemas");
    ApiError::client(400, text)
}

/// The only entry of an object.
pub(super) fn single(value: &Value) -> Result<(&String, &Value), ApiError> {
    let map = value.as_object().filter(|map| map.len() == 1);
    map.and_then(|map| map.iter().next()).ok_or_else(|| invalid(value))
}

pub(super) fn read_filter(value: &Value, terms: &mut usize) -> Result<Filter, ApiError> {
    *terms += 1;
    Bound::QueryTerms.check(*terms).map_err(|error| ApiError::client(400, error.to_string()))?;
    let (op, operand) = single(value)?;
    let op = op.to_lowercase();
    if op == "and" || op == "or" {
        let parts = operand.as_array().filter(|parts| parts.len() >= 2);
        let parts = parts.ok_or_else(|| invalid(value))?;
        let parts = parts.iter().map(|part| read_filter(part, terms)).collect::<Result<_, _>>()?;
        return Ok(if op == "and" { Filter::All(parts) } else { Filter::Any(parts) });
    }
    if op == "not" {
        return Ok(Filter::Not(Box::new(read_filter(operand, terms)?)));
    }
    let (name, operand) = single(operand)?;
    let field = Field::read(name).ok_or_else(|| invalid(value))?;
    if op == "in" {
        let list =
            operand.as_array().filter(|list| !list.is_empty()).ok_or_else(|| invalid(value))?;
        *terms += list.len();
        Bound::QueryTerms
            .check(*terms)
            .map_err(|error| ApiError::client(400, error.to_string()))?;
        let list = list.iter().map(|one| literal(&field, one, value)).collect::<Result<_, _>>()?;
        return Ok(Filter::In(field, list));
    }
    let comparison = match &*op {
        "=" => Comparison::Equal,
        "!=" => Comparison::Unequal,
        "<" => Comparison::Less,
        "<=" | "=<" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" | "=>" => Comparison::GreaterOrEqual,
        "=~" => {
            let pattern = operand.as_str().ok_or_else(|| invalid(value))?;
            let built = RegexBuilder::new(pattern).size_limit(PATTERN).build();
            let pattern = built.map_err(|_| {
                ApiError::client(
                    400,
                    format!("Filter expression not valid: {pattern:?} is no pattern"),
                )
            })?;
            return Ok(Filter::Matches(field, pattern));
        }
        _ => return Err(invalid(value)),
    };
    let literal = literal(&field, operand, value)?;
    Ok(Filter::Compare(comparison, field, literal))
}

fn literal(field: &Field, operand: &Value, whole: &Value) -> Result<Literal, ApiError> {
    Ok(match operand {
        Value::String(text) if matches!(field, Field::Timestamp | Field::Recorded) => {
            let time = moment(text).ok_or_else(|| {
                ApiError::client(400, format!("Failed to parse the timestamp value {text}"))
            })?;
            Literal::Time(time)
        }
        Value::String(text) => Literal::Text(text.clone()),
        Value::Bool(value) => Literal::Bool(*value),
        Value::Number(number) => Literal::Number(number.as_f64().ok_or_else(|| invalid(whole))?),
        _ => return Err(invalid(whole)),
    })
}

impl Field {
    pub(super) fn read(name: &str) -> Option<Self> {
        Some(match name {
            "source" => Self::Source,
            "meter" | "counter_name" => Self::Meter,
            "type" | "counter_type" => Self::Kind,
            "unit" | "counter_unit" => Self::Unit,
            "volume" | "counter_volume" => Self::Volume,
            "user" | "user_id" => Self::User,
            "project" | "project_id" => Self::Project,
            "resource" | "resource_id" => Self::Resource,
            "timestamp" => Self::Timestamp,
            "recorded_at" => Self::Recorded,
            "message_id" => Self::Id,
            "message_signature" => Self::Signature,
            _ => {
                let path = name.strip_prefix("metadata.")?;
                let good = !path.is_empty() && !path.contains(char::is_whitespace);
                return good.then(|| Self::Metadata(path.to_owned()));
            }
        })
    }

    /// The value of a sample; `None` is SQL's null, which no comparison accepts.
    pub(super) fn of(&self, sample: &StoredSample) -> Option<Literal> {
        let text = |text: &str| Some(Literal::Text(text.to_owned()));
        match self {
            Self::Source => text(&sample.owner.source),
            Self::Meter => text(&sample.meter.name),
            Self::Kind => text(sample.meter.kind),
            Self::Unit => text(&sample.meter.unit),
            Self::Volume => sample.volume.map(|volume| Literal::Number(Volume::as_f64(volume))),
            Self::User => text(sample.owner.user_id.as_deref()?),
            Self::Project => text(sample.owner.project_id.as_deref()?),
            Self::Resource => text(&sample.owner.resource_id),
            Self::Timestamp => micros(sample.time),
            Self::Recorded => micros(sample.recorded),
            Self::Id => text(&sample.id.to_string()),
            // Signatures are checked on arrival and not kept.
            Self::Signature => None,
            Self::Metadata(path) => {
                let value: Value = serde_json::from_str(&sample.metadata).ok()?;
                let (_, scalar) =
                    flat_pairs(&value).into_iter().find(|(known, _)| known == path)?;
                match scalar {
                    MetaScalar::Null => None,
                    MetaScalar::Bool(value) => Some(Literal::Bool(value)),
                    MetaScalar::Text(value) => Some(Literal::Text(value)),
                    MetaScalar::Float(value) => Some(Literal::Number(value)),
                    MetaScalar::Integer(value) => {
                        Some(Literal::Number(Volume::Integer(value).as_f64()))
                    }
                }
            }
        }
    }
}

fn micros(time: nephometer_model::Timestamp) -> Option<Literal> {
    i64::try_from(time.as_nanos() / 1_000).ok().map(Literal::Time)
}

/// Nulls come last, as in PostgreSQL.
pub(super) fn ordered(one: Option<&Literal>, two: Option<&Literal>) -> Ordering {
    match (one, two) {
        (Some(one), Some(two)) => compared(one, two).unwrap_or(Ordering::Equal),
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
    }
}

/// `None` for values of different types.
fn compared(one: &Literal, two: &Literal) -> Option<Ordering> {
    match (one, two) {
        (Literal::Text(one), Literal::Text(two)) => Some(one.cmp(two)),
        (Literal::Number(one), Literal::Number(two)) => one.partial_cmp(two),
        (Literal::Bool(one), Literal::Bool(two)) => Some(one.cmp(two)),
        (Literal::Time(one), Literal::Time(two)) => Some(one.cmp(two)),
        _ => None,
    }
}

impl Filter {
    /// SQL's three values: `None` is unknown, which is not accepted, and not accepted when negated.
    fn holds(&self, sample: &StoredSample) -> Option<bool> {
        match self {
            Self::All(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.holds(sample) {
                        Some(false) => return Some(false),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
            Self::Any(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.holds(sample) {
                        Some(true) => return Some(true),
                        None => any = None,
                        Some(false) => {}
                    }
                }
                any
            }
            Self::Not(part) => part.holds(sample).map(|holds| !holds),
            Self::Compare(comparison, field, literal) => {
                let order = compared(&field.of(sample)?, literal)?;
                Some(match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::Unequal => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                })
            }
            Self::In(field, list) => {
                let value = field.of(sample)?;
                Some(list.iter().any(|one| compared(&value, one) == Some(Ordering::Equal)))
            }
            Self::Matches(field, pattern) => match field.of(sample)? {
                Literal::Text(text) => Some(pattern.is_match(&text)),
                _ => None,
            },
        }
    }

    pub(super) fn accepts(&self, sample: &StoredSample) -> bool {
        self.holds(sample) == Some(true)
    }

    /// Refuses filters that name another project than the client's.
    pub(super) fn check_project(&self, own: &str) -> Result<(), ApiError> {
        let foreign = |literal: &Literal| match literal {
            Literal::Text(text) if text == own => Ok(()),
            Literal::Text(text) => Err(ApiError::other_project(text)),
            other => Err(ApiError::other_project(&format!("{other:?}"))),
        };
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().try_for_each(|part| part.check_project(own))
            }
            Self::Not(part) => part.check_project(own),
            Self::Compare(_, Field::Project, literal) => foreign(literal),
            Self::In(Field::Project, list) => list.iter().try_for_each(foreign),
            Self::Matches(Field::Project, pattern) => {
                foreign(&Literal::Text(pattern.as_str().to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Narrows the selection by what every accepted sample has to fulfil.
    pub(super) fn narrow(&self, selection: &mut Selection) {
        match self {
            Self::All(parts) => parts.iter().for_each(|part| part.narrow(selection)),
            Self::Compare(Comparison::Equal, field, Literal::Text(text)) => {
                let owner = || WantedOwner::Id(text.clone());
                let place = match field {
                    Field::Meter => &mut selection.meter,
                    Field::Resource => &mut selection.resource,
                    Field::Source => &mut selection.source,
                    Field::Id => &mut selection.message_id,
                    Field::Project => {
                        selection.project.get_or_insert_with(owner);
                        return;
                    }
                    Field::User => {
                        selection.user.get_or_insert_with(owner);
                        return;
                    }
                    _ => return,
                };
                place.get_or_insert_with(|| text.clone());
            }
            Self::Compare(comparison, Field::Timestamp, Literal::Time(time)) => {
                let times = &mut selection.times;
                match comparison {
                    Comparison::Greater | Comparison::GreaterOrEqual => {
                        times.start = times.start.max(*time);
                    }
                    Comparison::Less | Comparison::LessOrEqual => {
                        times.end = times.end.min(time.saturating_add(1));
                    }
                    Comparison::Equal | Comparison::Unequal => {}
                }
            }
            _ => {}
        }
    }
}
