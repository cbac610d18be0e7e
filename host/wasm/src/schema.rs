//! Checks that validating with a component's schema is cheap.
//!
//! A validator follows references without a limit: a schema of a few lines can refer to itself
//! endlessly, which would overflow the stack and crash the agent, or double its work forty times.
//! References are therefore analyzed before the validator sees the schema. Ordinary schemas stay
//! far below the limits here.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// Nesting of values, with references expanded. The validator takes some KiB of stack per level.
const MAX_DEPTH: usize = 80;
/// Number of values, with references expanded.
const MAX_PARTS: u64 = 20_000;
/// Regular expressions. Each may take a millisecond to compile.
const MAX_PATTERNS: u64 = 100;

/// Keywords whose schemas apply to the same value: a cycle of them never ends.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

/// Refuses a schema that is too expensive. The error is the reason.
pub(super) fn check_schema_cost(schema: &Value) -> Result<(), String> {
    let mut cost = SchemaCost { root: schema, known: HashMap::new(), patterns: 0 };
    let (parts, _) = cost.visit(schema, 0)?;
    if parts > MAX_PARTS {
        return Err(format!("more than {MAX_PARTS} parts with references expanded"));
    }
    if cost.patterns > MAX_PATTERNS {
        return Err(format!("more than {MAX_PATTERNS} patterns"));
    }
    let mut cycles = CycleFinder { root: schema, acyclic: HashSet::new() };
    for_each_object(schema, &mut |object| cycles.visit(object, &mut Vec::new()))
}

fn for_each_object<'a>(
    value: &'a Value,
    visit: &mut impl FnMut(&'a Value) -> Result<(), String>,
) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            visit(value)?;
            members.values().try_for_each(|member| for_each_object(member, visit))
        }
        Value::Array(items) => items.iter().try_for_each(|item| for_each_object(item, visit)),
        _ => Ok(()),
    }
}

/// The target of an object's reference, if it has one.
fn resolve_reference<'a>(root: &'a Value, object: &Value) -> Result<Option<&'a Value>, String> {
    let Some(Value::String(reference)) = object.get("$ref") else { return Ok(None) };
    let target = match reference.strip_prefix('#') {
        Some(pointer) if !pointer.contains('%') => root.pointer(pointer),
        _ => None,
    };
    target.map(Some).ok_or_else(|| {
        format!("$ref {reference:?}: only references within the schema (#/...) are supported")
    })
}

struct SchemaCost<'a> {
    root: &'a Value,
    /// Parts and height by address; `None` while being computed.
    known: HashMap<*const Value, Option<(u64, usize)>>,
    patterns: u64,
}

impl<'a> SchemaCost<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let size = match self.known.get(&std::ptr::from_ref(value)) {
            // Recursion through the options, which are finite.
            Some(None) => (1, 0),
            Some(Some(known)) => *known,
            None if depth > MAX_DEPTH => (1, 0),
            None => self.compute(value, depth)?,
        };
        if depth + size.1 > MAX_DEPTH {
            return Err(format!(
                "nested more than {MAX_DEPTH} levels deep with references expanded"
            ));
        }
        Ok(size)
    }

    fn compute(&mut self, value: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let address = std::ptr::from_ref(value);
        self.known.insert(address, None);
        let (mut parts, mut height) = (1_u64, 0);
        let mut add = |(more, high): (u64, usize)| {
            parts = parts.saturating_add(more);
            height = height.max(high + 1);
        };
        match value {
            Value::Array(items) => {
                for item in items {
                    add(self.visit(item, depth + 1)?);
                }
            }
            Value::Object(members) => {
                self.check_keywords(value, depth)?;
                for member in members.values() {
                    add(self.visit(member, depth + 1)?);
                }
                if let Some(target) = resolve_reference(self.root, value)? {
                    add(self.visit(target, depth + 1)?);
                }
                // Determining what was evaluated visits everything below once more.
                if members.keys().any(|name| name.starts_with("unevaluated")) {
                    parts = parts.saturating_mul(2);
                }
            }
            _ => {}
        }
        self.known.insert(address, Some((parts, height)));
        Ok((parts, height))
    }

    /// Counts patterns, and refuses keywords for references that cannot be followed here.
    fn check_keywords(&mut self, object: &Value, depth: usize) -> Result<(), String> {
        for name in ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$id"] {
            let used = object.get(name).is_some_and(Value::is_string);
            if used && !(name == "$id" && depth == 0) {
                return Err(format!("{name} is not supported; use references of the form #/..."));
            }
        }
        let properties = object.get("patternProperties").and_then(Value::as_object);
        self.patterns += properties.map_or(0, |patterns| patterns.len() as u64);
        self.patterns += u64::from(object.get("pattern").is_some_and(Value::is_string));
        Ok(())
    }
}

