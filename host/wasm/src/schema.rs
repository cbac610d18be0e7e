//! Whether a schema that a component gave can be used without harm.
//!
//! A validator follows references for as long as they lead on: a schema of a few lines can refer
//! to itself without end, which would overflow the stack and end the agent, or double its work
//! forty times. So references are looked at before the validator sees any of it. It is given what
//! stays within the limits here, which no schema for people comes near.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// Values from the root down, references followed. The validator takes some KiB of stack for each.
const DEPTH: usize = 80;
/// Values in all, counted as often as references lead to them.
const WORK: u64 = 20_000;
/// Regular expressions: each may be a millisecond's work to compile.
const PATTERNS: u64 = 100;

/// Keywords whose schemas apply to the same value, so that a circle of them never ends.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

/// Refuses a schema that could cost more than it is worth; the error says why.
pub(super) fn harmless(schema: &Value) -> Result<(), String> {
    let mut weigher = SchemaCost { root: schema, known: HashMap::new(), patterns: 0 };
    let (work, _) = weigher.visit(schema, 0)?;
    if work > WORK {
        return Err(format!("with its references followed it has more than {WORK} parts"));
    }
    if weigher.patterns > PATTERNS {
        return Err(format!("it has more than {PATTERNS} patterns"));
    }
    let mut ends = Ends { root: schema, sound: HashSet::new() };
    every_object(schema, &mut |object| ends.visit(object, &mut Vec::new()))
}

fn every_object<'a>(
    value: &'a Value,
    visit: &mut impl FnMut(&'a Value) -> Result<(), String>,
) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            visit(value)?;
            members.values().try_for_each(|member| every_object(member, visit))
        }
        Value::Array(items) => items.iter().try_for_each(|item| every_object(item, visit)),
        _ => Ok(()),
    }
}

/// What the reference of an object, if it has one, leads to.
fn referred<'a>(root: &'a Value, object: &Value) -> Result<Option<&'a Value>, String> {
    let Some(Value::String(reference)) = object.get("$ref") else { return Ok(None) };
    let target = match reference.strip_prefix('#') {
        Some(pointer) if !pointer.contains('%') => root.pointer(pointer),
        _ => None,
    };
    target.map(Some).ok_or_else(|| {
        format!("$ref {reference:?}: only places of the schema itself can be referred to, as #/...")
    })
}

struct SchemaCost<'a> {
    root: &'a Value,
    /// Work and height by address; nothing while it is being found out.
    known: HashMap<*const Value, Option<(u64, usize)>>,
    patterns: u64,
}

impl<'a> SchemaCost<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let weight = match self.known.get(&std::ptr::from_ref(value)) {
            // It contains itself, at some depth of the options, which end.
            Some(None) => (1, 0),
            Some(Some(known)) => *known,
            None if depth > DEPTH => (1, 0),
            None => self.weigh(value, depth)?,
        };
        if depth + weight.1 > DEPTH {
            return Err(format!("it is nested more than {DEPTH} deep, with references followed"));
        }
        Ok(weight)
    }

    fn weigh(&mut self, value: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let address = std::ptr::from_ref(value);
        self.known.insert(address, None);
        let (mut work, mut height) = (1_u64, 0);
        let mut add = |(more, high): (u64, usize)| {
            work = work.saturating_add(more);
            height = height.max(high + 1);
        };
        match value {
            Value::Array(items) => {
                for item in items {
                    add(self.visit(item, depth + 1)?);
                }
            }
            Value::Object(members) => {
                self.keywords(value, depth)?;
                for member in members.values() {
                    add(self.visit(member, depth + 1)?);
                }
                if let Some(target) = referred(self.root, value)? {
                    add(self.visit(target, depth + 1)?);
                }
                // Finding out what was evaluated takes another look at everything below.
                if members.keys().any(|name| name.starts_with("unevaluated")) {
                    work = work.saturating_mul(2);
                }
            }
            _ => {}
        }
        self.known.insert(address, Some((work, height)));
        Ok((work, height))
    }

    /// Keywords that are counted, and those that would lead where this cannot follow.
    fn keywords(&mut self, object: &Value, depth: usize) -> Result<(), String> {
        for name in ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$id"] {
            let used = object.get(name).is_some_and(Value::is_string);
            if used && !(name == "$id" && depth == 0) {
                return Err(format!("it uses {name}; refer to places of the schema as #/..."));
            }
        }
        let properties = object.get("patternProperties").and_then(Value::as_object);
        self.patterns += properties.map_or(0, |patterns| patterns.len() as u64);
        self.patterns += u64::from(object.get("pattern").is_some_and(Value::is_string));
        Ok(())
    }
}

