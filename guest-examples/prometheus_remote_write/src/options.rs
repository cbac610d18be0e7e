//! Options besides those of all publishers over HTTP.

use std::cell::RefCell;

use nephometer_guest::{OptionError, UrlOptions, escape_pointer};
use serde_json::Value;

/// The options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Put before the name of each metric.
    pub prefix: String,
    /// Labels with values of the metadata: the name of each, and the path of its value.
    pub labels: Vec<(String, String)>,
    /// Labels of all series, with their values.
    pub fixed_labels: Vec<(String, String)>,
    /// Whether the series of removed resources are ended.
    pub stale_markers: bool,
}

impl Options {
    /// Their names.
    pub const KEYS: [&str; 4] = ["prefix", "labels", "fixed_labels", "stale_markers"];
    /// Labels that every sample has.
    pub const OWN_LABELS: [&str; 4] = ["__name__", "project_id", "resource_id", "user_id"];

    /// Reads the options.
    ///
    /// # Errors
    /// All errors, each with its pointer.
    pub fn read(options: &Value) -> Result<Self, Vec<OptionError>> {
        let errors = RefCell::default();
        let read = UrlOptions::new(options, &errors);
        let prefix = read.text("prefix").unwrap_or_default();
        if !prefix.is_empty() && !is_name(prefix, true) {
            read.refuse("prefix", "expected letters, digits, _ and :, not beginning with a digit");
        }
        let checked = Self {
            prefix: prefix.to_owned(),
            labels: labels(&read, "labels", &[], &errors),
            fixed_labels: Vec::new(),
            stale_markers: read.flag("stale_markers").unwrap_or(true),
        };
        let taken: Vec<&str> = checked.labels.iter().map(|(name, _)| name.as_str()).collect();
        let fixed_labels = labels(&read, "fixed_labels", &taken, &errors);
        let checked = Self { fixed_labels, ..checked };
        let errors = errors.take();
        if errors.is_empty() { Ok(checked) } else { Err(errors) }
    }
}

/// Whether Prometheus allows a name: of a metric with colons, of a label without.
fn is_name(name: &str, colons: bool) -> bool {
    let fits = |one: char| one.is_ascii_alphanumeric() || one == '_' || (colons && one == ':');
    !name.is_empty()
        && name.chars().all(fits)
        && !name.starts_with(|one: char| one.is_ascii_digit())
}

/// A mapping of label names to texts.
fn labels(
    read: &UrlOptions<'_>,
    key: &str,
    taken: &[&str],
    errors: &RefCell<Vec<OptionError>>,
) -> Vec<(String, String)> {
    let Some(value) = read.value(key) else { return Vec::new() };
    let Some(object) = value.as_object() else {
        read.refuse(key, "expected a mapping of label names to texts");
        return Vec::new();
    };
    let mut labels = Vec::new();
    for (name, text) in object {
        let reason = match text.as_str() {
            _ if !is_name(name, false) => {
                "a label has a name of letters, digits and _, not beginning with a digit"
            }
            _ if Options::OWN_LABELS.contains(&name.as_str()) => {
                "every series already has this label"
            }
            _ if taken.contains(&name.as_str()) => "`labels` has this label, too",
            _ if name.starts_with("__") => "Prometheus reserves names that begin with __",
            None | Some("" | "*") if key == "labels" => {
                "expected a path into the metadata, such as flavor.name"
            }
            None | Some("") => "expected a text",
            Some(text) => {
                labels.push((name.clone(), text.to_owned()));
                continue;
            }
        };
        let pointer = format!("/{key}/{}", escape_pointer(name));
        errors.borrow_mut().push(OptionError { pointer, reason: reason.to_owned() });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_from_url_and_block() {
        let options = json!({
            "host": "h", "query": {"prefix": ["ceilometer_"], "stale_markers": ["false"]},
            "labels": {"flavor": "flavor.name"}, "fixed_labels": {"region": "north"},
        });
        let read = Options::read(&options).expect("good options");
        assert_eq!(read.prefix, "ceilometer_");
        assert_eq!(read.labels, [("flavor".to_owned(), "flavor.name".to_owned())]);
        assert_eq!(read.fixed_labels, [("region".to_owned(), "north".to_owned())]);
        assert!(!read.stale_markers);
        let usual = Options::read(&json!({"host": "h"})).expect("good options");
        assert!(usual.stale_markers && usual.labels.is_empty() && usual.prefix.is_empty());
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let options = json!({
            "host": "h", "query": {"prefix": ["9a"]},
            "labels": {"a-b": "x", "project_id": "y", "ok": "*", "twice": "z"},
            "fixed_labels": {"__x": "v", "twice": "v", "empty": ""},
        });
        let errors = Options::read(&options).expect_err("bad options");
        let mut pointers: Vec<_> = errors.iter().map(|one| one.pointer.as_str()).collect();
        pointers.sort_unstable();
        let wanted = [
            "/fixed_labels/__x",
            "/fixed_labels/empty",
            "/fixed_labels/twice",
            "/labels/a-b",
            "/labels/ok",
            "/labels/project_id",
            "/query/prefix",
        ];
        assert_eq!(pointers, wanted);
    }
}
