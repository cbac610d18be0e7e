//! Projects the metadata of resources to the paths that a component requested, as JSON text.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::by_address::ByAddress;
use nephometer_model::Resource;

/// The part of the metadata that a component requested.
#[derive(Debug)]
pub(super) enum Projection {
    Nothing,
    Everything,
    Paths(Vec<String>),
}

/// Metadata texts, cached from one batch to the next for resources that occur again.
#[derive(Debug)]
pub struct MetadataTexts {
    projection: Projection,
    cached: ByAddress<(Arc<Resource>, String)>,
}

impl MetadataTexts {
    /// For `settings.metadata`.
    pub(crate) fn new(paths: Vec<String>) -> Self {
        Self { projection: Projection::new(paths), cached: ByAddress::default() }
    }

    /// Caches the texts of these resources and drops all others.
    pub(super) fn prepare(&mut self, resources: &[&Arc<Resource>]) {
        if matches!(self.projection, Projection::Nothing) {
            return;
        }
        let mut previous = std::mem::take(&mut self.cached);
        self.cached.reserve(resources.len());
        for resource in resources {
            let address = Arc::as_ptr(resource).addr();
            let entry = previous.remove(&address).unwrap_or_else(|| {
                (Arc::clone(resource), self.projection.text(&resource.metadata))
            });
            self.cached.insert(address, entry);
        }
    }

    /// The text of a prepared resource.
    pub(super) fn get(&self, resource: &Arc<Resource>) -> &str {
        self.cached.get(&Arc::as_ptr(resource).addr()).map_or("{}", |(_, text)| text)
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

    /// The requested part as a JSON object.
    pub(super) fn text(&self, metadata: &Map<String, Value>) -> String {
        let projected = match self {
            Self::Nothing => return "{}".to_owned(),
            Self::Everything => return to_text(metadata),
            Self::Paths(paths) => {
                let mut projected = Map::new();
                for path in paths {
                    copy_path(metadata, path, &mut projected);
                }
                projected
            }
        };
        to_text(&projected)
    }
}

fn to_text(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).expect("a map of JSON values has text keys and finite numbers")
}

/// Copies the value at `path` with its enclosing objects. Keys that contain dots are found, too. A
/// value on the path that is not an object, such as the null of an instance without an image, is
/// copied in its place, so that a component can distinguish it from an absent one.
fn copy_path(from: &Map<String, Value>, path: &str, into: &mut Map<String, Value>) {
    if let Some(value) = from.get(path) {
        into.insert(path.to_owned(), value.clone());
        return;
    }
    let Some((head, rest)) = path.split_once('.') else { return };
    let inner = match from.get(head) {
        Some(Value::Object(inner)) => inner,
        Some(other) => {
            into.insert(head.to_owned(), other.clone());
            return;
        }
        None => return,
    };
    let mut nested = match into.get_mut(head) {
        Some(Value::Object(nested)) => std::mem::take(nested),
        _ => Map::new(),
    };
    copy_path(inner, rest, &mut nested);
    if !nested.is_empty() {
        into.insert(head.to_owned(), Value::Object(nested));
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
        let texts = MetadataTexts::new(paths.iter().map(|path| (*path).to_owned()).collect());
        texts.projection.text(metadata.as_object().unwrap())
    }

    #[test]
    fn only_requested_paths_are_projected() {
        assert_eq!(text(&[]), "{}");
        assert_eq!(text(&["cpu_number", "absent", "flavor.absent"]), r#"{"cpu_number":2}"#);
        assert_eq!(text(&["flavor.ram", "flavor.name"]), r#"{"flavor":{"ram":512,"name":"m1"}}"#);
        assert_eq!(text(&["cpu_number.x", "absent.x"]), r#"{"cpu_number":2}"#);
        assert_eq!(text(&["user_metadata.a.b"]), r#"{"user_metadata":{"a.b":1}}"#);
        assert!(text(&["*"]).starts_with(r#"{"flavor":{"name":"m1""#));
    }
}
