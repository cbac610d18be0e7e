//! The OpenAPI document. The harness compares every answer of all tests of the API with it.

use serde_json::{Value, json};

use crate::harness::{Collector, api_of, document, request, validate};

/// Calls `visit` with each reference in a value.
fn references(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                visit(reference);
            }
            map.values().for_each(|inner| references(inner, visit));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, visit)),
        _ => {}
    }
}

#[test]
fn the_document_is_served_and_is_whole() {
    let collector = Collector::new("collector-openapi").set("api.access", "tokens");
    let tokens = collector.folder.write("tokens", "");
    let collector = collector.set("api.tokens", tokens.to_str().unwrap());
    let running = collector.run();
    let address = api_of(&running);
    let served = request(&address, "GET", "/openapi.json", &[], "");
    assert_eq!((served.status, &served.body), (200, document()));
    // Without a token nothing else.
    let refused = request(&address, "GET", "/v2/meters", &[], "");
    assert_eq!((refused.status, &refused.body["error"]["code"]), (401, &json!(401)));
    running.stop().code(0);
    let mut used = Vec::new();
    references(document(), &mut |reference| {
        let found = document().pointer(reference.trim_start_matches('#'));
        assert!(found.is_some(), "{reference} leads nowhere");
        used.push(reference.to_owned());
    });
    for kind in ["schemas", "responses", "parameters"] {
        for name in document()["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(&reference), "{reference} is not used");
        }
    }
    for operation in operations() {
        assert!(operation["operationId"].is_string() && operation["summary"].is_string());
    }
}

fn operations() -> Vec<&'static Value> {
    let items = document()["paths"].as_object().unwrap().values();
    let items = items.flat_map(|item| item.as_object().unwrap().iter());
    items.filter(|(key, _)| *key != "parameters").map(|(_, operation)| operation).collect()
}

/// The schemas refuse what is not as it should be: a schema that accepts all would check nothing.
#[test]
fn schemas_refuse_wrong_answers() {
    let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let meter = json!({"name": "cpu", "type": "gauge", "unit": "%", "resource_id": "r",
        "project_id": null, "user_id": "u", "source": "s", "meter_id": "x"});
    assert_eq!(validate(&schema("Meter"), &meter), Vec::<String>::new());
    for (key, value) in [("type", json!("rate")), ("name", json!(null)), ("more", json!(1))] {
        let mut wrong = meter.clone();
        wrong[key] = value;
        assert_eq!(validate(&schema("Meter"), &wrong).len(), 1, "{key}");
    }
    let mut missing = meter;
    missing.as_object_mut().unwrap().shift_remove("unit");
    assert_eq!(validate(&schema("Meter"), &missing).len(), 1);
    assert!(!validate(&schema("Fault"), &json!({"error_message": {"faultcode": "X"}})).is_empty());
}
