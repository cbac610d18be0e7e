//! Writes the fields of a sample one by one, as text or MessagePack.

use serde_json::{Map, Value};

use super::msgpack::{self, Strings};
use super::python::{self, Notation};
use nephometer_model::{Release, Resource, Sample, Volume};

/// The encoding of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Text in one of Python's notations.
    Text(Notation),
    /// MessagePack.
    Packed(Strings),
}

impl Script {
    /// Converts a volume to one that this encoding can represent.
    pub(crate) fn fitting(self, volume: Volume) -> Volume {
        match self {
            Self::Text(_) => volume,
            Self::Packed(_) => msgpack::fitting(volume),
        }
    }

    /// Appends a dictionary.
    pub(crate) fn object(self, out: &mut Vec<u8>, map: &Map<String, Value>) {
        match self {
            Self::Text(notation) => notation.object(out, map),
            Self::Packed(strings) => strings.map(out, map),
        }
    }

    fn string(self, out: &mut Vec<u8>, text: &str) {
        match self {
            Self::Text(notation) => notation.string(out, text),
            Self::Packed(strings) => strings.string(out, text),
        }
    }

    fn none(self, out: &mut Vec<u8>) {
        match self {
            Self::Text(notation) => notation.none(out),
            Self::Packed(_) => msgpack::none(out),
        }
    }
}

/// Writes the fields of one object. Keys must need no escaping.
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    script: Script,
    release: Release,
    /// The offset in `out` at which the object begins.
    start: usize,
    /// The number of fields so far.
    count: u32,
    /// Whether the next field is the first one, which also opens the object.
    first: bool,
}

/// Encoded fields that are shared by many objects. They never come first in an object.
#[derive(Debug, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    count: u32,
}

impl<'a> Fields<'a> {
    /// Begins an object at the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>, script: Script, release: Release) -> Self {
        let start = out.len();
        Self { out, script, release, start, count: 0, first: true }
    }

    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.count += 1;
        match self.script {
            Script::Text(notation) => {
                self.out.extend_from_slice(if self.first { b"{" } else { b", " });
                notation.string(self.out, key);
                self.out.extend_from_slice(b": ");
            }
            Script::Packed(strings) => strings.string(self.out, key),
        }
        self.first = false;
        self.out
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        let script = self.script;
        script.string(self.key(key), text);
    }

    pub(crate) fn volume(&mut self, key: &str, volume: Volume) {
        let script = self.script;
        let out = self.key(key);
        match script {
            Script::Text(_) => python::volume(out, volume),
            Script::Packed(_) => msgpack::volume(out, volume),
        }
    }

    pub(crate) fn object(&mut self, key: &str, map: &Map<String, Value>) {
        let script = self.script;
        script.object(self.key(key), map);
    }

    /// Writes the fields from `user_id` to `resource_id`.
    pub(crate) fn owner(&mut self, resource: &Resource) {
        let names = has_names(self.release);
        self.optional("user_id", resource.user_id.as_deref());
        if names {
            self.optional("user_name", resource.user_name.as_deref());
        }
        self.optional("project_id", resource.project_id.as_deref());
        if names {
            self.optional("project_name", resource.project_name.as_deref());
        }
        self.text("resource_id", &resource.id);
    }

    pub(crate) fn monotonic(&mut self, sample: &Sample) {
        if !has_monotonic_time(self.release) {
            return;
        }
        let script = self.script;
        let out = self.key("monotonic_time");
        match (monotonic_seconds(sample), script) {
            (None, _) => script.none(out),
            (Some(seconds), Script::Text(_)) => python::float(out, seconds),
            (Some(seconds), Script::Packed(_)) => msgpack::float(out, seconds),
        }
    }

    pub(crate) fn part(&mut self, part: &Part) {
        self.out.extend_from_slice(&part.bytes);
        self.count += part.count;
    }

    pub(crate) fn end(self) {
        match self.script {
            Script::Text(_) => self.out.push(b'}'),
            Script::Packed(_) => msgpack::close_map(self.out, self.start, self.count),
        }
    }

    fn optional(&mut self, key: &str, text: Option<&str>) {
        let script = self.script;
        let out = self.key(key);
        match text {
            Some(text) => script.string(out, text),
            None => script.none(out),
        }
    }
}

impl Part {
    /// Encodes the fields that [`Fields::owner`] writes.
    pub(crate) fn owner(script: Script, release: Release, resource: &Resource) -> Self {
        let mut bytes = Vec::new();
        let mut fields = Fields::new(&mut bytes, script, release);
        fields.first = false;
        fields.owner(resource);
        let count = fields.count;
        Self { bytes, count }
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// User and project names were added in Ceilometer 20. Unknown ones are null.
pub(crate) fn has_names(release: Release) -> bool {
    release == Release::Current
}

/// `monotonic_time` was added in Ceilometer 9.
pub(crate) fn has_monotonic_time(release: Release) -> bool {
    release != Release::Liberty
}

/// The value of `monotonic_time`, in seconds.
#[expect(clippy::cast_precision_loss, reason = "Python divides doubles as well")]
pub(crate) fn monotonic_seconds(sample: &Sample) -> Option<f64> {
    sample.taken.monotonic.map(|nanos| nanos as f64 / 1e9)
}
