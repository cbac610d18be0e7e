//! `q.field`, `q.op`, `q.value` and the other parameters of a request.

use nephometer_model::{Bound, Timestamp};

use super::error::{ApiError, python};
use crate::store::{MetaCondition, MetaScalar, Selection, WantedOwner};

/// The parameters of a request, in order.
pub(super) type Parameters = [(String, String)];

/// One condition, as the client wrote it.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    field: String,
    op: String,
    value: String,
    kind: Option<String>,
}

/// What a selection is for: it decides which fields there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Samples,
    Resources,
    Meters,
}

impl Subject {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Samples => &[
                "message_id",
                "meter",
                "project",
                "resource",
                "search_offset",
                "source",
                "timestamp",
                "user",
            ],
            Self::Resources => {
                &["project", "resource", "search_offset", "source", "timestamp", "user"]
            }
            Self::Meters => &["project", "resource", "source", "unique", "user"],
        }
    }
}

/// The conditions of a request, checked: the selection, and the times that the client wrote.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    pub(super) selection: Selection,
    /// Where the times that are asked for begin and end, in microseconds since the epoch.
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    /// The same without `search_offset`.
    pub(super) written: [Option<i64>; 2],
}

/// Refuses parameters that a resource does not have.
pub(super) fn only(parameters: &Parameters, known: &[&str]) -> Result<(), ApiError> {
    let conditions = ["q.field", "q.op", "q.value", "q.type"];
    let unknown = parameters.iter().find(|(name, _)| {
        !(known.contains(&&**name) || known.contains(&"q") && conditions.contains(&&**name))
    });
    match unknown {
        Some((name, _)) => Err(ApiError::client(400, format!("Unknown argument: \"{name}\""))),
        None => Ok(()),
    }
}

/// A whole number, which may be given once.
pub(super) fn whole(parameters: &Parameters, name: &str) -> Result<Option<i64>, ApiError> {
    let given = parameters.iter().filter(|(known, _)| known == name);
    let given: Vec<&str> = given.map(|(_, value)| &**value).collect();
    let value = match *given {
        [] => return Ok(None),
        [value] => value,
        _ => {
            let values: Vec<String> = given.iter().map(|value| python(value)).collect();
            let text = format!(
                "Invalid input for field/attribute {name}. Value: '[{}]'. unable to convert to int. \
                 Error: int() argument must be a string, a bytes-like object or a number, not 'list'",
                values.join(", ")
            );
            return Err(ApiError::client(400, text));
        }
    };
    value.trim().parse().map(Some).map_err(|_| {
        let literal = python(value);
        let text = format!(
            "unable to convert to int. Error: invalid literal for int() with base 10: {literal}"
        );
        ApiError::invalid(name, value, &text)
    })
}

/// The number of entries of an answer.
pub(super) fn limit(given: Option<i64>, default: usize) -> Result<usize, ApiError> {
    match given {
        None => Ok(default),
        Some(given) if given <= 0 => Err(ApiError::client(400, "Limit must be positive")),
        Some(given) => {
            let given = usize::try_from(given).unwrap_or(usize::MAX);
            let within = Bound::QueryEntries.check(given);
            within.map(|()| given).map_err(|error| ApiError::client(400, error.to_string()))
        }
    }
}

