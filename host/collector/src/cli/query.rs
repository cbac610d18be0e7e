use std::sync::Arc;

use clap::{Args, Subcommand};
use nephometer_config::AccessSpec;
use serde_json::Value;

use super::output::{Format, rows};
use super::{ConfigOption, Failure};
use crate::api::{Access, AccessRules, Answer, Api, Request};
use crate::ingest::Health;
use crate::store::{DEFAULT_BUDGET, open_reader};

/// Query the store, beside a running collector or without one
#[derive(Debug, Subcommand)]
pub(super) enum Query {
    /// List meters and their resources
    Meters(ListOptions),
    /// List resources
    Resources(ListOptions),
    /// List samples, newest first
    Samples(ListOptions),
    /// Print statistics of a meter
    Statistics(Statistics),
}

/// Which entries
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    conditions: ConditionOptions,
    /// Entries to print at most
    #[arg(long, short, default_value_t = 100)]
    limit: usize,
}

/// Which samples
#[derive(Debug, Args)]
pub(super) struct ConditionOptions {
    /// The meter
    #[arg(long, short)]
    meter: Option<String>,
    /// The resource
    #[arg(long, short)]
    resource: Option<String>,
    /// The project
    #[arg(long, short)]
    project: Option<String>,
    /// A value in the metadata, such as flavor.name=m1.tiny; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    metadata: Vec<String>,
    /// From this time on, such as 2026-11-28T00:00:00 or 2026-11-28T00:00:00+01:00
    #[arg(long)]
    from: Option<String>,
    /// Before this time
    #[arg(long)]
    to: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Statistics of a meter
#[derive(Debug, Args)]
pub(super) struct Statistics {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    conditions: ConditionOptions,
    /// Seconds of a period; without it one line for everything
    #[arg(long, default_value_t = 0)]
    period: u64,
    /// resource_id, project_id, user_id or source; may be repeated
    #[arg(long, short, value_name = "FIELD")]
    group: Vec<String>,
}

impl Query {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        match self {
            Self::Meters(mut filter) => {
                let columns = [
                    ("METER", "name"),
                    ("TYPE", "type"),
                    ("UNIT", "unit"),
                    ("RESOURCE", "resource_id"),
                    ("PROJECT", "project_id"),
                ];
                // The API has no such condition for meters.
                let (meter, limit) = (filter.conditions.meter.take(), filter.limit);
                filter.limit = if meter.is_some() { 1_000_000 } else { limit };
                let keep = |row: &Value| meter.as_deref().is_none_or(|meter| row["name"] == *meter);
                let mut found = filter.ask("/v2/meters")?;
                found.retain(keep);
                found.truncate(limit);
                Ok(rows(filter.conditions.format, &columns, &found)?)
            }
            Self::Resources(filter) => {
                let columns = [
                    ("RESOURCE", "resource_id"),
                    ("PROJECT", "project_id"),
                    ("USER", "user_id"),
                    ("SOURCE", "source"),
                    ("FIRST SAMPLE", "first_sample_timestamp"),
                    ("LAST SAMPLE", "last_sample_timestamp"),
                ];
                if filter.conditions.meter.is_some() {
                    let text =
                        "resources have no --meter; `query meters --meter` lists its resources";
                    return Err(Failure::Usage(text.to_owned()).into());
                }
                let found = filter.ask("/v2/resources")?;
                Ok(rows(filter.conditions.format, &columns, &found)?)
            }
            Self::Samples(filter) => {
                let columns = [
                    ("TIME", "timestamp"),
                    ("METER", "meter"),
                    ("RESOURCE", "resource_id"),
                    ("VOLUME", "volume"),
                    ("UNIT", "unit"),
                    ("ID", "id"),
                ];
                let found = filter.ask("/v2/samples")?;
                Ok(rows(filter.conditions.format, &columns, &found)?)
            }
            Self::Statistics(statistics) => statistics.execute(),
        }
    }
}

impl ListOptions {
    fn ask(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut parameters = self.conditions.parameters()?;
        parameters.push(("limit".into(), self.limit.to_string()));
        if path == "/v2/resources" {
            parameters.push(("meter_links".into(), "0".into()));
        }
        ask(&self.config, path.to_owned(), parameters)
    }
}

