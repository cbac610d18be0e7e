//! Expressions over several meters: `$(meter)` stands for the last sample of a meter.

use std::collections::BTreeMap;

use conversion::buffer::BufferedSample;
use expression::{Expression, Value};
use nephometer_guest::type_word;
use serde_json::{Value as Json, json};

/// An expression over samples of several meters.
#[derive(Debug)]
pub(crate) struct Formula {
    expression: Expression,
    /// In the order of their first use. The expression refers to them as `sample_INDEX`.
    meters: Vec<String>,
}

impl Formula {
    /// Parses `target.expr`.
    ///
    /// # Errors
    /// The error in the expression, for operators.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut meters: Vec<String> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("$(") {
            let (before, token) = rest.split_at(at);
            let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
            let inner = &token[2..];
            let end = inner.find(|c| !in_name(c)).filter(|end| inner[*end..].starts_with(')'));
            let name = end.map(|end| &inner[..end]).filter(|name| !name.is_empty());
            let Some(name) = name else {
                return Err(format!("$( at character {} names no meter", before.chars().count()));
            };
            let index = meters.iter().position(|meter| meter == name).unwrap_or_else(|| {
                meters.push(name.to_owned());
                meters.len() - 1
            });
            rest = &inner[name.len() + 1..];
            let field = if rest.starts_with('.') { "" } else { ".volume" };
            plain.push_str(before);
            plain.push_str(&format!("sample_{index}{field}"));
        }
        plain.push_str(rest);
        if meters.is_empty() {
            return Err("names no meter; write $(NAME) for the volume of a meter".to_owned());
        }
        let expression = Expression::parse(&plain)
            .map_err(|error| format!("not an expression: {} (in {plain})", error.reason))?;
        Ok(Self { expression, meters })
    }

    /// The meters that the expression reads.
    pub(crate) fn meters(&self) -> &[String] {
        &self.meters
    }

    /// The meter from whose sample the result takes owner and metadata: the first one.
    pub(crate) fn reference(&self) -> &str {
        self.meters.first().map_or("", String::as_str)
    }

    /// Computes the value for one resource from its samples by meter.
    ///
    /// # Errors
    /// The reason why there is no finite value.
    pub(crate) fn evaluate(
        &self,
        samples: &BTreeMap<String, BufferedSample>,
    ) -> Result<f64, String> {
        let sample = |meter: &String| samples.get(meter).map_or(Ok(Json::Null), fields);
        let fields = self.meters.iter().map(sample).collect::<Result<Vec<Json>, String>>()?;
        let names = |name: &str| {
            let index = name.strip_prefix("sample_").and_then(|index| index.parse::<usize>().ok());
            index.and_then(|index| fields.get(index)).map_or(Value::Missing, Value::from)
        };
        // False and true are 0 and 1, as in Ceilometer.
        let value = self.expression.evaluate(&names).map_err(|error| error.to_string())?;
        let number = value.as_number().ok_or("the result is not a number")?;
        if number.is_finite() { Ok(number) } else { Err("the result is not finite".to_owned()) }
    }
}

/// The fields of a sample by their names in Ceilometer.
fn fields(sample: &BufferedSample) -> Result<Json, String> {
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
