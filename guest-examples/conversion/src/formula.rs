use std::rc::Rc;

use expression::{Expression, Value};
use nephometer_guest::{EntryCache, FxHashMap, OptionReader, Row, log, type_word};
use serde_json::Value as Json;

use crate::time::iso;

/// Results that are remembered by their metadata.
const REMEMBERED: usize = 4_096;

/// The names that a sample has in an expression.
const NAMES: [&str; 11] = [
    "name",
    "type",
    "unit",
    "volume",
    "user_id",
    "project_id",
    "resource_id",
    "timestamp",
    "resource_metadata",
    "source",
    "monotonic_time",
];

/// What to do with values.
#[derive(Debug)]
pub enum Scale {
    /// Nothing: absent, or what Python takes for false.
    None,
    /// Multiply the sample's volume.
    Factor(f64),
    /// Evaluate.
    Formula(Formula),
}

impl Scale {
    /// Reads the scale under a key.
    pub(crate) fn read(target: &OptionReader<'_>, key: &str) -> Self {
        match target.value(key) {
            None => Self::None,
            Some(Json::String(text)) if text.is_empty() => Self::None,
            Some(Json::String(text)) => match Expression::parse(text) {
                Ok(expression) => Self::Formula(Formula::new(expression)),
                Err(error) => {
                    target.refuse(key, format!("not an expression: {error}"));
                    Self::None
                }
            },
            Some(_) => target.number(key).filter(|n| *n != 0.0).map_or(Self::None, Self::Factor),
        }
    }

    /// The metadata that has to come with the samples.
    pub fn metadata(&self) -> Vec<String> {
        match self {
            Self::Formula(formula) => formula.expression.paths_below("resource_metadata"),
            Self::None | Self::Factor(_) => Vec::new(),
        }
    }

    /// What upstream's `_scale` gives for a row; `none` if there is no scale.
    #[inline]
    pub fn of(&mut self, row: &Row<'_>, none: f64) -> Result<f64, Rc<str>> {
        match self {
            Self::None => Ok(none),
            Self::Factor(factor) => Ok(row.volume * *factor),
            Self::Formula(formula) => formula.of(row),
        }
    }
}

type Outcome = Result<f64, Rc<str>>;
type Parsed = Result<Json, Rc<str>>;

/// An expression, and what is already known of its results.
///
/// One that reads nothing but metadata is evaluated once per dictionary entry, and only once for entries
/// with equal metadata.
#[derive(Debug)]
pub struct Formula {
    expression: Expression,
    by_metadata: bool,
    remembered: FxHashMap<String, Outcome>,
    /// By resource.
    outcomes: EntryCache<Outcome>,
    metadata: EntryCache<Parsed>,
}

impl Formula {
    fn new(expression: Expression) -> Self {
        for name in expression.names() {
            if !NAMES.contains(&name) {
                log::warn(&format!("scale reads '{name}', which no sample has"));
            }
        }
        let by_metadata = expression.names().iter().all(|name| *name == "resource_metadata");
        Self {
            expression,
            by_metadata,
            remembered: FxHashMap::default(),
            outcomes: EntryCache::default(),
            metadata: EntryCache::default(),
        }
    }

    #[inline]
    fn of(&mut self, row: &Row<'_>) -> Outcome {
        if !self.by_metadata {
            return self.by_row(row);
        }
        let Self { expression, remembered, outcomes, .. } = self;
        let outcome = outcomes.get(row.resource_key(), || {
            of_metadata(expression, remembered, &row.resource().metadata)
        });
        outcome.clone()
    }

    fn by_row(&mut self, row: &Row<'_>) -> Outcome {
        let parsed = self.metadata.get(row.resource_key(), || parse(&row.resource().metadata));
        let metadata = (*parsed).as_ref().map_err(Rc::clone)?;
        let names = |name: &str| sample_value(row, metadata, name);
        self.expression.number(&names).map_err(|error| error.to_string().into())
    }
}

fn of_metadata(
    expression: &Expression,
    remembered: &mut FxHashMap<String, Outcome>,
    text: &str,
) -> Outcome {
    if let Some(outcome) = remembered.get(text) {
        return outcome.clone();
    }
    let outcome = parse(text).and_then(|metadata| {
        let names = |_: &str| Value::from(&metadata);
        expression.number(&names).map_err(|error| error.to_string().into())
    });
    if remembered.len() == REMEMBERED {
        remembered.clear();
    }
    remembered.insert(text.to_owned(), outcome.clone());
    outcome
}

fn parse(text: &str) -> Result<Json, Rc<str>> {
    serde_json::from_str(text).map_err(|error| format!("metadata is not JSON: {error}").into())
}

/// The sample's attributes, by upstream's names. `id` does not come with the columns.
fn sample_value<'a>(row: &Row<'a>, metadata: &'a Json, name: &str) -> Value<'a> {
    let text = |text: &'a str| Value::Text(text.into());
    let owner = |owner: &'a Option<String>| owner.as_deref().map_or(Value::None, text);
    match name {
        "volume" => Value::Float(row.volume),
        "resource_metadata" => Value::from(metadata),
        "name" => text(&row.meter().name),
        "unit" => text(&row.meter().unit),
        "type" => text(type_word(row.meter().type_)),
        "resource_id" => text(&row.resource().id),
        "project_id" => owner(&row.resource().project_id),
        "user_id" => owner(&row.resource().user_id),
        "source" => text(&row.resource().source),
        "timestamp" => Value::Text(iso(row.time).into()),
        "monotonic_time" => {
            row.monotonic.map_or(Value::None, |nanos| Value::Float(nanos as f64 / 1e9))
        }
        _ => Value::Missing,
    }
}