/// Looks for circles that never end.
struct Ends<'a> {
    root: &'a Value,
    /// Those from which there is none.
    sound: HashSet<*const Value>,
}

impl<'a> Ends<'a> {
    fn visit(&mut self, object: &'a Value, path: &mut Vec<*const Value>) -> Result<(), String> {
        let address = std::ptr::from_ref(object);
        if self.sound.contains(&address) {
            return Ok(());
        }
        if path.contains(&address) || path.len() > DEPTH {
            return Err("it refers to itself without end".to_owned());
        }
        path.push(address);
        let mut below: Vec<&Value> = referred(self.root, object)?.into_iter().collect();
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
        self.sound.insert(address);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinary_schemas_and_recursion_that_goes_deeper_pass() {
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
        assert_eq!(harmless(&schema), Ok(()));
        assert_eq!(harmless(&json!(true)), Ok(()));
    }

    #[test]
    fn circles_are_found() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"a": {"not": {"if": {"$ref": "#/properties/a"}}}}}),
            json!({"dependentSchemas": {"x": {"$ref": "#"}}}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ] {
            assert!(harmless(&schema).unwrap_err().contains("without end"), "{schema}");
        }
    }

    #[test]
    fn doubling_and_depth_and_patterns_are_limited() {
        let levels = |count: usize, level: fn(Value) -> Value| {
            let mut defs = serde_json::Map::new();
            for i in 0..count {
                defs.insert(format!("l{i}"), level(json!({"$ref": format!("#/$defs/l{}", i + 1)})));
            }
            defs.insert(format!("l{count}"), json!({"type": "object"}));
            json!({"$ref": "#/$defs/l0", "$defs": defs})
        };
        let in_place = levels(20, |next| json!({"allOf": [&next, &next]}));
        assert!(harmless(&in_place).unwrap_err().contains("parts"));
        let deeper = levels(20, |next| json!({"properties": {"a": &next, "b": &next}}));
        assert!(harmless(&deeper).is_err());
        let chain = levels(10_000, |next| next);
        assert!(harmless(&chain).unwrap_err().contains("deep"));
        let patterns: serde_json::Map<String, Value> =
            (0..101).map(|i| (format!("p{i}"), json!({}))).collect();
        let patterns = json!({"patternProperties": patterns});
        assert!(harmless(&patterns).unwrap_err().contains("patterns"));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for schema in [
            json!({"$ref": "https://127.0.0.1:1/x"}),
            json!({"$ref": "#anchor"}),
            json!({"$ref": "#/%24defs"}),
            json!({"properties": {"a": {"$id": "other"}}}),
            json!({"$dynamicRef": "#x"}),
        ] {
            assert!(harmless(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn what_is_just_within_the_depth_fits_the_stack() {
        let mut schema = json!({"type": "integer"});
        for _ in 0..(DEPTH / 2 - 1) {
            schema = json!({"allOf": [schema]});
        }
        assert_eq!(harmless(&schema), Ok(()));
        let text = schema.to_string();
        assert_eq!(
            crate::options::check(&text, &serde_json::Map::new()).unwrap().finish().0.len(),
            1
        );
    }
}
