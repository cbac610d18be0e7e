//! JSON Schemas of the configuration files, for editors and other tools. They describe the shape of a
//! file; `nephometer check` finds more: values that do not fit together, and what the files refer to.

use serde_json::{Map, Value, json};

use super::{
    ConfigFile, ConfigKey, KeyDefault, KeyTable, ListForm, TextList, ValueShape, in_units,
};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Whole numbers in quotes, as Python's `int` reads them.
const WHOLE: &str = r"^\s*[-+]?[0-9]+(_[0-9]+)*\s*$";
/// Booleans in quotes, as environment variables have them.
const TRUTH: &str =
    "^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[yY][eE][sS]|[nN][oO]|[oO][nN]|[oO][fF][fF]|0|1)$";
/// A number above zero.
const ABOVE_ZERO: &str = r"\s*[0-9._]*[1-9][0-9._]*\s*";
const TIME_UNITS: &str = "(us|ms|s|m|min|h|d)?";
const SIZE_UNITS: &str = "([bB]|[kKmMgG]([iI]?[bB])?)?";
/// The longest interval: ten years.
const LONGEST_INTERVAL: i64 = 10 * 366 * 86_400;

/// The JSON Schema (2020-12) of a configuration file.
pub fn schema(file: &ConfigFile) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), DIALECT.into());
    schema.insert("title".to_owned(), file.name.into());
    schema.extend(mapping(file.keys, false));
    // A file of settings may be empty; one that lists what is polled may not.
    if file.keys.closed {
        schema.insert("type".to_owned(), json!(["object", "null"]));
    }
    Value::Object(schema)
}

