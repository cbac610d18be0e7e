//! Checks options against the JSON Schema of a component, before they are passed to it.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value};

use super::error::{OptionError, OptionErrors};
use super::schema::check_schema_cost;
use nephometer_model::clean;

/// Bytes of a compiled pattern: a class with all of Unicode takes a tenth.
const PATTERN_BYTES: usize = 1 << 20;
/// Longer names are not compared with similar ones.
const MAX_NAME_BYTES: usize = 64;
/// Names that are compared or listed.
const MAX_NAMES: usize = 100;

/// Checks `options` against `schema`, the JSON text that the component reported; empty text accepts
/// any options. Errors name options but never values: some are secrets.
///
/// # Errors
/// If the schema itself cannot be used, which is an error of the component.
pub(super) fn check_options(
    schema: &str,
    options: &Map<String, Value>,
) -> Result<OptionErrors, String> {
    if schema.trim().is_empty() {
        return Ok(OptionErrors::default());
    }
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| format!("options-schema is not JSON: {error}"))?;
    // A reason quotes the schema, which may be long and contain any characters.
    let unusable = |reason: &str| format!("options-schema cannot be used: {}", clean(reason));
    check_schema_cost(&schema).map_err(|reason| unusable(&reason))?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        // A component must not make the agent fetch anything.
        .offline()
        // Linear in time, whatever the pattern.
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES))
        .build(&schema)
        .map_err(|error| unusable(&error.to_string()))?;
    let options = Value::Object(options.clone());
    let mut errors = OptionErrors::default();
    for error in validator.iter_errors(&options) {
        describe(&error, &schema, &mut errors);
    }
    Ok(errors)
}

fn describe(error: &ValidationError<'_>, schema: &Value, errors: &mut OptionErrors) {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_properties(schema, error.schema_path().as_str());
            for name in unexpected {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                errors.add(&format!("{pointer}/{escaped}"), || unknown(name, &known));
            }
        }
        // The rule concerns the name, not a value.
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            let name = name.replace('~', "~0").replace('/', "~1");
            let reason = || error.masked_with("its name").to_string();
            errors.add(&format!("{pointer}/{name}"), reason);
        }
        _ => errors.add(&pointer, || error.masked_with("its value").to_string()),
    }
}

/// The properties of the schema object that contains `keyword`.
fn known_properties(schema: &Value, keyword: &str) -> Vec<String> {
    let parent = keyword.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema
        .pointer(parent)
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().take(MAX_NAMES).cloned().collect())
        .unwrap_or_default()
}

/// Words of a schema that may describe options which `properties` does not list.
const OTHER_PROPERTIES: &[&str] = &[
    "$dynamicRef",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "dependentSchemas",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
];

/// The options that `schema` accepts but does not describe, so that they have no effect. Only where
/// an object lists its properties and nothing else of the schema may describe more.
pub(super) fn ignored_options(schema: &str, options: &Map<String, Value>) -> Vec<OptionError> {
    let mut ignored = OptionErrors::default();
    if let Ok(Value::Object(schema)) = serde_json::from_str(schema) {
        add_ignored(&schema, options, "", &mut ignored);
    }
    ignored.finish().0
}

fn add_ignored(
    schema: &Map<String, Value>,
    options: &Map<String, Value>,
    pointer: &str,
    ignored: &mut OptionErrors,
) {
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
    if OTHER_PROPERTIES.iter().any(|word| schema.contains_key(*word)) {
        return;
    }
    for (name, value) in options {
        let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (known.get(name), value) {
            (Some(Value::Object(schema)), Value::Object(options)) => {
                add_ignored(schema, options, &at, ignored);
            }
            (Some(_), _) => {}
            (None, _) => ignored.add(&at, || {
                let similar = similar(name, known.keys().map(String::as_str).take(MAX_NAMES));
                let meant = similar.first().map(|similar| format!("did you mean {similar:?}?"));
                let remedy = meant.unwrap_or_else(|| "remove it".to_owned());
                format!("the option {name:?} is unknown and ignored; {remedy}")
            }),
        }
    }
}

fn unknown(name: &str, known: &[String]) -> String {
    let similar = similar(name, known.iter().map(String::as_str));
    match (similar.first(), known.is_empty()) {
        (Some(similar), _) => format!("unknown option {name:?}; did you mean {similar:?}?"),
        (None, false) => format!("unknown option {name:?}; known options: {}", known.join(", ")),
        (None, true) => format!("unknown option {name:?}"),
    }
}

