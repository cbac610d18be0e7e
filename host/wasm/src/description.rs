//! The description that a component reports about itself.

use super::bindings::exports::nephometer::metering::component as exported;
use super::log::clean;

/// Name, version and options schema of a component, as it reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name, as in `pipeline.yaml`.
    pub name: String,
    /// Its own version, free text.
    pub version: String,
    /// One line for operators.
    pub summary: String,
    /// JSON Schema of the options; empty if any options are accepted.
    pub options_schema: String,
    /// Version of its state format; 0 without state.
    pub state_version: u32,
}

impl From<exported::Description> for Description {
    fn from(description: exported::Description) -> Self {
        Self {
            name: clean(&description.name),
            version: clean(&description.version),
            summary: clean(&description.summary),
            options_schema: description.options_schema,
            state_version: description.state_version,
        }
    }
}
