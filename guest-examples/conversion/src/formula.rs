//! The option `scale`: a factor, or an expression over the sample.

use std::rc::Rc;

use expression::{Expression, Value};
use nephometer_guest::{EntryCache, FxHashMap, OptionReader, Row, log, type_word};
use serde_json::Value as Json;

use crate::time::iso;

/// The cache of results by metadata is cleared when it has this many.
const MAX_CACHED_RESULTS: usize = 4_096;

/// The attributes of a sample that expressions can read, as in Ceilometer.
const SAMPLE_NAMES: [&str; 11] = [
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

/// How values are scaled.
#[derive(Debug)]
pub enum Scale {
    /// Not at all: the option is absent, or false in Python.
    None,
    /// The volume is multiplied by a factor.
    Factor(f64),
    /// An expression is evaluated.
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

    /// The metadata paths that the expression reads, for [`nephometer_guest::Settings`].
    pub fn metadata(&self) -> Vec<String> {
        match self {
            Self::Formula(formula) => formula.expression.paths_below("resource_metadata"),
            Self::None | Self::Factor(_) => Vec::new(),
        }
    }

    /// The result for a row, as Ceilometer's `_scale` computes it; `default` if there is no scale.
    ///
    /// # Errors
    /// The reason why the expression has no finite value.
    #[inline]
    pub fn evaluate(&mut self, row: &Row<'_>, default: f64) -> Result<f64, Rc<str>> {
        match self {
            Self::None => Ok(default),
            Self::Factor(factor) => Ok(row.volume * *factor),
            Self::Formula(formula) => formula.evaluate(row),
        }
    }
}

type ScaleResult = Result<f64, Rc<str>>;
type ParsedMetadata = Result<Json, Rc<str>>;

/// An expression with caches.
///
/// If it reads only metadata, it is evaluated once per dictionary entry, and once for all entries
/// with equal metadata.
#[derive(Debug)]
pub struct Formula {
    expression: Expression,
    /// Whether the expression reads only metadata.
    only_metadata: bool,
    /// Results by the text of the metadata.
    by_text: FxHashMap<String, ScaleResult>,
    by_resource: EntryCache<ScaleResult>,
    metadata: EntryCache<ParsedMetadata>,
}

impl Formula {
    fn new(expression: Expression) -> Self {
        for name in expression.names() {
            if !SAMPLE_NAMES.contains(&name) {
                log::warn(&format!("scale refers to '{name}', which no sample has"));
            }
        }
        let only_metadata = expression.names().iter().all(|name| *name == "resource_metadata");
        Self {
            expression,
            only_metadata,
            by_text: FxHashMap::default(),
            by_resource: EntryCache::default(),
            metadata: EntryCache::default(),
        }
    }

    #[inline]
    fn evaluate(&mut self, row: &Row<'_>) -> ScaleResult {
        if !self.only_metadata {
            return self.evaluate_row(row);
        }
        let Self { expression, by_text, by_resource, .. } = self;
        let result = by_resource.get(row.resource_key(), || {
            evaluate_metadata(expression, by_text, &row.resource().metadata)
        });
        result.clone()
    }

    fn evaluate_row(&mut self, row: &Row<'_>) -> ScaleResult {
        let parsed = self.metadata.get(row.resource_key(), || parse(&row.resource().metadata));
        let metadata = (*parsed).as_ref().map_err(Rc::clone)?;
        let names = |name: &str| sample_value(row, metadata, name);
        self.expression.number(&names).map_err(|error| error.to_string().into())
    }
}

fn evaluate_metadata(
    expression: &Expression,
    by_text: &mut FxHashMap<String, ScaleResult>,
    text: &str,
) -> ScaleResult {
    if let Some(result) = by_text.get(text) {
        return result.clone();
    }
    let result = parse(text).and_then(|metadata| {
        let names = |_: &str| Value::from(&metadata);
        expression.number(&names).map_err(|error| error.to_string().into())
    });
    if by_text.len() == MAX_CACHED_RESULTS {
        by_text.clear();
    }
    by_text.insert(text.to_owned(), result.clone());
    result
}

fn parse(text: &str) -> Result<Json, Rc<str>> {
    serde_json::from_str(text).map_err(|error| format!("metadata is not JSON: {error}").into())
}

/// An attribute of the sample, by its name in Ceilometer. The columns have no `id`.
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
