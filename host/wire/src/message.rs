//! Encodes samples as signed metering messages, or in the plain form of files and tables.
//!
//! The output equals that of the compatible Ceilometer release byte for byte, including the order
//! of the keys.

use std::io::Write as _;

use uuid::Uuid;

use super::fields::{Fields, Part, Script, has_monotonic_time, has_names, monotonic_seconds};
use super::msgpack::Strings;
use super::python::Notation;
use super::rendered::{Rendered, RenderedResources};
use super::signature::Signer;
use nephometer_model::{Release, Resource, Sample, Timestamp, Volume};

/// Size of the parts of most resources in bytes.
const TYPICAL_BYTES: usize = 2_048;
const WRITING: &str = "a vector takes every write";

/// Appends the plain form of a sample, Ceilometer's `as_dict`: a JSON object or the text of a
/// Python dictionary, on one line without a line break.
pub fn as_dict(out: &mut Vec<u8>, notation: Notation, release: Release, sample: &Sample) {
    let mut fields = Fields::new(out, Script::Text(notation), release);
    let resource = &sample.resource;
    fields.text("name", &sample.meter.name);
    fields.text("type", sample.meter.kind.as_str());
    fields.text("unit", &sample.meter.unit);
    fields.volume("volume", sample.volume);
    fields.owner(resource);
    fields.text("timestamp", &sample.taken.wall.iso());
    fields.object("resource_metadata", &resource.metadata);
    fields.text("source", &resource.source);
    fields.text("id", &sample.id.to_string());
    fields.monotonic(sample);
    fields.end();
}

/// The form of metering messages.
#[derive(Debug, Clone)]
pub struct MessageForm {
    /// Signs the messages.
    pub signer: Signer,
    /// The release that determines the keys.
    pub release: Release,
}

/// Writes metering messages. The parts that all samples of one resource share are rendered once.
#[derive(Debug)]
pub struct Messages {
    form: MessageForm,
    script: Script,
    /// `publisher_id`, for receivers that get one.
    publisher: Option<String>,
    rendered: RenderedResources,
    /// The time of the last sample, and its text: many samples have the same.
    last_time: (Timestamp, String),
    signed: SignedNumbers,
    signature: Vec<u8>,
}

/// The signed text of a sample's numbers.
#[derive(Debug, Default)]
struct SignedNumbers {
    volume: Vec<u8>,
    /// The key `monotonic_time` with its value, for releases that have it.
    monotonic: Vec<u8>,
}

impl Messages {
    /// Creates a writer of JSON objects.
    pub fn new(form: MessageForm) -> Self {
        Self::written(form, Script::Text(Notation::Json), None)
    }

    /// Creates a writer of JSON objects that are escaped for a JSON string.
    pub(crate) fn nested(form: MessageForm) -> Self {
        Self::written(form, Script::Text(Notation::NestedJson), None)
    }

    /// Creates a writer of MessagePack maps, with a `publisher_id` if there is one.
    pub fn packed(form: MessageForm, publisher: Option<String>) -> Self {
        let strings = Strings::of(form.release);
        Self::written(form, Script::Packed(strings), publisher)
    }

    fn written(form: MessageForm, script: Script, publisher: Option<String>) -> Self {
        Self {
            form,
            script,
            publisher,
            rendered: RenderedResources::default(),
            last_time: (Timestamp::default(), Timestamp::default().iso()),
            signed: SignedNumbers::default(),
            signature: Vec::new(),
        }
    }

