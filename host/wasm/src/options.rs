//! Options against the component's own JSON Schema, before it sees them.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value};

use super::error::OptionFaults;
use super::schema::harmless;
use nephometer_model::clean;

/// Bytes of a compiled pattern: the whole of Unicode in a class takes a tenth.
const PATTERN: usize = 1 << 20;
/// A name longer than this is nobody's slip of another one.
const NAME: usize = 64;
/// Names that one is compared with, or that are listed.
const NAMES: usize = 100;

/// Everything in which `options` do not fit `schema`, which is text as the component gave it;
/// empty means that anything goes. Options are named, their values are not: some are secrets. A schema that cannot be used is the component's fault: `Err`.
pub(super) fn check(schema: &str, options: &Map<String, Value>) -> Result<OptionFaults, String> {
    if schema.trim().is_empty() {
        return Ok(OptionFaults::default());
    }
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| format!("its options-schema is no JSON: {error}"))?;
    // What is quoted of a schema may be as long as that, with anything in it.
    let unusable = |reason: &str| format!("its options-schema cannot be used: {}", clean(reason));
    harmless(&schema).map_err(|reason| unusable(&reason))?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        // A component must not make the agent fetch anything.
        .offline()
        // Linear in time, whatever the pattern.
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN))
        .build(&schema)
        .map_err(|error| unusable(&error.to_string()))?;
    let options = Value::Object(options.clone());
    let mut faults = OptionFaults::default();
    for error in validator.iter_errors(&options) {
        describe(&error, &schema, &mut faults);
    }
    Ok(faults)
}

fn describe(error: &ValidationError<'_>, schema: &Value, faults: &mut OptionFaults) {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_beside(schema, error.schema_path().as_str());
            for name in unexpected {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                faults.add(&format!("{pointer}/{escaped}"), || unknown(name, &known));
            }
        }
        // A rule for names is about no value.
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            let name = name.replace('~', "~0").replace('/', "~1");
            let reason = || error.masked_with("its name").to_string();
            faults.add(&format!("{pointer}/{name}"), reason);
        }
        _ => faults.add(&pointer, || error.masked_with("its value").to_string()),
    }
}

/// The properties that the schema names where `keyword` stands.
fn known_beside(schema: &Value, keyword: &str) -> Vec<String> {
    let around = keyword.rsplit_once('/').map_or("", |(around, _)| around);
    schema
        .pointer(around)
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().take(NAMES).cloned().collect())
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
    let known = known.filter(|known| known.len() <= NAME && name.len() <= NAME);
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

    fn faults(options: &Value) -> Vec<(String, String)> {
        let (faults, _) = check(SCHEMA, options.as_object().unwrap()).unwrap().finish();
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

    /// `/password: 12345678901 is not of types ...` was printed.
    #[test]
    fn no_value_is_shown_and_every_option_is_named() {
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
        let faults = check(&schema.to_string(), options.as_object().unwrap()).unwrap();
        let (faults, _) = faults.finish();
        let shown = format!("{faults:?}");
        assert!(!shown.contains("777123"), "{shown}");
        for name in options.as_object().unwrap().keys().filter(|name| *name != "format") {
            let at = format!("/{name}");
            assert!(faults.iter().any(|fault| fault.pointer.starts_with(&at)), "{name}: {shown}");
        }
        assert!(faults.iter().any(|fault| fault.pointer == "/inner/named"), "{shown}");
    }

    /// As many wrong options as the bound has, and one more; the number of all is known.
    #[test]
    fn many_wrong_options_are_counted() {
        for (count, left) in [(100, 0), (101, 1), (60_000, 59_900)] {
            let members: Map<String, Value> =
                (0..count).map(|at| (format!("target\u{7}{at}"), at.into())).collect();
            for schema in [
                json!({"additionalProperties": false, "properties": {"target": true}}),
                json!({"additionalProperties": {"type": "string"}}),
            ] {
                let (kept, more) = check(&schema.to_string(), &members).unwrap().finish();
                assert_eq!((kept.len(), more), (Bound::OptionErrors.size(), left));
                assert!(kept[0].pointer.starts_with("/target\\u{7}"), "{:?}", kept[0]);
            }
        }
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
                prop_assert!(faults.finish().0.len() <= Bound::OptionErrors.size());
            }
        }
    }

    #[test]
    fn a_bad_schema_is_the_components_fault() {
        assert!(check("{", &Map::new()).unwrap_err().contains("options-schema"));
        assert!(check(r#"{"type": "objekt"}"#, &Map::new()).is_err());
        for key in ["$ref", "pattern", "type"] {
            let schema = json!({ (key): format!("(\u{1b}[2J{}", "x".repeat(100_000)) });
            let reason = check(&schema.to_string(), &Map::new()).unwrap_err();
            assert!(reason.len() < 1_200 && !reason.contains('\u{1b}'), "{key}: {reason}");
        }
    }
}
