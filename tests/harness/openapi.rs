//! Compares every answer of the collector's API with its OpenAPI document.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::collector::Reply;

/// The document of this version, which the collector serves.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let text = include_str!("../../host/collector/src/api/openapi.json");
        serde_json::from_str(text).unwrap()
    })
}

/// Asserts that an answer has the status and the form that the document has for its route. Paths that
/// are no route, and requests beyond the bounds of the listener, are not described.
pub(super) fn assert_described(method: &str, target: &str, reply: &Reply) {
    let path = target.split('?').next().unwrap().trim_end_matches('/');
    let Some(operation) = operation(&method.to_lowercase(), path) else { return };
    if [408, 413].contains(&reply.status) {
        return;
    }
    let described = &operation["responses"][reply.status.to_string()];
    let described = resolved(described);
    assert!(described.is_object(), "{method} {target}: status {} is undescribed", reply.status);
    let content = &described["content"];
    let Some(schema) = content.pointer("/application~1json/schema") else {
        let texts = ["text/plain", "application/x-ndjson"];
        let is_text = texts.iter().any(|kind| content[kind].is_object());
        assert!(is_text && reply.body.is_string(), "{method} {target}");
        return;
    };
    let errors = validate(schema, &reply.body);
    assert!(errors.is_empty(), "{method} {target}: {}\n{:#}", errors.join("; "), reply.body);
}

/// What is wrong with a value.
pub(crate) fn validate(schema: &Value, value: &Value) -> Vec<String> {
    let schema = json!({"allOf": [schema], "components": document()["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// The operation of a route: that of the path with the most fixed text.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let fits = |template: &str| match template.split_once('{') {
        None => template == path,
        Some((before, rest)) => {
            let after = rest.split_once('}').unwrap().1;
            path.strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|part| !part.is_empty())
        }
    };
    let paths = document()["paths"].as_object().unwrap().iter();
    let fitting = paths.filter(|(template, item)| fits(template) && item.get(method).is_some());
    let fixed = |template: &str| template.split('{').map(str::len).sum::<usize>();
    fitting.max_by_key(|(template, _)| fixed(template)).map(|(_, item)| &item[method])
}

/// A response, or the one that it refers to.
fn resolved(response: &'static Value) -> &'static Value {
    match response["$ref"].as_str() {
        Some(reference) => document().pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    }
}