    /// Appends the message of a sample.
    pub fn write(&mut self, out: &mut Vec<u8>, sample: &Sample) {
        let MessageForm { signer, release } = &self.form;
        let (script, publisher) = (self.script, self.publisher.as_deref());
        let Sample { meter, resource, .. } = sample;
        let shared =
            self.rendered.of(resource, || render_shared(resource, &self.form, script, publisher));
        let mut id = Uuid::encode_buffer();
        let id: &str = sample.id.hyphenated().encode_lower(&mut id);
        if self.last_time.0 != sample.taken.wall {
            self.last_time = (sample.taken.wall, sample.taken.wall.iso());
        }
        let timestamp = self.last_time.1.as_str();
        let volume = script.fitting(sample.volume);
        self.signature.clear();
        if signer.signs() {
            self.signed.write(&self.form, sample, volume);
            // In the order of the keys.
            let parts = [
                b"counter_name",
                meter.name.as_bytes(),
                b"counter_type",
                meter.kind.as_str().as_bytes(),
                b"counter_unit",
                meter.unit.as_bytes(),
                b"counter_volume",
                &self.signed.volume,
                b"message_id",
                id.as_bytes(),
                &self.signed.monotonic,
                &shared.signed,
                b"timestamp",
                timestamp.as_bytes(),
                &shared.signed_user,
            ];
            signer.sign(&mut self.signature, &parts);
        }
        let mut fields = Fields::new(out, script, *release);
        fields.text("source", &resource.source);
        fields.text("counter_name", &meter.name);
        fields.text("counter_type", meter.kind.as_str());
        fields.text("counter_unit", &meter.unit);
        fields.volume("counter_volume", volume);
        fields.part(&shared.owner);
        fields.text("timestamp", timestamp);
        fields.key("resource_metadata").extend_from_slice(&shared.metadata);
        fields.text("message_id", id);
        fields.monotonic(sample);
        if let Some(publisher) = publisher {
            fields.text("publisher_id", publisher);
        }
        let signature = std::str::from_utf8(&self.signature).expect("digits are text");
        fields.text("message_signature", signature);
        fields.end();
    }
}

impl SignedNumbers {
    fn write(&mut self, form: &MessageForm, sample: &Sample, volume: Volume) {
        let python = form.signer.form();
        self.volume.clear();
        python.volume(&mut self.volume, volume);
        self.monotonic.clear();
        if !has_monotonic_time(form.release) {
            return;
        }
        self.monotonic.extend_from_slice(b"monotonic_time");
        match monotonic_seconds(sample) {
            Some(seconds) => python.float(&mut self.monotonic, seconds),
            None => Notation::Repr.none(&mut self.monotonic),
        }
    }
}