impl Statistics {
    fn execute(self) -> anyhow::Result<()> {
        let mut conditions = self.conditions;
        let Some(meter) = conditions.meter.take() else {
            return Err(Failure::Usage("name a meter: --meter cpu".to_owned()).into());
        };
        let mut parameters = conditions.parameters()?;
        parameters.push(("period".into(), self.period.to_string()));
        for group in &self.group {
            parameters.push(("groupby".into(), group.clone()));
        }
        let path = format!("/v2/meters/{meter}/statistics");
        let mut found = ask(&self.config, path, parameters)?;
        for row in &mut found {
            for group in &self.group {
                row[group] = row["groupby"][group].clone();
            }
        }
        let mut columns = vec![("PERIOD START", "period_start"), ("PERIOD END", "period_end")];
        let names: Vec<(String, &String)> =
            self.group.iter().map(|group| (group.to_uppercase(), group)).collect();
        columns.extend(names.iter().map(|(header, group)| (&**header, group.as_str())));
        columns.extend([
            ("COUNT", "count"),
            ("MIN", "min"),
            ("MAX", "max"),
            ("AVG", "avg"),
            ("SUM", "sum"),
            ("UNIT", "unit"),
        ]);
        Ok(rows(conditions.format, &columns, &found)?)
    }
}

impl ConditionOptions {
    /// The conditions as the API takes them.
    fn parameters(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut conditions: Vec<(String, &str, &String)> = Vec::new();
        let equal = [
            ("meter", &self.meter),
            ("resource_id", &self.resource),
            ("project_id", &self.project),
        ];
        for (field, value) in equal {
            conditions.extend(value.iter().map(|value| (field.to_owned(), "eq", value)));
        }
        let values: Vec<(&str, String)> = self
            .metadata
            .iter()
            .map(|pair| {
                let (path, value) = pair.split_once('=').ok_or_else(|| {
                    Failure::Usage(format!(
                        "{pair:?} is no PATH=VALUE, such as flavor.name=m1.tiny"
                    ))
                })?;
                Ok((path, value.to_owned()))
            })
            .collect::<Result<_, Failure>>()?;
        for (path, value) in &values {
            conditions.push((format!("metadata.{path}"), "eq", value));
        }
        conditions.extend(self.from.iter().map(|time| ("timestamp".to_owned(), "ge", time)));
        conditions.extend(self.to.iter().map(|time| ("timestamp".to_owned(), "lt", time)));
        let mut parameters = Vec::new();
        for (field, op, value) in conditions {
            parameters.push(("q.field".to_owned(), field));
            parameters.push(("q.op".to_owned(), op.to_owned()));
            parameters.push(("q.value".to_owned(), value.clone()));
        }
        Ok(parameters)
    }
}

/// Answers a request as the API does, as an administrator: whoever can read the files sees all.
fn ask(
    config: &ConfigOption,
    path: String,
    parameters: Vec<(String, String)>,
) -> anyhow::Result<Vec<Value>> {
    let spec = config.load()?;
    let budget = spec.api.as_ref().map_or(DEFAULT_BUDGET, |api| api.rows);
    let keep = spec.keep;
    let store = keep.clone();
    let open = Box::new(move || open_reader(&keep, budget));
    let access = AccessRules::new(Access::open(&AccessSpec::Loopback)?);
    let api = Api::new(access, 100, Arc::new(Health::default()), open);
    let request = Request { method: "GET".into(), path, parameters, ..Request::default() };
    let Answer { status, body, .. } = api.answer(&request);
    let value: Value = serde_json::from_slice(&body)?;
    match (status, value) {
        (200, Value::Array(found)) => Ok(found),
        (503, _) => {
            // Clients are not given the reason; whoever can read the files is.
            open_reader(&store, budget)?.state()?;
            Err(Failure::Unavailable("the store does not answer; try again later".to_owned())
                .into())
        }
        (status, value) => {
            let text = value["error_message"]["faultstring"].as_str().unwrap_or("no answer");
            let text = text.to_owned();
            let failure =
                if status < 500 { Failure::Usage(text) } else { Failure::Unavailable(text) };
            Err(failure.into())
        }
    }
}
