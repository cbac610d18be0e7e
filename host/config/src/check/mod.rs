//! Checks the mirrors of the files and builds the specs. Each check covers one part, adds its
//! problems to the report, and never stops at the first one.

mod agent;
mod amqp;
mod clickhouse;
mod collector;
mod component_url;
mod components;
mod context;
mod discovery;
mod grants;
mod host;
mod known;
mod listen;
mod metering;
mod pipeline;
mod publisher;
mod receivers;
mod registries;
mod source;
mod store;
mod units;

use super::error::{Report, nearest};
use super::keys::KeyTable;
use super::location::Location;
use super::raw::{Document, Field, Kind, Scalar};

pub(super) use units::{duration, parse_int, size, truth};
pub use units::{parse_duration, parse_size};

pub(super) use collector::check as collector;
pub use context::KnownMeters;
pub(super) use context::PipelineContext;
pub(super) use host::{Defaults, Host, check as host};
pub(super) use pipeline::{check as pipeline, pipeline_sources, polling};

/// The state of a check: the document with its locations, and the report.
struct Check<'a> {
    doc: &'a Document,
    report: &'a mut Report,
}

impl<'a> Check<'a> {
    fn new(doc: &'a Document, report: &'a mut Report) -> Self {
        Self { doc, report }
    }

    fn location(&self, pointer: &str) -> &'a Location {
        self.doc.location(pointer)
    }

    fn kind(&self, pointer: &str) -> Kind {
        self.doc.fact(pointer).map_or(Kind::Null, |fact| fact.kind)
    }

    fn text(&self, pointer: &str) -> Option<&'a str> {
        self.doc.text(pointer)
    }

    fn falsy(&self, pointer: &str) -> bool {
        self.doc.fact(pointer).is_none_or(|fact| fact.falsy)
    }

    fn fault(&mut self, pointer: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.fault(self.doc.location(pointer), what, remedy);
    }

    fn warn(&mut self, pointer: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.warn(self.doc.location(pointer), what, remedy);
    }

    /// Adds a problem: the value is of the wrong kind.
    fn wrong(&mut self, pointer: &str, remedy: impl Into<String>) {
        let what = format!("{} is {}", subject(pointer), self.kind(pointer).name());
        self.fault(pointer, what, remedy);
    }

    /// Checks the keys of a mapping against those of its table. `later` are known, but not supported in
    /// this version.
    fn keys(&mut self, pointer: &str, table: &KeyTable, later: &[&str]) {
        let known = table.names();
        for (key, location) in self.doc.keys(pointer) {
            if known.contains(&key) {
                continue;
            }
            let shown = super::url::label(key);
            let meant = nearest(key, known.iter().copied());
            let suggestion = meant.map(|meant| format!("did you mean `{meant}`?"));
            match (table.closed, suggestion) {
                // Parts that only aliases use.
                (false, None) if pointer.is_empty() && key.starts_with("x-") => {}
                (false, suggestion) => self.report.warn(
                    location,
                    format!("the key {shown:?} is unknown and ignored"),
                    suggestion.unwrap_or_else(|| "remove it".to_owned()),
                ),
                (true, _) if later.contains(&key) => {
                    let what = format!("the key {shown:?} is not in this version");
                    self.report.fault(location, what, "remove it");
                }
                (true, suggestion) => {
                    let remedy = suggestion
                        .unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
                    self.report.fault(location, format!("the key {shown:?} is unknown"), remedy);
                }
            }
        }
    }

    /// The mirror of a mapping; `None` and a problem for anything else. A missing value is an empty
    /// mapping.
    fn mapping<T: Default>(&mut self, pointer: &str, field: Field<T>) -> Option<T> {
        match (field, self.kind(pointer)) {
            (Field::Given(value), Kind::Map) => Some(value),
            (Field::Absent | Field::Null, _) => Some(T::default()),
            _ => {
                self.wrong(pointer, "write a mapping of `key: value` lines");
                None
            }
        }
    }

    /// A name: any scalar, as Python's `str` prints it.
    fn name(&mut self, pointer: &str, field: &Field<Scalar>, of: &str) -> Option<String> {
        let inner = format!("{pointer}/name");
        let remedy = format!("give every {of} a `name`");
        match field {
            Field::Given(value) if *value != Scalar::Text(String::new()) => Some(value.to_string()),
            Field::Absent => {
                self.fault(pointer, format!("this {of} has no `name`"), remedy);
                None
            }
            Field::Null | Field::Given(_) => {
                self.fault(&inner, format!("the `name` of this {of} is empty"), remedy);
                None
            }
            Field::Wrong => {
                self.wrong(&inner, remedy);
                None
            }
        }
    }

    /// The texts of a list with their pointers; a problem for each entry that is not text.
    fn texts(&mut self, pointer: &str, entries: &[Field<Scalar>]) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let inner = format!("{pointer}/{at}");
            match (entry, self.kind(&inner)) {
                (Field::Given(value), Kind::Text) => texts.push((inner, value.to_string())),
                _ => self.wrong(&inner, "write text, in quotes if necessary"),
            }
        }
        texts
    }
}

/// The last key of a pointer, for messages.
fn subject(pointer: &str) -> String {
    match pointer.rsplit_once('/') {
        None => "the file".to_owned(),
        Some((before, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
            let list = before.rsplit('/').next().unwrap_or_default();
            format!("this entry of `{list}`")
        }
        Some((_, last)) => format!("`{}`", last.replace("~1", "/").replace("~0", "~")),
    }
}
