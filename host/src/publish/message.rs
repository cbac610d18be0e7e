//! A sample as text: the metering message, which is signed, and the plain form of files and tables.
//!
//! Keys and their order are those of the Ceilometer that is stood in for, and so is every byte
//! between them.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use super::python::{self, Notation};
use super::signature::Signer;
use crate::model::{Release, Resource, Sample};

const WRITING: &str = "a vector takes every write";

/// Appends the plain form of a sample, Ceilometer's `as_dict`: as a JSON object, or as the text
/// of a Python dictionary. One line, without its end.
pub fn as_dict(out: &mut Vec<u8>, notation: Notation, release: Release, sample: &Sample) {
    let mut fields = Fields { out, notation, release, first: true };
    let resource = &sample.resource;
    fields.text("name", &sample.meter.name);
    fields.text("type", sample.meter.kind.as_str());
    fields.text("unit", &sample.meter.unit);
    fields.key("volume");
    python::volume(fields.out, sample.volume);
    fields.owner(resource);
    fields.text("timestamp", &sample.taken.wall.iso());
    fields.key("resource_metadata");
    notation.object(fields.out, &resource.metadata);
    fields.text("source", &resource.source);
    fields.text("id", &sample.id.to_string());
    fields.monotonic(sample);
    fields.end();
}

/// How metering messages are written.
#[derive(Debug, Clone)]
pub struct MessageForm {
    /// Who signs them.
    pub signer: Signer,
    /// Whose keys they have.
    pub release: Release,
}

/// Writes metering messages. What the samples of one resource have in common is rendered once.
pub struct Messages<'a> {
    form: &'a MessageForm,
    /// By the address of the resource, which its entry keeps alive.
    rendered: HashMap<usize, Rendered>,
    /// What is signed of one sample in front of what it shares with others.
    signed: Vec<u8>,
}

/// What all messages about one resource have in common.
struct Rendered {
    _resource: Arc<Resource>,
    /// Fields from `user_id` to `resource_id`.
    owner: Vec<u8>,
    /// The value of `resource_metadata`.
    metadata: Vec<u8>,
    /// What is signed from `project_id` to `source`.
    signed: Vec<u8>,
    /// What is signed from `user_id` on.
    signed_user: Vec<u8>,
}

impl<'a> Messages<'a> {
    /// A writer for the samples of one call; it remembers their resources as long as it lives.
    pub fn new(form: &'a MessageForm) -> Self {
        Self { form, rendered: HashMap::new(), signed: Vec::new() }
    }

    /// Appends the message of a sample as a JSON object.
    pub fn write(&mut self, out: &mut Vec<u8>, sample: &Sample) {
        let MessageForm { signer, release } = self.form;
        let shared = self
            .rendered
            .entry(Arc::as_ptr(&sample.resource).addr())
            .or_insert_with(|| Rendered::new(&sample.resource, self.form));
        let id = sample.id.to_string();
        let timestamp = sample.taken.wall.iso();
        let mut fields = Fields { out, notation: Notation::Json, release: *release, first: true };
        fields.text("source", &sample.resource.source);
        fields.text("counter_name", &sample.meter.name);
        fields.text("counter_type", sample.meter.kind.as_str());
        fields.text("counter_unit", &sample.meter.unit);
        fields.key("counter_volume");
        python::volume(fields.out, sample.volume);
        fields.out.extend_from_slice(&shared.owner);
        fields.text("timestamp", &timestamp);
        fields.key("resource_metadata");
        fields.out.extend_from_slice(&shared.metadata);
        fields.text("message_id", &id);
        fields.monotonic(sample);
        fields.key("message_signature");
        fields.out.push(b'"');
        if signer.signs() {
            signed_head(&mut self.signed, self.form, sample, &id);
            let time = [b"timestamp", timestamp.as_bytes()].concat();
            signer.sign(fields.out, &[&self.signed, &shared.signed, &time, &shared.signed_user]);
        }
        fields.out.push(b'"');
        fields.end();
    }
}

impl Rendered {
    fn new(resource: &Arc<Resource>, form: &MessageForm) -> Self {
        let MessageForm { signer, release } = form;
        let mut owner = Vec::new();
        let (out, notation) = (&mut owner, Notation::Json);
        Fields { out, notation, release: *release, first: false }.owner(resource);
        let mut metadata = Vec::new();
        Notation::Json.object(&mut metadata, &resource.metadata);
        let (mut signed, mut signed_user) = (Vec::new(), Vec::new());
        if signer.signs() {
            let project = resource.project_id.as_deref().unwrap_or("None");
            let id = &resource.id;
            let names = has_names(*release);
            let (project_name, user_name) =
                if names { ("project_nameNone", "user_nameNone") } else { ("", "") };
            write!(signed, "project_id{project}{project_name}resource_id{id}").expect(WRITING);
            signer.form().walk(&mut signed, "resource_metadata", &resource.metadata);
            write!(signed, "source{}", resource.source).expect(WRITING);
            let user = resource.user_id.as_deref().unwrap_or("None");
            write!(signed_user, "user_id{user}{user_name}").expect(WRITING);
        }
        Self { _resource: Arc::clone(resource), owner, metadata, signed, signed_user }
    }
}

