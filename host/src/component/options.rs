//! Options against the component's own JSON Schema, before it sees them.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value};

use super::error::OptionFault;
use super::schema::harmless;

/// Bytes of a compiled pattern: the whole of Unicode in a class takes a tenth.
const PATTERN: usize = 1 << 20;
/// Faults that are told.
const FAULTS: usize = 100;

/// Everything in which `options` do not fit `schema`, which is text as the component gave it;
/// empty means that anything goes. A schema that cannot be used is the component's fault: `Err`.
pub(super) fn check(
    schema: &str,
    options: &Map<String, Value>,
) -> Result<Vec<OptionFault>, String> {
    if schema.trim().is_empty() {
        return Ok(Vec::new());
    }
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| format!("its options-schema is no JSON: {error}"))?;
    harmless(&schema).map_err(|reason| format!("its options-schema cannot be used: {reason}"))?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        // A component must not make the agent fetch anything.
        .offline()
        // Linear in time, whatever the pattern.
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN))
        .build(&schema)
        .map_err(|error| format!("its options-schema cannot be used: {error}"))?;
    let options = Value::Object(options.clone());
    let mut faults: Vec<OptionFault> = Vec::new();
    for error in validator.iter_errors(&options).take(FAULTS) {
        describe(&error, &schema, &mut faults);
    }
    faults.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    Ok(faults)
}

fn describe(error: &ValidationError<'_>, schema: &Value, faults: &mut Vec<OptionFault>) {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_beside(schema, error.schema_path().as_str());
            for name in unexpected {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                faults.push(OptionFault {
                    pointer: format!("{pointer}/{escaped}"),
                    reason: unknown(name, &known),
                });
            }
        }
        _ => faults.push(OptionFault { pointer, reason: error.to_string() }),
    }
}

/// The properties that the schema names where `keyword` stands.
fn known_beside(schema: &Value, keyword: &str) -> Vec<String> {
    let around = keyword.rsplit_once('/').map_or("", |(around, _)| around);
    schema
        .pointer(around)
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

fn unknown(name: &str, known: &[String]) -> String {
    let near = near(name, known.iter().map(String::as_str));
    match (near.first(), known.is_empty()) {
        (Some(near), _) => format!("there is no option {name:?}; did you mean {near:?}?"),
        (None, false) => format!("there is no option {name:?}; there are {}", known.join(", ")),
        (None, true) => format!("there is no option {name:?}"),
    }
}

/// Names that `name` may have been meant to be, the nearest first.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    /// Below this, names have little in common but their letters.
    const ALIKE: f64 = 0.8;
    let mut near: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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

    fn faults(options: &Value) -> Vec<(String, String)> {
        let faults = check(SCHEMA, options.as_object().unwrap()).unwrap();
        faults.into_iter().map(|fault| (fault.pointer, fault.reason)).collect()
    }

    #[test]
    fn everything_is_reported_at_once_with_its_place() {
        let found = faults(&json!({"target": {"nmae": "x", "max": "much"}, "word": 3}));
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/target/max", "/target/nmae", "/word"]);
        assert_eq!(found[1].1, "there is no option \"nmae\"; did you mean \"name\"?");
    }

    #[test]
    fn what_is_missing_is_named_at_its_object() {
        let found = faults(&json!({}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "");
        assert!(found[0].1.contains("target"), "{found:?}");
    }

    #[test]
    fn good_options_and_no_schema_pass() {
        assert!(faults(&json!({"target": {"name": "cpu_util"}, "other": [1]})).is_empty());
        assert!(check(" ", &Map::new()).unwrap().is_empty());
    }

    #[test]
    fn nothing_is_fetched_and_no_pattern_explodes() {
        for reference in ["https://127.0.0.1:1/schema.json", "file:///etc/passwd"] {
            let schema = json!({"$ref": reference}).to_string();
            assert!(check(&schema, &Map::new()).is_err());
        }
        let long = format!("{}b", "a".repeat(5_000));
        let found = faults(&json!({"target": {}, "word": long}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "/word");
    }

    /// JSON in which keywords of schemas are likely.
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
        fn no_schema_and_no_options_make_it_panic(schema in anything(), options in anything()) {
            let members = options.as_object().cloned().unwrap_or_default();
            if let Ok(faults) = check(&schema.to_string(), &members) {
                prop_assert!(faults.len() <= 10 * FAULTS);
            }
        }
    }

    #[test]
    fn a_bad_schema_is_the_components_fault() {
        assert!(check("{", &Map::new()).unwrap_err().contains("options-schema"));
        assert!(check(r#"{"type": "objekt"}"#, &Map::new()).is_err());
    }
}
