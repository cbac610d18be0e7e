//! `/v2/meters/NAME/statistics`

use serde_json::{Map, Value, json};

use super::conditions::{Conditions, Parameters, whole};
use super::error::{ApiError, python};
use crate::store::{Accumulator, GroupField, StatisticsQuery, Totals};
use nephometer_model::Timestamp;

const STANDARD: [&str; 5] = ["min", "max", "avg", "sum", "count"];
const OWNERS: [&str; 3] = ["resource_id", "user_id", "project_id"];

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) query: StatisticsQuery,
    groups: Vec<String>,
    aggregates: Vec<(String, Option<String>)>,
    period: i64,
    /// The times of the request, which the times of samples are cut to.
    written: [Option<i64>; 2],
}

impl Asked {
    /// Reads the parameters.
    pub(super) fn read(
        parameters: &Parameters,
        meter: &str,
        conditions: Conditions,
    ) -> Result<Self, ApiError> {
        let period = whole(parameters, "period")?.unwrap_or(0);
        if period < 0 {
            return Err(ApiError::client(400, "Period must be positive."));
        }
        let overflow = || {
            let text = format!("Invalid period {period}: it is longer than time");
            ApiError::client(400, text)
        };
        let length = period.checked_mul(1_000_000).ok_or_else(overflow)?;
        let (groups, fields) = groups(parameters)?;
        let aggregates = aggregates(parameters)?;
        let Conditions { mut selection, start, end, written } = conditions;
        selection.meter = Some(meter.to_owned());
        let asks = |name: &str| aggregates.iter().any(|(func, _)| func == name);
        let query = StatisticsQuery {
            selection,
            groups: fields,
            period: (length > 0).then_some(length),
            deviation: asks("stddev"),
            cardinality: asks("cardinality"),
            start,
            end,
        };
        Ok(Self { query, groups, aggregates, period, written })
    }

    /// The entries of the answer.
    pub(super) fn answer(&self, totals: &[Totals]) -> Vec<Value> {
        let counts = self.aggregates.is_empty() || self.asks("count");
        let shown =
            totals.iter().filter(|one| one.sums.rows > 0 && !(counts && one.sums.count == 0));
        shown.map(|one| self.entry(one)).collect()
    }

    fn asks(&self, name: &str) -> bool {
        self.aggregates.is_empty() && STANDARD.contains(&name)
            || self.aggregates.iter().any(|(func, _)| func == name)
    }

    fn entry(&self, totals: &Totals) -> Value {
        let sums = &totals.sums;
        let mut entry = Map::new();
        let groups = self.groups.iter().zip(&*totals.key.values);
        let groups: Map<String, Value> =
            groups.map(|(name, value)| (name.clone(), json!(value))).collect();
        let groupby = if self.groups.is_empty() { Value::Null } else { Value::Object(groups) };
        entry.insert("groupby".into(), groupby);
        entry.insert("unit".into(), json!(&*totals.key.unit));
        for name in STANDARD.into_iter().filter(|name| self.asks(name)) {
            let value = if name == "count" { json!(sums.count) } else { json!(figure(sums, name)) };
            entry.insert(name.into(), value);
        }
        if !self.aggregates.is_empty() {
            let figures = self.aggregates.iter().map(|(func, param)| match param {
                Some(param) => (format!("{func}/{param}"), json!(cardinality(sums, param))),
                None => (func.clone(), json!(figure(sums, func))),
            });
            entry.insert("aggregate".into(), Value::Object(figures.collect()));
        }
        self.times(totals, &mut entry);
        Value::Object(entry)
    }

    fn times(&self, totals: &Totals, entry: &mut Map<String, Value>) {
        let sums = &totals.sums;
        let [start, end] = self.written;
        let first = start.map_or(sums.first_time, |start| sums.first_time.max(start));
        let last = end.map_or(sums.last_time, |end| sums.last_time.min(end));
        let span = (first <= last).then_some((first, last));
        entry.insert("duration".into(), json!(span.map(|(first, last)| seconds(last - first))));
        entry.insert("duration_start".into(), json!(span.map(|(first, _)| iso(first))));
        entry.insert("duration_end".into(), json!(span.map(|(_, last)| iso(last))));
        entry.insert("period".into(), json!(self.period));
        let (start, end) = match totals.period {
            Some(period) => (period.start, period.end),
            None => (sums.first_time, sums.last_time),
        };
        entry.insert("period_start".into(), json!(iso(start)));
        entry.insert("period_end".into(), json!(iso(end)));
    }
}

fn groups(parameters: &Parameters) -> Result<(Vec<String>, Vec<GroupField>), ApiError> {
    let (mut names, mut fields): (Vec<String>, Vec<GroupField>) = (Vec::new(), Vec::new());
    for (_, name) in parameters.iter().filter(|(key, _)| key == "groupby") {
        let field = match &**name {
            "resource_id" => GroupField::Resource,
            "project_id" => GroupField::Project,
            "user_id" => GroupField::User,
            "source" => GroupField::Source,
            "resource_metadata.instance_type" => GroupField::Metadata("instance_type".into()),
            other => {
                let set = format!("{{{}}}", python(other));
                return Err(ApiError::unknown(&set, "Invalid groupby fields"));
            }
        };
        if !names.contains(name) {
            names.push(name.clone());
            fields.push(field);
        }
    }
    Ok((names, fields))
}

/// `aggregate.func` with `aggregate.param`. The client sends functions with a parameter first.
fn aggregates(parameters: &Parameters) -> Result<Vec<(String, Option<String>)>, ApiError> {
    let values = |name: &str| -> Vec<&String> {
        parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    };
    let (funcs, params) = (values("aggregate.func"), values("aggregate.param"));
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for (at, func) in funcs.into_iter().enumerate() {
        let param = params.get(at).filter(|param| !param.is_empty()).map(|param| (*param).clone());
        match (&**func, &param) {
            (name, _) if STANDARD.contains(&name) || name == "stddev" => {}
            ("cardinality", Some(param)) if OWNERS.contains(&&**param) => {}
            ("cardinality", param) => {
                let param = param.as_deref().unwrap_or("None");
                return Err(ApiError::client(400, format!("Bad aggregate: cardinality.{param}")));
            }
            _ => {
                return Err(ApiError::client(400, format!("Invalid aggregation function: {func}")));
            }
        }
        let asked = (func.clone(), param.filter(|_| func == "cardinality"));
        if !found.contains(&asked) {
            found.push(asked);
        }
    }
    Ok(found)
}

fn figure(sums: &Accumulator, name: &str) -> Option<f64> {
    match name {
        "min" => sums.min,
        "max" => sums.max,
        "avg" => sums.average(),
        "sum" => (sums.count > 0).then(|| sums.sum()),
        "count" => Some(number(sums.count)),
        _ => sums.deviation(),
    }
}

fn cardinality(sums: &Accumulator, field: &str) -> f64 {
    let at = OWNERS.iter().position(|owner| *owner == field).unwrap_or(0);
    number(sums.owners[at].len() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "the API has floats, and counts are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "Python divides doubles as well")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn iso(micros: i64) -> String {
    let nanos = u64::try_from(micros).unwrap_or(0).saturating_mul(1_000);
    Timestamp::from_nanos(nanos).iso()
}
