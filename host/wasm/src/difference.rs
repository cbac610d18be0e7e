//! What differs between two versions of a component, for people who decide about one of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Inspection;
use super::log::clean;

impl Inspection {
    /// What is different in a newer version, one line each: what it requires first, then what it
    /// offers. Empty if only code differs.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let kind = |one: &Self| if one.publisher { "publisher" } else { "transformer" };
        let contract = |one: &Self| one.contract().unwrap_or("unknown").to_owned();
        let network = |one: &Self| one.network_use().unwrap_or("none").to_owned();
        let state = |one: &Self| match one.is_stateful() {
            true => one.description.state_version.to_string(),
            false => "none".to_owned(),
        };
        changed(&mut lines, "kind", kind(self), kind(newer));
        changed(&mut lines, "contract", &contract(self), &contract(newer));
        let set = |names: &[String]| names.iter().map(|name| clean(name)).collect();
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (set(&self.imports), set(&newer.imports));
        lines.extend(after.difference(&before).map(|name| format!("imports {name}")));
        lines.extend(before.difference(&after).map(|name| format!("no longer imports {name}")));
        changed(&mut lines, "network, which needs grants", &network(self), &network(newer));
        changed(&mut lines, "state version", &state(self), &state(newer));
        let (old, new) = (&self.description, &newer.description);
        options(&mut lines, &old.options_schema, &new.options_schema);
        changed(&mut lines, "name", &clean(&old.name), &clean(&new.name));
        changed(&mut lines, "version", &clean(&old.version), &clean(&new.version));
        let size = |one: &Self| format!("{} bytes", one.size);
        changed(&mut lines, "size", &size(self), &size(newer));
        lines
    }
}

fn changed(lines: &mut Vec<String>, what: &str, before: &str, after: &str) {
    if before != after {
        lines.push(format!("{what}: {before} -> {after}"));
    }
}

/// The options at the top of both schemas; what is below one of them is one difference of it.
fn options(lines: &mut Vec<String>, before: &str, after: &str) {
    let (old, new) = (described(before), described(after));
    for (name, option) in &new {
        match old.get(name) {
            None => lines.push(format!("option {name}: new, {option}")),
            Some(before) if before != option => {
                lines.push(format!("option {name}: {before} -> {option}"));
            }
            Some(_) => {}
        }
    }
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    lines.extend(removed.map(|name| format!("option {name}: removed")));
    // Such as a rule about options that belong together.
    if lines.iter().all(|line| !line.starts_with("option ")) && read(before) != read(after) {
        lines.push("options: the schema has changed".to_owned());
    }
}

fn read(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or_default()
}

/// The options of a schema: whether each is required, and its own schema without the description.
fn described(schema: &str) -> BTreeMap<String, String> {
    let schema = read(schema);
    let none = Map::new();
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let option = |(name, about): (&String, &Value)| {
        let mut about = about.clone();
        if let Some(about) = about.as_object_mut() {
            about.remove("description");
        }
        let needed = required.iter().any(|one| one == name);
        let prefix = if needed { "required" } else { "optional" };
        (clean(name), clean(&format!("{prefix} {about}")))
    };
    schema["properties"].as_object().unwrap_or(&none).iter().map(option).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{Description, Digest};

    fn inspection(imports: &[&str], state_version: u32, schema: &str) -> Inspection {
        let stateful = "nephometer:metering/stateful@0.2.0".to_owned();
        Inspection {
            path: PathBuf::from("price.wasm"),
            size: 1_000,
            digest: Digest::from([0; 32]),
            publisher: false,
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
            exports: if state_version > 0 { vec![stateful] } else { Vec::new() },
            description: Description {
                name: "price".to_owned(),
                version: "1.0.0".to_owned(),
                summary: String::new(),
                state_version,
                options_schema: schema.to_owned(),
            },
            producers: Vec::new(),
        }
    }

    #[test]
    fn requirements_come_before_what_is_offered() {
        let old = r#"{"required": ["a"], "properties": {"a": {"type": "number"}, "b": {}, "c": {"description": "x"}}}"#;
        let new = r#"{"required": ["d"], "properties": {"a": {"type": "number"}, "d": {}, "c": {"description": "y"}}}"#;
        let before = inspection(&["nephometer:metering/log@0.2.0"], 0, old);
        let mut after = inspection(&["wasi:http/types@0.2.3"], 2, new);
        after.size = 2_000;
        assert_eq!(
            before.differences(&after),
            [
                "imports wasi:http/types@0.2.3",
                "no longer imports nephometer:metering/log@0.2.0",
                "network, which needs grants: none -> HTTP",
                "state version: none -> 2",
                "option a: required {\"type\":\"number\"} -> optional {\"type\":\"number\"}",
                "option d: new, required {}",
                "option b: removed",
                "size: 1000 bytes -> 2000 bytes",
            ]
        );
        assert!(before.differences(&before).is_empty());
        let rule = inspection(&[], 0, r#"{"minProperties": 1}"#);
        let changed = inspection(&[], 0, "{}").differences(&rule);
        assert_eq!(changed, ["options: the schema has changed"]);
    }
}
