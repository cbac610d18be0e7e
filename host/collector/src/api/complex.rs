//! `/v2/query/samples`: a filter and an order as JSON within JSON.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use nephometer_model::{Bound, Volume};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::conditions::{limit, moment};
use super::error::ApiError;
use crate::store::{MetaScalar, Reader, Selection, StoredSample, flat_pairs};

/// Bytes of a compiled pattern.
const PATTERN: usize = 1 << 20;

/// A checked question.
#[derive(Debug)]
pub(super) struct ComplexQuery {
    filter: Option<Filter>,
    order: Vec<(Field, bool)>,
    limit: usize,
    selection: Selection,
}

#[derive(Debug)]
enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(Comparison, Field, Literal),
    In(Field, Vec<Literal>),
    Matches(Field, Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
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
enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    /// Microseconds since the epoch.
    Time(i64),
}

impl ComplexQuery {
    /// Reads the body of a request; `project` is the one that the client is restricted to.
    pub(super) fn read(
        body: &[u8],
        default: usize,
        project: Option<&str>,
    ) -> Result<Self, ApiError> {
        let value: Value = if body.is_empty() {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(body).map_err(|error| {
                ApiError::client(400, format!("Request is not in valid JSON format: {error}"))
            })?
        };
        let Value::Object(map) = value else {
            return Err(ApiError::client(400, "Request must be a JSON object"));
        };
        if let Some(key) = map.keys().find(|key| !["filter", "orderby", "limit"].contains(&&***key))
        {
            return Err(ApiError::client(400, format!("Unknown attribute: {key}")));
        }
        let mut terms = 0;
        let filter = match text(&map, "filter")? {
            Some(text) => Some(read_filter(&parsed(text, "Filter")?, &mut terms)?),
            None => None,
        };
        if let (Some(own), Some(filter)) = (project, &filter) {
            filter.check_project(own)?;
        }
        let order = match text(&map, "orderby")? {
            Some(text) => read_order(&parsed(text, "Order-by")?)?,
            None => Vec::new(),
        };
        let mut selection = Selection::default();
        if let Some(filter) = &filter {
            filter.narrow(&mut selection);
        }
        if let Some(own) = project {
            selection.project = Some(own.to_owned());
        }
        Ok(Self { filter, order, limit: read_limit(&map, default)?, selection })
    }

    /// Answers it.
    pub(super) fn answer(&self, reader: &mut dyn Reader) -> Result<Vec<StoredSample>, ApiError> {
        let accepts = |sample: &StoredSample| {
            self.filter.as_ref().is_none_or(|filter| filter.accepts(sample))
        };
        if matches!(&*self.order, [] | [(Field::Timestamp, false)]) {
            let mut accept = |sample: &StoredSample| accepts(sample);
            return Ok(reader.newest(&self.selection, self.limit, &mut accept)?);
        }
        let (mut found, most) = (Vec::new(), 2 * self.limit.max(10_000));
        reader.scan(&self.selection, &mut |sample| {
            if accepts(&sample) {
                found.push(sample);
            }
            if found.len() > most {
                self.sort(&mut found);
            }
            ControlFlow::Continue(())
        })?;
        self.sort(&mut found);
        Ok(found)
    }

    /// Sorts, and cuts at the limit.
    fn sort(&self, found: &mut Vec<StoredSample>) {
        found.sort_by(|one, two| {
            let orders = self.order.iter().map(|(field, ascending)| {
                let order = ordered(field.of(one).as_ref(), field.of(two).as_ref());
                if *ascending { order } else { order.reverse() }
            });
            let last = || (two.time, &two.id).cmp(&(one.time, &one.id));
            orders.into_iter().find(|order| order.is_ne()).unwrap_or_else(last)
        });
        found.truncate(self.limit);
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ApiError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let text = "Wrong type. Expected '<type 'str'>', got an object or a number";
            Err(ApiError::invalid(key, &other.to_string(), text))
        }
    }
}

fn read_limit(map: &Map<String, Value>, default: usize) -> Result<usize, ApiError> {
    let given = match map.get("limit") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(
            text.trim()
                .parse::<i64>()
                .map_err(|_| ApiError::invalid("limit", text, "unable to convert to int"))?,
        ),
        Some(other) => Some(other.as_i64().ok_or_else(|| {
            ApiError::invalid("limit", &other.to_string(), "unable to convert to int")
        })?),
    };
    limit(given, default)
}

fn parsed(text: &str, of: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::client(400, format!("{of} expression not valid: {error}")))
}

fn invalid(value: &Value) -> ApiError {
    let text = value.to_string();
    let shown = crate::sample::clip(&text);
    let text =
        format!("Filter expression not valid: {shown} is not valid under any of the given schemas");
    ApiError::client(400, text)
}

/// The only entry of an object.
fn single(value: &Value) -> Result<(&String, &Value), ApiError> {
    let map = value.as_object().filter(|map| map.len() == 1);
    map.and_then(|map| map.iter().next()).ok_or_else(|| invalid(value))
}

