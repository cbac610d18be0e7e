//! `$(meter)` in an expression.

use std::collections::BTreeMap;

use conversion::held::Held;
use expression::{Expression, Value};
use nephometer_guest::type_word;
use serde_json::{Value as Json, json};

/// An expression over samples of several meters.
#[derive(Debug)]
pub(crate) struct Formula {
    expression: Expression,
    /// In the order in which they first stand in it; the place of each is its name there.
    meters: Vec<String>,
}

impl Formula {
    /// Reads `target.expr`. The error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut meters: Vec<String> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("$(") {
            let (before, token) = rest.split_at(at);
            let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
            let inner = &token[2..];
            let end = inner.find(|c| !named(c)).filter(|end| inner[*end..].starts_with(')'));
            let name = end.map(|end| &inner[..end]).filter(|name| !name.is_empty());
            let Some(name) = name else {
                return Err(format!("$( at character {} names no meter", before.chars().count()));
            };
            let place = meters.iter().position(|meter| meter == name).unwrap_or_else(|| {
                meters.push(name.to_owned());
                meters.len() - 1
            });
            rest = &inner[name.len() + 1..];
            let field = if rest.starts_with('.') { "" } else { ".volume" };
            plain.push_str(before);
            plain.push_str(&format!("sample_{place}{field}"));
        }
        plain.push_str(rest);
        if meters.is_empty() {
            return Err("names no meter; write $(NAME) where its value is to stand".to_owned());
        }
        let expression = Expression::parse(&plain)
            .map_err(|error| format!("not an expression: {} (in {plain})", error.reason))?;
        Ok(Self { expression, meters })
    }

    /// All that it takes.
    pub(crate) fn meters(&self) -> &[String] {
        &self.meters
    }

    /// The meter whose sample lends the result its owner and metadata: the first one.
    pub(crate) fn reference(&self) -> &str {
        self.meters.first().map_or("", String::as_str)
    }

    /// The value for one resource, with a sample of every meter.
    pub(crate) fn evaluate(&self, samples: &BTreeMap<String, Held>) -> Result<f64, String> {
        let of = |meter: &String| samples.get(meter).map_or(Ok(Json::Null), fields);
        let fields = self.meters.iter().map(of).collect::<Result<Vec<Json>, String>>()?;
        let names = |name: &str| {
            let place = name.strip_prefix("sample_").and_then(|place| place.parse::<usize>().ok());
            place.and_then(|place| fields.get(place)).map_or(Value::Missing, Value::from)
        };
        // What is false or true is 0 or 1, as upstream has it.
        let value = self.expression.evaluate(&names).map_err(|error| error.to_string())?;
        let number = value.as_number().ok_or("the result is not a number")?;
        if number.is_finite() { Ok(number) } else { Err("the result is not finite".to_owned()) }
    }
}

/// A sample by upstream's names.
fn fields(sample: &Held) -> Result<Json, String> {
    let metadata: Json = serde_json::from_str(&sample.metadata)
        .map_err(|error| format!("metadata is not JSON: {error}"))?;
    Ok(json!({
        "name": sample.name,
        "unit": sample.unit,
        "type": type_word(sample.kind),
        "volume": sample.volume.as_f64(),
        "resource_id": sample.id,
        "project_id": sample.project_id,
        "user_id": sample.user_id,
        "resource_metadata": metadata,
    }))
}
