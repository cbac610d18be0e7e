//! Metadata as the API shows it: one level, all values as text.

use nephometer_wire::Notation;
use serde_json::{Map, Value};

/// Flattens metadata. The first dot of a key stays, further ones become colons.
pub(super) fn flat(text: &str) -> Map<String, Value> {
    let mut pairs = Vec::new();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        collect(&value, String::new(), &mut pairs);
    }
    let keyed = pairs.into_iter().map(|(key, value)| {
        let key = match key.split_once('.') {
            Some((first, rest)) => format!("{first}.{}", rest.replace('.', ":")),
            None => key,
        };
        (key, Value::String(value))
    });
    keyed.collect()
}

fn collect(value: &Value, path: String, pairs: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else {
        pairs.push((path, shown(value)));
        return;
    };
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, inner) in entries {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(inner, path, pairs);
    }
}

/// A value as Python's `str` prints it.
fn shown(value: &Value) -> String {
    if let Value::String(text) = value {
        return text.clone();
    }
    let mut out = Vec::new();
    Notation::Repr.value(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_and_keys_have_one_dot() {
        let text = r#"{"b": {"id": "1", "deep": {"er": {"x": 1.0}}}, "a": null, "c": true,
            "d": [1, "x", {"y": null}], "e": 96, "f": {}}"#;
        let found: Vec<String> =
            flat(text).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let expected = [
            "a=\"None\"",
            "b.deep:er:x=\"1.0\"",
            "b.id=\"1\"",
            "c=\"True\"",
            "d=\"[1, 'x', {'y': None}]\"",
            "e=\"96\"",
        ];
        assert_eq!(found, expected);
        assert_eq!(flat("{}").len(), 0);
    }
}