/// The schema of a mapping. Without a value it is an empty one, if `optional`.
fn mapping(table: &'static KeyTable, optional: bool) -> Map<String, Value> {
    let mut schema = Map::new();
    let kind = if optional { json!(["object", "null"]) } else { json!("object") };
    schema.insert("type".to_owned(), kind);
    schema.insert("description".to_owned(), plain(table.about).into());
    let properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    schema.insert("properties".to_owned(), properties.into());
    let is_required = |key: &&ConfigKey| matches!(key.default, KeyDefault::Required);
    let required: Vec<&str> = table.keys.iter().filter(is_required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let one_of: Vec<Value> = table
        .one_of
        .iter()
        .map(|group| {
            let each: Vec<Value> = group.iter().map(|key| json!({"required": [key]})).collect();
            json!({"anyOf": each})
        })
        .collect();
    if !one_of.is_empty() {
        schema.insert("allOf".to_owned(), one_of.into());
    }
    if table.closed {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    schema
}

fn property(key: &ConfigKey) -> Value {
    let mut schema = shape(&key.shape);
    let mut words = plain(key.effect);
    if let KeyDefault::Depends(default) = key.default {
        words.push_str(&format!(" Default: {}.", plain(default)));
    }
    if let ValueShape::Time | ValueShape::TimeOrForever | ValueShape::Size(..) = key.shape {
        words.push_str(&format!(" Values: {}.", plain(&key.shape.describe())));
    }
    if let ValueShape::Size(least, most) = key.shape
        && (least > 1 || most < u64::MAX)
        && let Some(unit) = key.shape.unit()
    {
        let bound = if least > 1 { least } else { most };
        words.push_str(&format!(" {} is {bound} {unit}.", in_units(bound)));
    }
    schema.insert("description".to_owned(), words.into());
    if let KeyDefault::Value(text) = key.default {
        schema.insert("default".to_owned(), crate::raw::json_of(text));
    }
    Value::Object(schema)
}

/// Words without the marks of Markdown. Links keep their text.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once("](") {
            Some((label, target)) if !label.contains(']') => {
                plain.push_str(before);
                plain.push_str("docs/");
                plain.push_str(label);
                rest = target.split_once(')').map_or("", |(_, rest)| rest);
            }
            _ => {
                plain.push_str(before);
                plain.push('[');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain.replace('`', "")
}

fn shape(shape: &ValueShape) -> Map<String, Value> {
    let schema = match *shape {
        ValueShape::Word(words) => {
            let words = words.iter().map(|word| Value::from(*word));
            json!({"enum": words.chain([Value::Null]).collect::<Vec<_>>()})
        }
        ValueShape::Words(words) => {
            json!({"type": ["array", "null"], "items": {"enum": words}})
        }
        ValueShape::Texts(list) => texts(list),
        ValueShape::Names => json!({
            "type": "array",
            "items": {"type": ["string", "number", "boolean"]},
            "minItems": 1,
        }),
        ValueShape::Scalars => or_false(&json!({
            "type": "array",
            "items": {"type": ["string", "number", "boolean"]},
        })),
        ValueShape::Anything => json!({}),
        ValueShape::Meters => json!({
            "anyOf": [
                {"const": "*"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ],
        }),
        ValueShape::Publishers => {
            json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1})
        }
        ValueShape::Table(table) => return mapping(table, true),
        ValueShape::Tables(table, form) => {
            list(&json!({"type": "array", "items": mapping(table, false)}), form)
        }
        ValueShape::ByName(table) => {
            json!({"type": ["object", "null"], "additionalProperties": mapping(table, true)})
        }
        ValueShape::Options(form) => list(&json!({"type": "object"}), form),
        _ => scalar(shape),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// The schema of a value that is neither a list nor a mapping.
fn scalar(shape: &ValueShape) -> Value {
    match *shape {
        ValueShape::AnyText => json!({"type": ["string", "null"]}),
        ValueShape::Name => json!({"type": ["string", "number", "boolean"], "minLength": 1}),
        ValueShape::Truth => json!({"type": ["boolean", "string", "null"], "pattern": TRUTH}),
        ValueShape::Whole(least, most) => json!({
            "type": ["integer", "string", "null"],
            "minimum": least,
            "maximum": most,
            "pattern": WHOLE,
        }),
        ValueShape::Interval => json!({
            "type": ["number", "string", "boolean"],
            "not": {"const": false},
            "minimum": 1,
            "maximum": LONGEST_INTERVAL,
            "pattern": WHOLE,
        }),
        ValueShape::Time => number(&format!("^{ABOVE_ZERO}{TIME_UNITS}\\s*$")),
        ValueShape::TimeOrForever => number(&format!("^({ABOVE_ZERO}{TIME_UNITS}\\s*|forever)$")),
        ValueShape::Size(least, most) => {
            let mut schema = number(&format!("^{ABOVE_ZERO}{SIZE_UNITS}\\s*$"));
            if least > 1 {
                schema["minimum"] = least.into();
            }
            if most < u64::MAX {
                schema["maximum"] = most.into();
            }
            schema
        }
        // `off` without quotes is false in YAML 1.1, and text in YAML 1.2.
        ValueShape::Address => json!({
            "type": ["string", "boolean", "null"],
            "not": {"const": true},
            "minLength": 1,
        }),
        _ => json!({"type": ["string", "null"], "minLength": 1}),
    }
}

/// A number above zero, or text that the pattern matches.
fn number(pattern: &str) -> Value {
    json!({"type": ["number", "string", "null"], "exclusiveMinimum": 0, "pattern": pattern})
}

fn texts(list: TextList) -> Value {
    let mut item = json!({"type": "string"});
    if !list.may_be_empty {
        item["minLength"] = 1.into();
    }
    let mut schema = json!({"type": ["array", "null"], "items": item});
    if list.separator.is_some() {
        schema["type"] = json!(["array", "string", "null"]);
        if !list.may_be_empty {
            schema["minLength"] = 1.into();
        }
    }
    if list.least > 0 {
        schema["minItems"] = list.least.into();
    }
    schema
}

fn list(schema: &Value, form: ListForm) -> Value {
    match form {
        ListForm::Required => schema.clone(),
        ListForm::MayBeNull => {
            let mut schema = schema.clone();
            schema["type"] = json!([schema["type"], "null"]);
            schema
        }
        ListForm::MayBeFalse => or_false(schema),
    }
}

/// Also what Python takes for false: an empty value, `false`, 0, and empty text, lists and mappings.
fn or_false(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"enum": [null, false, 0, "", [], {}]}]})
}
