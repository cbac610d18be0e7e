//! Values of metadata by their paths.

use serde_json::Value;

/// The value at a dotted path of parsed metadata, such as `flavor.name`. Keys that contain dots are
/// found, too. `None` if there is none, or null.
pub fn metadata_value<'a>(metadata: &'a Value, path: &str) -> Option<&'a Value> {
    let object = metadata.as_object()?;
    if let Some(value) = object.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    path.match_indices('.')
        .find_map(|(dot, _)| metadata_value(object.get(&path[..dot])?, &path[dot + 1..]))
}

/// The same as text. `None` for lists and mappings, too.
pub fn metadata_text(metadata: &Value, path: &str) -> Option<String> {
    match metadata_value(metadata, path)? {
        Value::Null | Value::Object(_) | Value::Array(_) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_are_found() {
        let metadata = serde_json::json!({
            "flavor": {"name": "m1", "vcpus": 2}, "a.b": {"c": "dot"}, "none": null, "list": [1],
        });
        let text = |path| metadata_text(&metadata, path);
        assert_eq!(text("flavor.name").as_deref(), Some("m1"));
        assert_eq!(text("flavor.vcpus").as_deref(), Some("2"));
        assert_eq!(text("a.b.c").as_deref(), Some("dot"));
        for nothing in ["flavor", "list", "none", "gone", "flavor.name.x", ""] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
        assert!(metadata_value(&metadata, "flavor").is_some_and(Value::is_object));
    }
}