/// What is signed of a sample up to its monotonic time, in the order of the keys.
fn signed_head(out: &mut Vec<u8>, form: &MessageForm, sample: &Sample, id: &str) {
    out.clear();
    let meter = &sample.meter;
    write!(out, "counter_name{}counter_type{}", meter.name, meter.kind).expect(WRITING);
    write!(out, "counter_unit{}counter_volume", meter.unit).expect(WRITING);
    form.signer.form().volume(out, sample.volume);
    write!(out, "message_id{id}").expect(WRITING);
    if !has_monotonic_time(form.release) {
        return;
    }
    out.extend_from_slice(b"monotonic_time");
    match monotonic_seconds(sample) {
        Some(seconds) => form.signer.form().float(out, seconds),
        None => Notation::Repr.none(out),
    }
}

/// Names of users and projects came with Ceilometer 20. This agent knows none.
fn has_names(release: Release) -> bool {
    release == Release::Current
}

/// Came with Ceilometer 9.
fn has_monotonic_time(release: Release) -> bool {
    release != Release::Liberty
}

/// `monotonic_time`: seconds.
#[expect(clippy::cast_precision_loss, reason = "Python divides doubles as well")]
fn monotonic_seconds(sample: &Sample) -> Option<f64> {
    sample.taken.monotonic.map(|nanos| nanos as f64 / 1e9)
}

/// The fields of one object, as they are written. Keys need no escape.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    notation: Notation,
    release: Release,
    /// Whether the object still has to be opened.
    first: bool,
}

impl Fields<'_> {
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if self.first { b"{" } else { b", " });
        self.first = false;
        self.notation.string(self.out, key);
        self.out.extend_from_slice(b": ");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.notation.string(self.out, text);
    }

    fn optional(&mut self, key: &str, text: Option<&str>) {
        self.key(key);
        self.notation.optional(self.out, text);
    }

    /// From `user_id` to `resource_id`.
    fn owner(&mut self, resource: &Resource) {
        let names = has_names(self.release);
        self.optional("user_id", resource.user_id.as_deref());
        if names {
            self.optional("user_name", None);
        }
        self.optional("project_id", resource.project_id.as_deref());
        if names {
            self.optional("project_name", None);
        }
        self.text("resource_id", &resource.id);
    }

    fn monotonic(&mut self, sample: &Sample) {
        if !has_monotonic_time(self.release) {
            return;
        }
        self.key("monotonic_time");
        match monotonic_seconds(sample) {
            Some(seconds) => python::float(self.out, seconds),
            None => self.notation.none(self.out),
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::sample_from_json;
    use super::*;
    use crate::config::{Secret, SignatureForm};

    fn sample(line: &str) -> Sample {
        sample_from_json(line, &Arc::from("openstack")).unwrap()
    }

    fn form(secret: &str, release: Release) -> MessageForm {
        let signer = Signer::new(&Secret::new(secret), SignatureForm::default());
        MessageForm { signer, release }
    }

    #[test]
    fn golden_messages_come_out_byte_for_byte() {
        let form = form("golden-secret", Release::Current);
        let mut messages = Messages::new(&form);
        let file = include_str!("../../../tests/vectors/messages.ndjson");
        for line in file.lines() {
            let mut out = Vec::new();
            messages.write(&mut out, &sample(line));
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }

    #[test]
    fn golden_files_come_out_byte_for_byte() {
        let json = include_str!("../../../tests/vectors/samples.json.txt");
        let repr = include_str!("../../../tests/vectors/samples.repr.txt");
        assert_eq!(json.lines().count(), 5);
        for (json, repr) in json.lines().zip(repr.lines()) {
            for (notation, expected) in [(Notation::Json, json), (Notation::Repr, repr)] {
                let mut out = Vec::new();
                as_dict(&mut out, notation, Release::Current, &sample(json));
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }

    #[test]
    fn no_secret_means_an_empty_signature() {
        let line = r#"{"name": "n", "type": "gauge", "unit": "", "volume": 1.0, "resource_id": "r",
            "timestamp": "2015-10-01T12:00:00", "resource_metadata": {"x": "y"}}"#;
        let mut out = Vec::new();
        Messages::new(&form("", Release::Current)).write(&mut out, &sample(line));
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(r#""monotonic_time": null, "message_signature": ""}"#), "{text}");
        assert!(text.contains(r#""user_id": null, "user_name": null, "project_id": null"#));
    }

    /// What is signed is the message that a receiver sees, whatever its keys are.
    #[test]
    fn each_release_has_its_own_keys_and_signs_them() {
        let line = r#"{"name": "n", "type": "gauge", "unit": "", "volume": 1.0, "resource_id": "r",
            "user_id": "u", "timestamp": "2015-10-01T12:00:00", "resource_metadata": {"x": ["y"]}}"#;
        for (release, missing) in [
            (Release::Liberty, &["user_name", "project_name", "monotonic_time"][..]),
            (Release::Zed, &["user_name", "project_name"]),
            (Release::Current, &[]),
        ] {
            let form = form("s", release);
            let mut out = Vec::new();
            Messages::new(&form).write(&mut out, &sample(line));
            let message: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&out).unwrap();
            for key in ["user_name", "project_name", "monotonic_time"] {
                assert_eq!(message.contains_key(key), !missing.contains(&key), "{release} {key}");
            }
            let (mut text, mut signature) = (Vec::new(), Vec::new());
            form.signer.form().walk(&mut text, "", &message);
            form.signer.sign(&mut signature, &[&text]);
            assert_eq!(message["message_signature"], String::from_utf8(signature).unwrap());
            let mut plain = Vec::new();
            as_dict(&mut plain, Notation::Json, release, &sample(line));
            let plain = String::from_utf8(plain).unwrap();
            assert!(missing.iter().all(|key| !plain.contains(key)), "{plain}");
        }
    }
}