/// Known names similar to `name`, most similar first.
pub(super) fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    /// Minimum Jaro-Winkler similarity.
    const MIN_SIMILARITY: f64 = 0.8;
    let known = known.filter(|known| known.len() <= MAX_NAME_BYTES && name.len() <= MAX_NAME_BYTES);
    let mut similar: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    similar.sort_by(|a, b| b.0.total_cmp(&a.0));
    similar.into_iter().map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use nephometer_model::Bound;

    const SCHEMA: &str = r#"{
        "type": "object",
        "required": ["target"],
        "properties": {
            "target": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "max": {"type": "number"}},
                "additionalProperties": false
            },
            "word": {"type": "string", "pattern": "^(a+)+$"}
        }
    }"#;

    fn errors(options: &Value) -> Vec<(String, String)> {
        let (errors, _) = check_options(SCHEMA, options.as_object().unwrap()).unwrap().finish();
        errors.into_iter().map(|error| (error.pointer, error.reason)).collect()
    }

    #[test]
    fn all_errors_are_reported_at_once_with_pointers() {
        let found = errors(&json!({"target": {"nmae": "x", "max": "much"}, "word": 3}));
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/target/max", "/target/nmae", "/word"]);
        assert_eq!(found[1].1, "unknown option \"nmae\"; did you mean \"name\"?");
    }

    // Regression: `growthonly` and `scael` were accepted in silence, and had no effect.
    #[test]
    fn options_that_no_property_describes_are_named() {
        let schema = json!({
            "properties": {
                "growth_only": {"type": "boolean"},
                "target": {"properties": {"scale": {}, "a/b": {"properties": {"c": {}}}}},
                "free": {"type": "object"},
                "open": {"properties": {"a": {}}, "patternProperties": {"^x": {}}},
            }
        });
        let options = json!({
            "growthonly": true, "growth_only": true, "zzz": 1, "free": {"x": 1}, "open": {"xy": 1},
            "target": {"scael": 2, "scale": {"x": 1}, "a/b": {"d": 1}}
        });
        let found = |schema: &Value| {
            let ignored = ignored_options(&schema.to_string(), options.as_object().unwrap());
            ignored.into_iter().map(|one| (one.pointer, one.reason)).collect::<Vec<_>>()
        };
        let of = |pointer: &str, name: &str, remedy: &str| {
            let reason = format!("the option {name:?} is unknown and ignored; {remedy}");
            (pointer.to_owned(), reason)
        };
        let expected = [
            of("/growthonly", "growthonly", "did you mean \"growth_only\"?"),
            of("/target/a~1b/d", "d", "remove it"),
            of("/target/scael", "scael", "did you mean \"scale\"?"),
            of("/zzz", "zzz", "remove it"),
        ];
        assert_eq!(found(&schema), expected);
        assert_eq!(found(&json!(true)), []);
    }

    #[test]
    fn missing_option_is_reported_at_its_object() {
        let found = errors(&json!({}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "");
        assert!(found[0].1.contains("target"), "{found:?}");
    }

    #[test]
    fn valid_options_and_empty_schema_are_accepted() {
        assert!(errors(&json!({"target": {"name": "cpu_util"}, "other": [1]})).is_empty());
        assert!(check_options(" ", &Map::new()).unwrap().is_empty());
    }

    // Regression: `/password: 12345678901 is not of types ...` was printed.
    #[test]
    fn errors_name_options_but_no_values() {
        let schema = json!({
            "$defs": {"word": {"type": "string", "maxLength": 3}},
            "properties": {
                "type": {"type": ["string", "null"]},
                "enum": {"enum": ["a", "b"]},
                "const": {"const": 1},
                "pattern": {"pattern": "^a"},
                "length": {"$ref": "#/$defs/word"},
                "format": {"format": "ipv4", "type": "string"},
                "most": {"maximum": 5},
                "some": {"anyOf": [{"type": "string"}, {"minimum": 5e18}]},
                "one": {"oneOf": [{"type": "string"}, {"type": "null"}]},
                "not": {"not": {"type": "number"}},
                "never": false,
                "items": {"items": {"type": "string"}, "uniqueItems": true, "contains": {"const": 7}},
                "tuple": {"prefixItems": [true], "items": false},
                "rest": {"prefixItems": [true], "unevaluatedItems": false},
                "inner": {"propertyNames": {"maxLength": 3}, "maxProperties": 0},
                "closed": {"additionalProperties": {"type": "null"}}
            },
            "unevaluatedProperties": false
        });
        let number = 777_123_777_123_u64;
        let text = "777123secret";
        let options = json!({
            "type": number, "enum": text, "const": number, "pattern": text, "length": text,
            "format": text, "most": number, "some": number, "one": number, "not": number,
            "never": text, "items": [number, number], "tuple": [1, number], "rest": [1, text],
            "inner": {"named": text}, "closed": {"x": text}, "odd": text
        });
        let errors = check_options(&schema.to_string(), options.as_object().unwrap()).unwrap();
        let (errors, _) = errors.finish();
        let shown = format!("{errors:?}");
        assert!(!shown.contains("777123"), "{shown}");
        for name in options.as_object().unwrap().keys().filter(|name| *name != "format") {
            let at = format!("/{name}");
            assert!(errors.iter().any(|error| error.pointer.starts_with(&at)), "{name}: {shown}");
        }
        assert!(errors.iter().any(|error| error.pointer == "/inner/named"), "{shown}");
    }

    #[test]
    fn errors_beyond_the_bound_are_counted() {
        for (count, expected) in [(100, 0), (101, 1), (60_000, 59_900)] {
            let members: Map<String, Value> =
                (0..count).map(|at| (format!("target\u{7}{at}"), at.into())).collect();
            for schema in [
                json!({"additionalProperties": false, "properties": {"target": true}}),
                json!({"additionalProperties": {"type": "string"}}),
            ] {
                let (kept, omitted) =
                    check_options(&schema.to_string(), &members).unwrap().finish();
                assert_eq!((kept.len(), omitted), (Bound::OptionErrors.size(), expected));
                assert!(kept[0].pointer.starts_with("/target\\u{7}"), "{:?}", kept[0]);
            }
        }
    }

    #[test]
    fn references_are_not_fetched_and_patterns_are_linear() {
        for reference in ["https://127.0.0.1:1/schema.json", "file:///etc/passwd"] {
            let schema = json!({"$ref": reference}).to_string();
            assert!(check_options(&schema, &Map::new()).is_err());
        }
        let long = format!("{}b", "a".repeat(5_000));
        let found = errors(&json!({"target": {}, "word": long}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "/word");
    }

    /// Arbitrary JSON with schema keywords.
    fn anything() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "$ref",
            "$defs",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "type",
            "items",
            "properties",
            "patternProperties",
            "additionalProperties",
            "required",
            "enum",
            "pattern",
            "minimum",
            "multipleOf",
            "unevaluatedProperties",
            "dependentSchemas",
            "$id",
            "a",
            "b",
        ]);
        let text = prop::sample::select(vec![
            "#",
            "#/a",
            "#/$defs/a",
            "#/allOf/0",
            "#/properties/b",
            "string",
            "object",
            "integer",
            "(a+)+$",
            "[",
            "(?=x)",
            "a",
            "\u{0}",
            "http://x/",
            "date-time",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((word.clone(), inner), 0..5).prop_map(|members| {
                    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_schemas_and_options_never_panic(schema in anything(), options in anything()) {
            let members = options.as_object().cloned().unwrap_or_default();
            if let Ok(errors) = check_options(&schema.to_string(), &members) {
                prop_assert!(errors.finish().0.len() <= Bound::OptionErrors.size());
            }
        }
    }

    #[test]
    fn unusable_schema_is_an_error_of_the_component() {
        assert!(check_options("{", &Map::new()).unwrap_err().contains("options-schema"));
        assert!(check_options(r#"{"type": "objekt"}"#, &Map::new()).is_err());
        for key in ["$ref", "pattern", "type"] {
            let schema = json!({ (key): format!("(\u{1b}[2J{}", "x".repeat(100_000)) });
            let reason = check_options(&schema.to_string(), &Map::new()).unwrap_err();
            assert!(reason.len() < 1_200 && !reason.contains('\u{1b}'), "{key}: {reason}");
        }
    }
}
