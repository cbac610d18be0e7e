//! `openapi.json`: the description of the API for programs.

/// The document, as it is served.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
