//! Selects samples by meter and resource, as people name them.

use uuid::Uuid;

use nephometer_model::{Glob, Resource, Sample};

/// A resource as people name it: its id, or the UUID or a name of its instance.
#[derive(Debug, Clone)]
pub(super) struct ResourceQuery {
    text: String,
    uuid: Option<Uuid>,
}

impl ResourceQuery {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), uuid: Uuid::parse_str(text).ok() }
    }

    /// Whether a resource has this id, or belongs to an instance with this UUID or name.
    pub(super) fn matches(&self, resource: &Resource) -> bool {
        if *resource.id == *self.text {
            return true;
        }
        let is = |key: &str, text: &str| resource.metadata.get(key).is_some_and(|it| it == text);
        match self.uuid {
            // Transformers and discovery by Nova may leave the key out.
            Some(uuid) => {
                let uuid = uuid.to_string();
                is("instance_id", &uuid) || resource.id.contains(&uuid)
            }
            None => is("display_name", &self.text) || is("name", &self.text),
        }
    }
}

/// Selects samples.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleFilter {
    pub(super) meter: Option<Glob>,
    pub(super) resource: Option<ResourceQuery>,
}

impl SampleFilter {
    /// Parses what a client gave.
    ///
    /// # Errors
    /// If the pattern for meters is refused.
    pub(super) fn new(meter: Option<&str>, resource: Option<&str>) -> Result<Self, String> {
        let meter = meter.map(Glob::new).transpose().map_err(|error| error.to_string())?;
        Ok(Self { meter, resource: resource.map(ResourceQuery::new) })
    }

    pub(super) fn matches(&self, sample: &Sample) -> bool {
        self.meter.as_ref().is_none_or(|meter| meter.matches(&sample.meter.name))
            && self.resource.as_ref().is_none_or(|one| one.matches(&sample.resource))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_has_an_id_and_an_instance_with_names() {
        let uuid = "a75c2fa5-6c03-45a8-bbf7-b993cfcdec27";
        let metadata = json!({
            "display_name": "web", "name": "instance-00000001", "instance_id": uuid,
        });
        let metadata = metadata.as_object().unwrap().clone();
        let id = format!("{uuid}-vda");
        let disk = Resource { id: id.as_str().into(), metadata, ..Resource::default() };
        let upper = uuid.to_uppercase();
        for text in [&id, uuid, &upper, "web", "instance-00000001"] {
            assert!(ResourceQuery::new(text).matches(&disk), "{text}");
        }
        for text in ["we", "vda", "a75c2fa5-6c03-45a8-bbf7-b993cfcdec28", ""] {
            assert!(!ResourceQuery::new(text).matches(&disk), "{text}");
        }
        let made = Resource { id: id.as_str().into(), ..Resource::default() };
        assert!(ResourceQuery::new(uuid).matches(&made), "without metadata");
    }
}
