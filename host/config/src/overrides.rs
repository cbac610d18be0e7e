//! `nephometer.yaml` with what overrides it: `ceilometer.conf` where the file is silent, environment
//! variables, the command line.

use std::path::Path;

use serde_json::Value;

use super::caution;
use super::ceilometer::CeilometerConf;
use super::error::{Report, problem};
use super::inputs::{DEFAULT_CONFIG, Inputs, Origin, bytes, document, file, whole};
use super::raw::{Document, Kind};

/// The prefix of variables that override keys.
pub(super) const PREFIX: &str = "NEPHOMETER_";
/// The places of what the command line sets.
const LIBVIRT: &str = "--libvirt";
const AMQP_URL: &str = "AMQP_URL or --amqp-file";
const COMPONENTS: &str = "--components";

/// Whether a place is the command line.
pub(super) fn is_command_line(place: &str) -> bool {
    [LIBVIRT, AMQP_URL, COMPONENTS].contains(&place)
}

/// The settings of the host, with everything that overrides them.
pub(super) fn host_document(
    inputs: &Inputs,
    ceilometer: &CeilometerConf,
    report: &mut Report,
) -> Option<Document> {
    let absent = matches!(inputs.config, Origin::Installed) && !Path::new(DEFAULT_CONFIG).exists();
    let mut doc = if absent {
        Document::empty(DEFAULT_CONFIG)
    } else {
        let (name, bytes) = bytes(&inputs.config, DEFAULT_CONFIG, report)?;
        document(&bytes, &name, report)?
    };
    if let Some(location) = &ceilometer.secret {
        caution::readable(Path::new(&*location.file), location, report);
    }
    if let (Some(path), Some(location)) =
        (file(&inputs.config, DEFAULT_CONFIG), caution::secret_in_host(&doc))
    {
        caution::readable(&path, location, report);
    }
    ceilometer.unread(names_broker(inputs, &doc), report);
    for (path, values, origin) in &ceilometer.keys {
        let pointer = format!("/{}", path.join("/"));
        let keys = [pointer.clone(), format!("{pointer}_file")];
        match keys.iter().find_map(|pointer| Some((pointer, doc.fact(pointer)?))) {
            None => override_key(&mut doc, path, values, origin, report),
            Some((pointer, fact)) if !is_same(doc.json(pointer), values) => {
                let what = format!("no effect: {} at {} counts", path.join("."), fact.location);
                report.warn(&whole(origin), what, "remove one of the two");
            }
            Some(_) => {}
        }
    }
    for (variable, value) in &inputs.environment {
        let path = variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase();
        let path: Vec<&str> = path.split("__").collect();
        override_key(&mut doc, &path, std::slice::from_ref(value), variable, report);
    }
    let options = [
        (["libvirt", "uri"], &inputs.libvirt, LIBVIRT),
        (["amqp", "url"], &inputs.amqp_url, AMQP_URL),
    ];
    for (path, value, origin) in options {
        if let Some(value) = value {
            doc.forget(&[path[0], &format!("{}_file", path[1])], |_| true);
            override_key(&mut doc, &path, std::slice::from_ref(value), origin, report);
        }
    }
    if !inputs.components.is_empty() {
        let folders: Vec<String> =
            inputs.components.iter().map(|folder| folder.display().to_string()).collect();
        override_key(&mut doc, &["components", "path"], &folders, COMPONENTS, report);
    }
    Some(doc)
}

/// Whether a value of the file is that of an option, which is a text.
fn is_same(written: Option<Value>, values: &[String]) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let written = match written {
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(value) => vec![text(&value)],
        None => Vec::new(),
    };
    written.len() == values.len()
        && written.iter().zip(values).all(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Whether anything but `ceilometer.conf` names the broker.
fn names_broker(inputs: &Inputs, doc: &Document) -> bool {
    let in_file = |pointer| doc.fact(pointer).is_some_and(|fact| fact.kind != Kind::Null);
    let named = |name: &str| {
        let variables = ["NEPHOMETER_AMQP__URL", "NEPHOMETER_AMQP__URL_FILE"];
        variables.iter().any(|variable| variable.eq_ignore_ascii_case(name))
    };
    in_file("/amqp/url")
        || in_file("/amqp/url_file")
        || inputs.amqp_url.is_some()
        || inputs.environment.iter().any(|(name, _)| named(name))
}

/// Sets one key. Also removes its other form (with or without `_file`) that a file sets.
fn override_key(
    doc: &mut Document,
    path: &[&str],
    values: &[String],
    origin: &str,
    report: &mut Report,
) {
    if let Some((last, before)) = path.split_last() {
        let other = match last.strip_suffix("_file") {
            Some(plain) => plain.to_owned(),
            None => format!("{last}_file"),
        };
        let mut other_path = before.to_vec();
        other_path.push(&other);
        doc.forget(&other_path, |location| location.line > 0);
    }
    if !doc.set(path, values, origin) {
        let what = "the configuration has no place for this key";
        report.push(problem(
            &whole(origin),
            what,
            "write NEPHOMETER_ and the keys in capitals with two underscores between them",
        ));
    }
}