fn read_filter(value: &Value, terms: &mut usize) -> Result<Filter, ApiError> {
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

fn read_order(value: &Value) -> Result<Vec<(Field, bool)>, ApiError> {
    let wrong = |what: &Value| {
        let text =
            format!("Order-by expression not valid: {what} is no list of {{field: asc or desc}}");
        ApiError::client(400, text)
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    Bound::QueryTerms
        .check(list.len())
        .map_err(|error| ApiError::client(400, error.to_string()))?;
    let mut order = Vec::new();
    for entry in list {
        let (name, direction) = single(entry).map_err(|_| wrong(entry))?;
        let field = Field::read(name).filter(|field| !matches!(field, Field::Metadata(_)));
        let ascending = match direction.as_str().map(str::to_lowercase).as_deref() {
            Some("asc") => true,
            Some("desc") => false,
            _ => return Err(wrong(entry)),
        };
        order.push((field.ok_or_else(|| wrong(entry))?, ascending));
    }
    Ok(order)
}

impl Field {
    fn read(name: &str) -> Option<Self> {
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
    fn of(&self, sample: &StoredSample) -> Option<Literal> {
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
fn ordered(one: Option<&Literal>, two: Option<&Literal>) -> Ordering {
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

    fn accepts(&self, sample: &StoredSample) -> bool {
        self.holds(sample) == Some(true)
    }

    /// Refuses filters that name another project than the client's.
    fn check_project(&self, own: &str) -> Result<(), ApiError> {
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
    fn narrow(&self, selection: &mut Selection) {
        match self {
            Self::All(parts) => parts.iter().for_each(|part| part.narrow(selection)),
            Self::Compare(Comparison::Equal, field, Literal::Text(text)) => {
                let place = match field {
                    Field::Meter => &mut selection.meter,
                    Field::Resource => &mut selection.resource,
                    Field::Project => &mut selection.project,
                    Field::User => &mut selection.user,
                    Field::Source => &mut selection.source,
                    Field::Id => &mut selection.message_id,
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

#[cfg(test)]
mod tests {
    use nephometer_model::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::sample::{MeterKey, OwnerKey, SampleId};

    fn sample() -> StoredSample {
        StoredSample {
            id: SampleId::new("x"),
            meter: MeterKey { name: "cpu".into(), unit: "ns".into(), kind: "cumulative" },
            owner: OwnerKey {
                resource_id: "r1".into(),
                project_id: None,
                user_id: Some("u".into()),
                source: "openstack".into(),
            },
            volume: Some(Volume::Integer(7)),
            time: Timestamp::parse("2026-11-28T20:00:00").unwrap(),
            recorded: Timestamp::parse("2026-11-28T20:00:01").unwrap(),
            metadata: r#"{"a": {"b": "x"}, "n": 96}"#.into(),
        }
    }

    fn read(filter: &Value) -> Result<ComplexQuery, ApiError> {
        let body = json!({"filter": filter.to_string(), "limit": "7"}).to_string();
        ComplexQuery::read(body.as_bytes(), 100, None)
    }

    #[test]
    fn filters_hold_as_in_sql() {
        for (filter, expected) in [
            (json!({"=": {"meter": "cpu"}}), true),
            (json!({"and": [{"=": {"counter_name": "cpu"}}, {">": {"volume": 6.5}}]}), true),
            (json!({"AND": [{"=": {"meter": "cpu"}}, {"<": {"volume": 7}}]}), false),
            (json!({"or": [{"=": {"meter": "x"}}, {"=>": {"volume": 7}}]}), true),
            (json!({"not": {"=": {"meter": "x"}}}), true),
            // Null is neither equal nor unequal.
            (json!({"=": {"project": "p"}}), false),
            (json!({"not": {"=": {"project": "p"}}}), false),
            (json!({"in": {"resource": ["r2", "r1"]}}), true),
            (json!({"=~": {"resource": "^r[0-9]$"}}), true),
            (json!({"=": {"metadata.a.b": "x"}}), true),
            (json!({"<=": {"metadata.n": 96}}), true),
            (json!({"=": {"metadata.n": "96"}}), false),
            (json!({">": {"timestamp": "2026-11-28T19:00:00"}}), true),
            (json!({">": {"timestamp": "2026-11-28T21:30:00+01:00"}}), false),
        ] {
            let query = read(&filter).unwrap();
            assert_eq!(query.filter.unwrap().accepts(&sample()), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for filter in [
            json!({"=": {"bogus": 1}}),
            json!({"and": [{"=": {"meter": "x"}}]}),
            json!({"=": {"meter": "x"}, "<": {"volume": 1}}),
            json!({"in": {"meter": []}}),
            json!({"=": {"meter": null}}),
            json!({"like": {"meter": "x"}}),
            json!([]),
            json!({"=~": {"meter": "("}}),
            json!({"=": {"timestamp": "now"}}),
        ] {
            assert_eq!(read(&filter).unwrap_err().status, 400, "{filter}");
        }
        let many: Vec<Value> = (0..300).map(|at| json!({"=": {"meter": at.to_string()}})).collect();
        let error = read(&json!({"or": many})).unwrap_err().body.to_string();
        assert!(error.contains("query_terms"), "{error}");
        for body in [
            "{\"limit\": \"x\"}",
            "{\"x\": 1}",
            "[]",
            "{",
            "{\"filter\": {}}",
            "{\"orderby\": \"[{\\\"timestamp\\\": \\\"up\\\"}]\"}",
        ] {
            let error = ComplexQuery::read(body.as_bytes(), 100, None).unwrap_err();
            assert_eq!(error.status, 400, "{body}");
        }
    }

    #[test]
    fn conjunctions_narrow_what_is_read() {
        let filter = json!({"and": [{"=": {"meter": "cpu"}}, {"and": [
            {">=": {"timestamp": "2026-11-28T00:00:00"}}, {"=": {"resource": "r1"}}]}]});
        let selection = read(&filter).unwrap().selection;
        assert_eq!(
            (selection.meter.as_deref(), selection.resource.as_deref()),
            (Some("cpu"), Some("r1"))
        );
        assert_eq!(Some(selection.times.start), moment("2026-11-28T00:00:00"));
        let body = json!({"filter": json!({"or": [{"=": {"project": "p"}}, {"=": {"project_id": "q"}}]}).to_string()});
        let error = ComplexQuery::read(body.to_string().as_bytes(), 100, Some("p")).unwrap_err();
        assert_eq!(error, ApiError::other_project("q"));
    }
}
