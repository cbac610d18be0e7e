//! Messages as they arrive: the notification in its envelope or without one, a bare list, records of
//! streams. Each sample is checked alone, so that a bad one costs that sample only.

use nephometer_model::Bound;
use nephometer_proof::Digest;
use nephometer_wire::{is_packed, unpack};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::python;
use super::sample::{Measurement, Refusal, Shared, clip};
use super::signature::Verifier;

/// The body of a message, with what its transport states about it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Where it came from: a queue, or a file.
    pub(crate) origin: Shared,
    pub(crate) body: Vec<u8>,
    pub(crate) place: Option<StreamPlace>,
}

/// The place of a message in a stream that can be verified, as the agent's headers state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamPlace {
    pub(crate) stream: Uuid,
    pub(crate) sequence: u64,
    pub(crate) previous: Digest,
    pub(crate) digest: Digest,
}

impl StreamPlace {
    /// As a text, for dead letters.
    pub(crate) fn written(&self) -> String {
        let Self { stream, sequence, previous, digest } = self;
        serde_json::json!({
            "stream": stream,
            "sequence": sequence,
            "previous": previous,
            "digest": digest,
        })
        .to_string()
    }

    /// The place in such a text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            stream: value["stream"].as_str()?.parse().ok()?,
            sequence: value["sequence"].as_u64()?,
            previous: value["previous"].as_str()?.parse().ok()?,
            digest: value["digest"].as_str()?.parse().ok()?,
        })
    }
}

/// A message whose samples can be stored.
#[derive(Debug)]
pub(crate) struct ReadMessage {
    pub(crate) origin: Shared,
    pub(crate) place: Option<StreamPlace>,
    /// The digest of the body: it is a part of the chain, which can be verified without the body.
    pub(crate) body: Digest,
    /// The `event_type` of the notification; empty without one.
    pub(crate) event_type: String,
    /// The signed record of the agent, as JSON, if the message is one.
    pub(crate) record: Option<String>,
    pub(crate) samples: Vec<Measurement>,
    pub(crate) refused: Vec<RefusedSample>,
}

/// A sample that is not stored, and why.
#[derive(Debug)]
pub(crate) struct RefusedSample {
    pub(crate) refusal: Refusal,
    pub(crate) detail: String,
}

impl ReadMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// If nothing can be read of it: the reason, for its dead letter.
    pub(crate) fn read(arrival: &Arrival, verifier: &Verifier) -> Result<Self, String> {
        let body = &arrival.body;
        Bound::CollectorMessage.check(body.len()).map_err(|error| error.to_string())?;
        let notification = unwrapped(values(body)?)?;
        let mut message = Self {
            origin: Shared::clone(&arrival.origin),
            place: arrival.place.clone(),
            body: Digest::of(body),
            event_type: String::new(),
            record: None,
            samples: Vec::new(),
            refused: Vec::new(),
        };
        let payload = match notification {
            Value::Object(mut map) => {
                if let Some(Value::String(event_type)) = map.get("event_type") {
                    message.event_type = clip(event_type).to_owned();
                }
                message.record = map.get("nephometer").map(Value::to_string);
                match map.shift_remove("payload") {
                    Some(payload) => payload,
                    // A line of a file: a record of a stream, or one sample.
                    None if message.record.is_some() => Value::Array(Vec::new()),
                    None if map.contains_key("resource_id") => {
                        Value::Array(vec![Value::Object(map)])
                    }
                    None => return Err("the notification has no `payload`".to_owned()),
                }
            }
            bare => bare,
        };
        message.take(samples(payload)?, verifier)?;
        Ok(message)
    }

    /// Samples that a client of the API has posted.
    pub(crate) fn posted(samples: Vec<Measurement>) -> Self {
        Self {
            origin: "api".into(),
            place: None,
            body: Digest::of(&[]),
            event_type: String::new(),
            record: None,
            samples,
            refused: Vec::new(),
        }
    }

    /// A sample that is too long to be read.
    pub(crate) fn refused(origin: Shared, refused: RefusedSample) -> Self {
        Self { origin, refused: vec![refused], ..Self::posted(Vec::new()) }
    }

    /// Checks the samples one by one.
    fn take(&mut self, samples: Vec<Value>, verifier: &Verifier) -> Result<(), String> {
        Bound::CollectorSamples.check(samples.len()).map_err(|error| error.to_string())?;
        self.samples.reserve_exact(samples.len());
        for sample in samples {
            match checked(&sample, verifier) {
                Ok(sample) => self.samples.push(sample),
                Err(refused) => self.refused.push(refused),
            }
        }
        Ok(())
    }
}

/// The value of a body; several, as lines of a file, are a list.
fn values(body: &[u8]) -> Result<Value, String> {
    if python::is_python(body) {
        return python_lines(body);
    }
    let mut values = if is_packed(body) { packed(body)? } else { Vec::new() };
    let json = if values.is_empty() { body } else { &[] };
    for value in serde_json::Deserializer::from_slice(json).into_iter::<Value>() {
        values.push(value.map_err(|error| format!("the body is not JSON: {error}"))?);
        Bound::CollectorSamples.check(values.len()).map_err(|error| error.to_string())?;
    }
    match values.len() {
        0 => Err("the body is empty".to_owned()),
        1 => Ok(values.swap_remove(0)),
        _ => Ok(Value::Array(values)),
    }
}

/// Values in MessagePack, one behind the other.
fn packed(mut body: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    while !body.is_empty() {
        values.push(unpack(&mut body).map_err(|error| error.to_string())?);
        Bound::CollectorSamples.check(values.len()).map_err(|error| error.to_string())?;
    }
    Ok(values)
}

