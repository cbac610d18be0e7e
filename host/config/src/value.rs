/// What a file of YAML or JSON holds that is no configuration, such as a fixture.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn value_of(text: &str) -> Result<serde_json::Value, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}