/// The conditions of a request; `project` is the one that the client is restricted to.
pub(super) fn conditions(
    parameters: &Parameters,
    subject: Subject,
    project: Option<&str>,
) -> Result<Conditions, ApiError> {
    let all = read(parameters)?;
    if let Some(own) = project {
        let foreign =
            |one: &&Condition| matches!(&*one.field, "project" | "project_id") && one.value != own;
        if let Some(foreign) = all.iter().find(foreign) {
            return Err(ApiError::other_project(&foreign.value));
        }
    }
    check_times(&all, subject)?;
    let selection = Selection::default();
    let mut found = Conditions { selection, start: None, end: None, written: [None; 2] };
    let (mut offset, mut ops) = (0, ["ge", "lt"]);
    let mut times: [Option<&str>; 2] = [None, None];
    for one in &all {
        match &*one.field {
            "timestamp" => {
                let side = usize::from(one.op.starts_with('l'));
                times[side] = Some(&one.value);
                ops[side] = &one.op;
            }
            "search_offset" => offset = one.value.trim().parse::<i64>().unwrap_or(0),
            _ => add(&mut found.selection, one, subject, &all)?,
        }
    }
    for (side, text) in times.into_iter().enumerate() {
        let Some(text) = text.filter(|text| !text.is_empty()) else { continue };
        let wrong = || ApiError::invalid("timestamp", text, "invalid timestamp format");
        let time = moment(text).ok_or_else(wrong)?;
        found.written[side] = Some(time);
        let shift = offset.saturating_mul(60_000_000);
        if side == 0 {
            let time = time.saturating_sub(shift);
            found.start = Some(time);
            found.selection.times.start = time.saturating_add(i64::from(ops[0] == "gt"));
        } else {
            let time = time.saturating_add(shift);
            found.end = Some(time);
            found.selection.times.end = time.saturating_add(i64::from(ops[1] == "le"));
        }
    }
    if let Some(own) = project {
        found.selection.project = Some(WantedOwner::Id(own.to_owned()));
    }
    Ok(found)
}

/// Microseconds since the epoch. A time without a zone is UTC.
pub(super) fn moment(text: &str) -> Option<i64> {
    let time = Timestamp::parse(text.trim()).ok()?;
    i64::try_from(time.as_nanos() / 1_000).ok()
}

fn read(parameters: &Parameters) -> Result<Vec<Condition>, ApiError> {
    let values = |name: &str| -> Vec<&String> {
        parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect()
    };
    let (fields, ops) = (values("q.field"), values("q.op"));
    let (values, kinds) = (values("q.value"), values("q.type"));
    let within = Bound::QueryTerms.check(fields.len());
    within.map_err(|error| ApiError::client(400, error.to_string()))?;
    let all = fields.iter().enumerate().map(|(at, field)| Condition {
        field: (*field).clone(),
        op: ops.get(at).filter(|op| !op.is_empty()).map_or("eq".to_owned(), |op| (*op).clone()),
        value: values.get(at).map_or(String::new(), |value| (*value).clone()),
        kind: kinds.get(at).map(|kind| (*kind).clone()),
    });
    Ok(all.collect())
}

/// Times and their offset, which come first in the checks of the real API.
fn check_times(all: &[Condition], subject: Subject) -> Result<(), ApiError> {
    let mut found = [false; 2];
    for (at, (field, ops)) in
        [("timestamp", &["lt", "le", "gt", "ge"][..]), ("search_offset", &["eq"])]
            .into_iter()
            .enumerate()
    {
        for one in all.iter().filter(|one| one.field == field) {
            if subject == Subject::Meters {
                return Err(ApiError::unknown(field, "not valid for this resource"));
            }
            if !ops.contains(&&*one.op) {
                return Err(unimplemented(one));
            }
            found[at] = true;
        }
    }
    if found[1] && !found[0] {
        let text = "search_offset cannot be used without timestamp";
        return Err(ApiError::invalid("field", "search_offset", text));
    }
    Ok(())
}

fn unimplemented(one: &Condition) -> ApiError {
    ApiError::invalid("op", &one.op, &format!("unimplemented operator for {}", one.field))
}