/// Lines in Python's notation.
fn python_lines(body: &[u8]) -> Result<Value, String> {
    let text =
        std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Bound::CollectorSamples.check(lines.len()).map_err(|error| error.to_string())?;
    lines.into_iter().map(python::read).collect::<Result<_, _>>().map(Value::Array)
}

/// The notification without its envelope.
fn unwrapped(outer: Value) -> Result<Value, String> {
    let Value::Object(mut map) = outer else { return Ok(outer) };
    match map.shift_remove("oslo.message") {
        None => Ok(Value::Object(map)),
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|error| format!("`oslo.message` is not JSON: {error}")),
        Some(_) => Err("`oslo.message` is not text".to_owned()),
    }
}

/// The samples of a payload: a list, or an object with the list, as polling agents send it.
fn samples(payload: Value) -> Result<Vec<Value>, String> {
    let list = match payload {
        Value::Object(mut map) => map
            .shift_remove("samples")
            .ok_or("the payload is an object without `samples`; it must be a list of samples")?,
        other => other,
    };
    match list {
        Value::Array(samples) => Ok(samples),
        _ => Err("the payload is not a list of samples".to_owned()),
    }
}

fn checked(sample: &Value, verifier: &Verifier) -> Result<Measurement, RefusedSample> {
    let refuse = |refusal, detail: String| RefusedSample { refusal, detail };
    let Value::Object(map) = sample else {
        return Err(refuse(Refusal::Invalid, "a sample is not an object".into()));
    };
    verifier.check(map).map_err(|refusal| refuse(refusal, described(map)))?;
    Measurement::read(map)
        .map_err(|error| refuse(Refusal::Invalid, format!("{}: {error}", described(map))))
}

/// The meter and the resource of a sample, for messages.
fn described(map: &Map<String, Value>) -> String {
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| map.get(*name)).and_then(Value::as_str);
        clip(found.unwrap_or("?")).to_owned()
    };
    format!("{} of {}", text(["counter_name", "name"]), text(["resource_id"; 2]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verifier() -> Verifier {
        Verifier::new(&[], true)
    }

    fn sample() -> Value {
        json!({
            "source": "openstack", "counter_name": "cpu", "counter_type": "gauge",
            "counter_unit": "%", "counter_volume": 1.5, "user_id": null, "project_id": "p",
            "resource_id": "r", "timestamp": "2026-11-28T20:00:00", "resource_metadata": {},
            "message_id": "3a5f2c1e-6821-11e5-9d70-fa163e000001",
        })
    }

    fn read(body: &Value) -> Result<ReadMessage, String> {
        let arrival =
            Arrival { origin: "test".into(), body: body.to_string().into_bytes(), place: None };
        ReadMessage::read(&arrival, &verifier())
    }

    #[test]
    fn samples_are_found_in_every_form() {
        let notification = json!({"event_type": "metering", "payload": [sample()]});
        let polling =
            json!({"event_type": "telemetry.polling", "payload": {"samples": [sample()]}});
        let enveloped = json!({"oslo.version": "2.0", "oslo.message": notification.to_string()});
        for body in [notification, polling, enveloped, json!([sample()])] {
            assert_eq!(read(&body).unwrap().samples.len(), 1, "{body}");
        }
        let record = json!({"event_type": "nephometer.checkpoint", "payload": [],
            "nephometer": {"record": "{}", "key": "k", "signature": "s"}});
        let message = read(&record).unwrap();
        assert_eq!(message.event_type, "nephometer.checkpoint");
        assert!(message.record.unwrap().contains("signature"));
    }

    /// `udp://` sends `{"resource_id": "r"}` as `\x81\xabresource_id\xa1r`; several are a list.
    #[test]
    fn messagepack_is_known_by_its_first_byte() {
        let one = b"\x81\xabresource_id\xa1r";
        let read = |body: &[u8]| {
            let arrival = Arrival { origin: "t".into(), body: body.to_vec(), place: None };
            ReadMessage::read(&arrival, &verifier())
        };
        for (body, refused) in [(one.to_vec(), 1), ([&one[..], one].concat(), 2)] {
            let message = read(&body).unwrap();
            assert_eq!((message.samples.len(), message.refused.len()), (0, refused));
        }
        assert_eq!(read(&one[..5]).unwrap_err(), "MessagePack ends within a value");
    }

    #[test]
    fn a_bad_sample_costs_that_sample() {
        let mut bad = sample();
        bad["counter_volume"] = json!("x");
        let message = read(&json!([bad, 7, sample()])).unwrap();
        assert_eq!((message.samples.len(), message.refused.len()), (1, 2));
        assert!(message.refused[0].detail.starts_with("cpu of r: "), "{:?}", message.refused);
    }

    #[test]
    fn a_malformed_message_has_a_reason() {
        for (body, expected) in [
            (json!({"payload": {"a": 1}}), "without `samples`"),
            (json!({"payload": 1}), "not a list"),
            (json!({"a": 1}), "no `payload`"),
            (json!({"oslo.message": "{"}), "`oslo.message` is not JSON"),
            (json!({"oslo.message": 7}), "`oslo.message` is not text"),
        ] {
            let error = read(&body).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let arrival = Arrival { origin: "t".into(), body: b"\xff{".to_vec(), place: None };
        assert!(ReadMessage::read(&arrival, &verifier()).unwrap_err().contains("not JSON"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let arrival = Arrival { origin: "t".into(), body, place: None };
            drop(ReadMessage::read(&arrival, &verifier()));
        }
    }
}
