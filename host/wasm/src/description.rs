//! What a component reports about itself.

use super::bindings::exports::nephometer::metering::component as exported;
use super::log::clean;

/// What a component reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name, as in `pipeline.yaml`.
    pub name: String,
    /// Its own version, free text.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// JSON Schema of the options; empty if anything goes.
    pub options_schema: String,
    /// Version of the format of its state; 0 if it keeps none.
    pub state_version: u32,
}

impl From<exported::Description> for Description {
    fn from(given: exported::Description) -> Self {
        Self {
            name: clean(&given.name),
            version: clean(&given.version),
            summary: clean(&given.summary),
            options_schema: given.options_schema,
            state_version: given.state_version,
        }
    }
}