fn render_shared(
    resource: &Resource,
    form: &MessageForm,
    script: Script,
    publisher: Option<&str>,
) -> Rendered {
    let MessageForm { signer, release } = form;
    let owner = Part::owner(script, *release, resource);
    let mut metadata = Vec::with_capacity(TYPICAL_BYTES);
    script.object(&mut metadata, &resource.metadata);
    let (mut signed, mut signed_user) = (Vec::with_capacity(TYPICAL_BYTES), Vec::new());
    if signer.signs() {
        let project = resource.project_id.as_deref().unwrap_or("None");
        let names = has_names(*release);
        write!(signed, "project_id{project}").expect(WRITING);
        if names {
            let name = resource.project_name.as_deref().unwrap_or("None");
            write!(signed, "project_name{name}").expect(WRITING);
        }
        if let Some(publisher) = publisher {
            write!(signed, "publisher_id{publisher}").expect(WRITING);
        }
        write!(signed, "resource_id{}", resource.id).expect(WRITING);
        signer.form().walk(&mut signed, "resource_metadata", &resource.metadata);
        write!(signed, "source{}", resource.source).expect(WRITING);
        let user = resource.user_id.as_deref().unwrap_or("None");
        write!(signed_user, "user_id{user}").expect(WRITING);
        if names {
            let name = resource.user_name.as_deref().unwrap_or("None");
            write!(signed_user, "user_name{name}").expect(WRITING);
        }
    }
    Rendered {
        owner,
        metadata: metadata.into(),
        signed: signed.into(),
        signed_user: signed_user.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::read::sample_from_json;
    use super::*;
    use crate::SignatureForm;
    use nephometer_model::Secret;

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
        let mut messages = Messages::new(form);
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

    fn packed(form: &MessageForm, publisher: Option<&str>, sample: &Sample) -> Vec<u8> {
        let mut out = Vec::new();
        Messages::packed(form.clone(), publisher.map(str::to_owned)).write(&mut out, sample);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_datagrams_come_out_byte_for_byte() {
        let samples = include_str!("../../../tests/vectors/samples.json.txt");
        for (release, golden) in [
            (Release::Current, include_str!("../../../tests/vectors/datagrams.current.hex")),
            (Release::Zed, include_str!("../../../tests/vectors/datagrams.zed.hex")),
        ] {
            let form = form("golden-secret", release);
            assert_eq!(golden.lines().count(), 5);
            for (line, expected) in samples.lines().zip(golden.lines()) {
                assert_eq!(hex(&packed(&form, None, &sample(line))), expected, "{release}");
            }
        }
    }

    /// In frames, `publisher_id` is one of the signed keys.
    #[test]
    fn golden_frames_come_out_byte_for_byte() {
        let form = form("golden-secret", Release::Current);
        let mut messages = Messages::packed(form, Some("compute-1".to_owned()));
        let samples = include_str!("../../../tests/vectors/samples.json.txt");
        let golden = include_str!("../../../tests/vectors/frames.current.hex");
        assert_eq!(golden.lines().count(), 5);
        for (line, expected) in samples.lines().zip(golden.lines()) {
            let mut frame = Vec::new();
            crate::frames::append(&mut frame, |out| messages.write(out, &sample(line)));
            assert_eq!(hex(&frame), expected);
        }
    }

    const VECTOR: &str = r#"{"source": "openstack", "name": "cpu", "type": "cumulative",
        "unit": "ns", "volume": 123456789, "user_id": "u1", "project_id": "p1",
        "resource_id": "r1", "timestamp": "2015-10-01T12:00:00.123456",
        "resource_metadata": {"cpu_number": 2, "display_name": "vm-é"},
        "id": "3a5f2c1e-6821-11e5-9d70-fa163e000001"}"#;

    /// Dictionaries of Python 2 have no order, so only parts of the datagram can be compared.
    #[test]
    fn a_datagram_of_liberty_has_its_old_strings() {
        let secret = "change this for valid signing";
        let current = packed(&form(secret, Release::Current), None, &sample(VECTOR));
        let hexed = hex(&current);
        assert_eq!(current.len(), 396);
        assert!(hexed.starts_with("8fa6736f75726365a96f70656e737461636b"), "{hexed}");
        let signature = "4e6c0d4b8d1f325cc8d9b13464eccbb1d5c8f7b6491a4fbda100772be28e596e";
        assert!(hexed.ends_with(&format!("d940{}", hex(signature.as_bytes()))), "{hexed}");

        let old = packed(&form(secret, Release::Liberty), None, &sample(VECTOR));
        let hexed = hex(&old);
        assert_eq!((old.len(), old[0]), (357, 0x8c));
        let signature = "b137483c409a06cebadcf5e83b87c6c3742821766e90c546dbf96a9457dba5c6";
        assert!(hexed.ends_with(&format!("da0040{}", hex(signature.as_bytes()))), "{hexed}");
        assert!(hexed.contains("da002433613566"), "{hexed}");
    }

    /// An integer that is sent as a float is also signed as a float.
    #[test]
    fn more_than_64_bits_are_signed_as_they_are_sent() {
        let form = form("s", Release::Current);
        let mut large = sample(VECTOR);
        large.volume = Volume::Integer(1 << 70);
        let whole = packed(&form, None, &large);
        large.volume = Volume::Float(
            f64::from(2_u32.pow(30)) * f64::from(2_u32.pow(20)) * f64::from(2_u32.pow(20)),
        );
        assert_eq!(whole, packed(&form, None, &large));
        large.volume = Volume::Integer(1);
        let one = packed(&form, None, &large);
        large.volume = Volume::Float(1.0);
        assert_ne!(one, packed(&form, None, &large));
    }

    #[test]
    fn no_secret_means_an_empty_signature() {
        let line = r#"{"name": "n", "type": "gauge", "unit": "", "volume": 1.0, "resource_id": "r",
            "timestamp": "2015-10-01T12:00:00", "resource_metadata": {"x": "y"}}"#;
        let mut out = Vec::new();
        Messages::new(form("", Release::Current)).write(&mut out, &sample(line));
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(r#""monotonic_time": null, "message_signature": ""}"#), "{text}");
        assert!(text.contains(r#""user_id": null, "user_name": null, "project_id": null"#));
    }

    /// The signature covers the message that the receiver sees, with the keys of its release.
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
            Messages::new(form.clone()).write(&mut out, &sample(line));
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