/// Finds reference cycles that never end.
struct CycleFinder<'a> {
    root: &'a Value,
    /// Objects that lead to no cycle.
    acyclic: HashSet<*const Value>,
}

impl<'a> CycleFinder<'a> {
    fn visit(&mut self, object: &'a Value, path: &mut Vec<*const Value>) -> Result<(), String> {
        let address = std::ptr::from_ref(object);
        if self.acyclic.contains(&address) {
            return Ok(());
        }
        if path.contains(&address) || path.len() > MAX_DEPTH {
            return Err("endless reference to itself".to_owned());
        }
        path.push(address);
        let mut below: Vec<&Value> = resolve_reference(self.root, object)?.into_iter().collect();
        for member in IN_PLACE.iter().filter_map(|name| object.get(name)) {
            match member {
                Value::Array(items) => below.extend(items),
                _ => below.push(member),
            }
        }
        let by_name = object.get("dependentSchemas").and_then(Value::as_object);
        below.extend(by_name.into_iter().flat_map(Map::values));
        for value in below {
            self.visit(value, path)?;
        }
        path.pop();
        self.acyclic.insert(address);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_schemas_and_recursion_into_options_are_accepted() {
        let schema = json!({
            "$id": "https://example.org/options",
            "$defs": {
                "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}},
            },
            "properties": {
                "a": {"$ref": "#/$defs/tree"},
                "b": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                "$ref": {"type": "string"},
            },
            "items": {"$ref": "#"},
            "not": {"items": {"$ref": "#"}},
        });
        assert_eq!(check_schema_cost(&schema), Ok(()));
        assert_eq!(check_schema_cost(&json!(true)), Ok(()));
    }

    #[test]
    fn endless_reference_cycles_are_refused() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"a": {"not": {"if": {"$ref": "#/properties/a"}}}}}),
            json!({"dependentSchemas": {"x": {"$ref": "#"}}}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ] {
            assert!(check_schema_cost(&schema).unwrap_err().contains("endless"), "{schema}");
        }
    }

    #[test]
    fn expanded_parts_depth_and_patterns_are_bounded() {
        let levels = |count: usize, level: fn(Value) -> Value| {
            let mut defs = serde_json::Map::new();
            for i in 0..count {
                defs.insert(format!("l{i}"), level(json!({"$ref": format!("#/$defs/l{}", i + 1)})));
            }
            defs.insert(format!("l{count}"), json!({"type": "object"}));
            json!({"$ref": "#/$defs/l0", "$defs": defs})
        };
        let in_place = levels(20, |next| json!({"allOf": [&next, &next]}));
        assert!(check_schema_cost(&in_place).unwrap_err().contains("parts"));
        let deeper = levels(20, |next| json!({"properties": {"a": &next, "b": &next}}));
        assert!(check_schema_cost(&deeper).is_err());
        let chain = levels(10_000, |next| next);
        assert!(check_schema_cost(&chain).unwrap_err().contains("deep"));
        let patterns: serde_json::Map<String, Value> =
            (0..101).map(|i| (format!("p{i}"), json!({}))).collect();
        let patterns = json!({"patternProperties": patterns});
        assert!(check_schema_cost(&patterns).unwrap_err().contains("patterns"));
    }

    #[test]
    fn references_outside_the_schema_are_refused() {
        for schema in [
            json!({"$ref": "https://127.0.0.1:1/x"}),
            json!({"$ref": "#anchor"}),
            json!({"$ref": "#/%24defs"}),
            json!({"properties": {"a": {"$id": "other"}}}),
            json!({"$dynamicRef": "#x"}),
        ] {
            assert!(check_schema_cost(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn schema_at_the_depth_limit_fits_the_stack() {
        let mut schema = json!({"type": "integer"});
        for _ in 0..(MAX_DEPTH / 2 - 1) {
            schema = json!({"allOf": [schema]});
        }
        assert_eq!(check_schema_cost(&schema), Ok(()));
        let text = schema.to_string();
        assert_eq!(
            crate::options::check_options(&text, &serde_json::Map::new()).unwrap().finish().0.len(),
            1
        );
    }
}
