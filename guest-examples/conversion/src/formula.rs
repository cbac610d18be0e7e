use std::rc::Rc;

use expression::{Expression, Value};
use nephometer_guest::{Batch, FxHashMap, OptionReader, Row, log, type_word};
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

    /// To be called before the rows of each batch.
    pub fn begin(&mut self, batch: &Batch) {
        if let Self::Formula(formula) = self {
            formula.begin(batch);
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
type Parsed = Rc<Result<Json, Rc<str>>>;

/// An expression, and what is already known of its results.
///
/// One that reads nothing but metadata is evaluated once per dictionary entry, and if the same
/// metadata comes again in another batch, not even that.
#[derive(Debug)]
pub struct Formula {
    expression: Expression,
    by_metadata: bool,
    remembered: FxHashMap<String, Outcome>,
    /// Of this batch, by index of resource.
    outcomes: Vec<Option<Outcome>>,
    metadata: Vec<Option<Parsed>>,
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
            outcomes: Vec::new(),
            metadata: Vec::new(),
        }
    }

    fn begin(&mut self, batch: &Batch) {
        self.outcomes.clear();
        self.metadata.clear();
        if self.by_metadata {
            self.outcomes.resize(batch.resources.len(), None);
        } else {
            self.metadata.resize(batch.resources.len(), None);
        }
    }

    #[inline]
    fn of(&mut self, row: &Row<'_>) -> Outcome {
        if !self.by_metadata {
            return self.by_row(row);
        }
        match &self.outcomes[row.resource_index as usize] {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = self.of_metadata(&row.resource.metadata);
                self.outcomes[row.resource_index as usize] = Some(outcome.clone());
                outcome
            }
        }
    }

    fn of_metadata(&mut self, text: &str) -> Outcome {
        if let Some(outcome) = self.remembered.get(text) {
            return outcome.clone();
        }
        let outcome = parse(text).and_then(|metadata| {
            let names = |_: &str| Value::from(&metadata);
            self.expression.number(&names).map_err(|error| error.to_string().into())
        });
        if self.remembered.len() == REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(text.to_owned(), outcome.clone());
        outcome
    }

    fn by_row(&mut self, row: &Row<'_>) -> Outcome {
        let slot = &mut self.metadata[row.resource_index as usize];
        let parsed = slot.get_or_insert_with(|| Rc::new(parse(&row.resource.metadata))).clone();
        let metadata = parsed.as_ref().as_ref().map_err(Rc::clone)?;
        let names = |name: &str| sample_value(row, metadata, name);
        self.expression.number(&names).map_err(|error| error.to_string().into())
    }
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
        "name" => text(&row.meter.name),
        "unit" => text(&row.meter.unit),
        "type" => text(type_word(row.meter.type_)),
        "resource_id" => text(&row.resource.id),
        "project_id" => owner(&row.resource.project_id),
        "user_id" => owner(&row.resource.user_id),
        "source" => text(&row.resource.source),
        "timestamp" => Value::Text(iso(row.time).into()),
        "monotonic_time" => {
            row.monotonic.map_or(Value::None, |nanos| Value::Float(nanos as f64 / 1e9))
        }
        _ => Value::Missing,
    }
}
