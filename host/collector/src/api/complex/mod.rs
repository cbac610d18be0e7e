//! `/v2/query/samples`: a filter and an order as JSON within JSON.

mod filter;

use std::ops::ControlFlow;

use nephometer_model::Bound;
use serde_json::{Map, Value};

use super::conditions::limit;
use super::error::ApiError;
use crate::store::{Reader, Selection, StoredSample, WantedOwner};
use filter::{Field, Filter, ordered, read_filter, single};

/// A checked question.
#[derive(Debug)]
pub(super) struct ComplexQuery {
    filter: Option<Filter>,
    order: Vec<(Field, bool)>,
    limit: usize,
    selection: Selection,
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
            selection.project = Some(WantedOwner::Id(own.to_owned()));
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

#[cfg(test)]
mod tests {
    use nephometer_model::{Timestamp, Volume};
    use serde_json::json;

    use super::*;
    use crate::api::conditions::moment;
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