fn add(
    selection: &mut Selection,
    one: &Condition,
    subject: Subject,
    all: &[Condition],
) -> Result<(), ApiError> {
    let key = match &*one.field {
        "user_id" => "user",
        "project_id" => "project",
        "resource_id" => "resource",
        other => other,
    };
    let path = key.strip_prefix("resource_metadata.").or_else(|| key.strip_prefix("metadata."));
    if path.is_none() && !subject.keys().contains(&key) {
        let shown: Vec<String> = all.iter().map(shown).collect();
        let keys: Vec<String> = subject.keys().iter().map(|key| python(key)).collect();
        let (shown, keys) = (shown.join(", "), keys.join(", "));
        let text = format!("unrecognized field in query: [{shown}], valid keys: [{keys}]");
        return Err(ApiError::unknown(key, &text));
    }
    if one.op != "eq" {
        return Err(unimplemented(one));
    }
    if let Some(path) = path {
        let value = typed(one)?;
        // The last one of a field counts, as with other fields.
        selection.metadata.retain(|known| known.path != path);
        selection.metadata.push(MetaCondition { path: path.to_owned(), value });
        return Ok(());
    }
    let value = Some(one.value.clone());
    let owner = match &*one.value {
        "None" => WantedOwner::Nobody,
        id => WantedOwner::Id(id.to_owned()),
    };
    match key {
        "user" => selection.user = Some(owner),
        "project" => selection.project = Some(owner),
        "resource" => selection.resource = value,
        "source" => selection.source = value,
        "meter" => selection.meter = value,
        "message_id" => selection.message_id = value,
        other => {
            let text = "it is a parameter of its own";
            return Err(ApiError::invalid("field", other, text));
        }
    }
    Ok(())
}

/// A condition as the real API prints it.
fn shown(one: &Condition) -> String {
    let kind = one.kind.as_deref().unwrap_or("Unset");
    format!("<Query {} {} {} {kind}>", python(&one.field), one.op, python(&one.value))
}

/// The value of a condition on metadata: of the type that the client names, or of the one that it
/// looks like.
fn typed(one: &Condition) -> Result<MetaScalar, ApiError> {
    let text = one.value.trim();
    let kind = one.kind.as_deref().unwrap_or_default();
    let value = match kind {
        "" => return Ok(guessed(&one.value)),
        "string" => Some(MetaScalar::Text(one.value.clone())),
        "integer" => text.parse().ok().map(MetaScalar::Integer),
        "float" => text.parse().ok().map(MetaScalar::Float),
        "boolean" => match &*text.to_lowercase() {
            "t" | "true" | "on" | "y" | "yes" | "1" => Some(MetaScalar::Bool(true)),
            "f" | "false" | "off" | "n" | "no" | "0" => Some(MetaScalar::Bool(false)),
            _ => None,
        },
        "datetime" => moment(text).map(|_| MetaScalar::Text(text.to_owned())),
        other => {
            let supported = "['integer', 'float', 'string', 'boolean', 'datetime']";
            let text = format!(
                "The data type {other} is not supported. The supported data type list is: {supported}"
            );
            return Err(ApiError::client(400, text));
        }
    };
    value.ok_or_else(|| {
        let text =
            format!("Unable to convert the value {} to the expected data type {kind}.", one.value);
        ApiError::client(400, text)
    })
}

