//! YAML or JSON files that are not configuration.

/// Parses YAML or JSON text that is not configuration, such as a fixture.
///
/// # Errors
///
/// If the text cannot be parsed, with line and column.
pub fn value_of(text: &str) -> Result<serde_json::Value, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}
