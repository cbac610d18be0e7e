//! What of a resource's metadata a component gets, as text.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::by_address::ByAddress;
use nephometer_model::Resource;

/// The paths that a component asked for.
#[derive(Debug)]
pub(super) enum Projection {
    Nothing,
    Everything,
    Paths(Vec<String>),
}

/// Texts of metadata, kept from one batch to the next for resources that come again.
#[derive(Debug)]
pub struct Texts {
    projection: Projection,
    kept: ByAddress<(Arc<Resource>, String)>,
}

impl Texts {
    /// For `settings.metadata`.
    pub(crate) fn new(paths: Vec<String>) -> Self {
        Self { projection: Projection::new(paths), kept: ByAddress::default() }
    }

    /// Makes the texts of these resources and forgets all others.
    pub(super) fn prepare(&mut self, resources: &[&Arc<Resource>]) {
        if matches!(self.projection, Projection::Nothing) {
            return;
        }
        let mut before = std::mem::take(&mut self.kept);
        self.kept.reserve(resources.len());
        for resource in resources {
            let address = Arc::as_ptr(resource).addr();
            let entry = before.remove(&address).unwrap_or_else(|| {
                (Arc::clone(resource), self.projection.text(&resource.metadata))
            });
            self.kept.insert(address, entry);
        }
    }

    /// The text of a resource that was prepared.
    pub(super) fn get(&self, resource: &Arc<Resource>) -> &str {
        self.kept.get(&Arc::as_ptr(resource).addr()).map_or("{}", |(_, text)| text)
    }
}

impl Projection {
    /// For `settings.metadata`.
    pub(super) fn new(paths: Vec<String>) -> Self {
        if paths.iter().any(|path| path == "*") {
            Self::Everything
        } else if paths.is_empty() {
            Self::Nothing
        } else {
            Self::Paths(paths)
        }
    }

    /// The JSON object with what was asked for.
    pub(super) fn text(&self, metadata: &Map<String, Value>) -> String {
        let chosen = match self {
            Self::Nothing => return "{}".to_owned(),
            Self::Everything => return to_text(metadata),
            Self::Paths(paths) => {
                let mut chosen = Map::new();
                for path in paths {
                    pick(metadata, path, &mut chosen);
                }
                chosen
            }
        };
        to_text(&chosen)
    }
}

fn to_text(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).expect("a map of JSON values has text keys and finite numbers")
}

/// Copies what `path` names, with the objects around it. A key that contains dots is found, too. A
/// value that is in the way of the path, such as the null of an instance without an image, is
/// copied in its place, so that the component can tell it from what is absent.
fn pick(from: &Map<String, Value>, path: &str, into: &mut Map<String, Value>) {
    if let Some(value) = from.get(path) {
        into.insert(path.to_owned(), value.clone());
        return;
    }
    let Some((head, rest)) = path.split_once('.') else { return };
    let inner = match from.get(head) {
        Some(Value::Object(inner)) => inner,
        Some(in_the_way) => {
            into.insert(head.to_owned(), in_the_way.clone());
            return;
        }
        None => return,
    };
    let mut chosen = match into.get_mut(head) {
        Some(Value::Object(chosen)) => std::mem::take(chosen),
        _ => Map::new(),
    };
    pick(inner, rest, &mut chosen);
    if !chosen.is_empty() {
        into.insert(head.to_owned(), Value::Object(chosen));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(paths: &[&str]) -> String {
        let metadata = json!({
            "flavor": {"name": "m1", "ram": 512},
            "user_metadata": {"w": "x", "a.b": 1},
            "cpu_number": 2
        });
        let texts = Texts::new(paths.iter().map(|path| (*path).to_owned()).collect());
        texts.projection.text(metadata.as_object().unwrap())
    }

    #[test]
    fn only_what_was_asked_for_is_given() {
        assert_eq!(text(&[]), "{}");
        assert_eq!(text(&["cpu_number", "absent", "flavor.absent"]), r#"{"cpu_number":2}"#);
        assert_eq!(text(&["flavor.ram", "flavor.name"]), r#"{"flavor":{"ram":512,"name":"m1"}}"#);
        assert_eq!(text(&["cpu_number.x", "absent.x"]), r#"{"cpu_number":2}"#);
        assert_eq!(text(&["user_metadata.a.b"]), r#"{"user_metadata":{"a.b":1}}"#);
        assert!(text(&["*"]).starts_with(r#"{"flavor":{"name":"m1""#));
    }
}