/// A value as Python's `literal_eval` reads it: what is no literal is text.
fn guessed(text: &str) -> MetaScalar {
    let trimmed = text.trim();
    match trimmed {
        "True" => return MetaScalar::Bool(true),
        "False" => return MetaScalar::Bool(false),
        "None" => return MetaScalar::Null,
        _ => {}
    }
    let digits = trimmed.trim_start_matches(['-', '+']);
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        if let (Ok(whole), false) = (trimmed.parse(), leading_zero) {
            return MetaScalar::Integer(whole);
        }
        let is_float = digits.contains(['.', 'e', 'E']);
        if let (Ok(float), true) = (trimmed.parse(), is_float) {
            return MetaScalar::Float(float);
        }
    }
    for quote in ['\'', '"'] {
        let inner = trimmed.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains([quote, '\\'])) {
            return MetaScalar::Text(inner.to_owned());
        }
    }
    MetaScalar::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TimeRange;

    fn parameters(query: &str) -> Vec<(String, String)> {
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn refused(query: &str, subject: Subject) -> String {
        let error = conditions(&parameters(query), subject, None).unwrap_err();
        assert_eq!(error.status, 400);
        error.body["error_message"]["faultstring"].as_str().unwrap().to_owned()
    }

    /// The texts of the real API 9.0.7.
    #[test]
    fn refusals_are_those_of_the_real_api() {
        for (query, expected) in [
            (
                "q.field=bogus&q.op=eq&q.value=1",
                "Unknown argument: \"bogus\": unrecognized field in query: [<Query 'bogus' eq '1' \
                 Unset>], valid keys: ['message_id', 'meter', 'project', 'resource', \
                 'search_offset', 'source', 'timestamp', 'user']",
            ),
            (
                "q.field=resource_id&q.op=gt&q.value=1",
                "Invalid input for field/attribute op. Value: 'gt'. unimplemented operator for \
                 resource_id",
            ),
            (
                "q.field=timestamp&q.op=gt&q.value=notatime",
                "Invalid input for field/attribute timestamp. Value: 'notatime'. invalid timestamp \
                 format",
            ),
            (
                "q.field=timestamp&q.op=eq&q.value=2026-11-28T00:00:00",
                "Invalid input for field/attribute op. Value: 'eq'. unimplemented operator for \
                 timestamp",
            ),
            (
                "q.field=metadata.memory_mb&q.op=ge&q.type=&q.value=96",
                "Invalid input for field/attribute op. Value: 'ge'. unimplemented operator for \
                 metadata.memory_mb",
            ),
        ] {
            assert_eq!(refused(query, Subject::Samples), expected);
        }
        let text =
            refused("q.field=timestamp&q.op=gt&q.value=2026-11-28T00:00:00", Subject::Meters);
        assert_eq!(text, "Unknown argument: \"timestamp\": not valid for this resource");
        let abc = whole(&parameters("limit=abc"), "limit").unwrap_err();
        assert_eq!(
            abc.body["error_message"]["faultstring"],
            "Invalid input for field/attribute limit. Value: 'abc'. unable to convert to int. Error: \
             invalid literal for int() with base 10: 'abc'"
        );
        let zero = limit(Some(0), 100).unwrap_err();
        assert_eq!(zero.body["error_message"]["faultstring"], "Limit must be positive");
    }

    #[test]
    fn times_and_projects_narrow_the_selection() {
        let query = "q.field=timestamp&q.op=gt&q.value=2026-11-28T00:00:00&q.field=timestamp&q.op=le\
            &q.value=2026-11-28T02:00:00%2B01:00&q.field=search_offset&q.op=eq&q.value=10";
        let found = conditions(&parameters(query), Subject::Samples, Some("p")).unwrap();
        let base = moment("2026-11-28T00:00:00").unwrap();
        assert_eq!(found.start, Some(base - 600_000_000));
        let times = TimeRange { start: base - 599_999_999, end: base + 4_200_000_001 };
        assert_eq!(found.selection.times, times);
        assert_eq!(found.written[0], Some(base));
        assert_eq!(found.selection.project, Some(WantedOwner::Id("p".to_owned())));
        let foreign = parameters("q.field=project_id&q.op=eq&q.value=other");
        let error = conditions(&foreign, Subject::Meters, Some("p")).unwrap_err();
        assert_eq!(error, ApiError::other_project("other"));
    }

    #[test]
    fn values_of_metadata_have_types() {
        for (text, expected) in [
            ("96", MetaScalar::Integer(96)),
            ("-1", MetaScalar::Integer(-1)),
            ("1.5", MetaScalar::Float(1.5)),
            ("1e3", MetaScalar::Float(1e3)),
            ("True", MetaScalar::Bool(true)),
            ("None", MetaScalar::Null),
            ("'96'", MetaScalar::Text("96".into())),
            ("vm-1", MetaScalar::Text("vm-1".into())),
            ("007", MetaScalar::Text("007".into())),
            ("", MetaScalar::Text(String::new())),
        ] {
            assert_eq!(guessed(text), expected, "{text}");
        }
        let query = parameters("q.field=metadata.a&q.op=eq&q.type=integer&q.value=x");
        let error = conditions(&query, Subject::Samples, None).unwrap_err();
        let text = error.body["error_message"]["faultstring"].as_str().unwrap();
        assert_eq!(text, "Unable to convert the value x to the expected data type integer.");
    }
}
