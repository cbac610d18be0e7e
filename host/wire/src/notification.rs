//! The notification of oslo.messaging, version 2: a JSON object that contains another one as a
//! string.

use std::io::Write as _;

use uuid::Uuid;

use nephometer_model::Timestamp;

use super::python::Notation;

/// The fields of a notification besides the samples.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `message_id`
    pub message_id: Uuid,
    /// `_unique_id`: receivers detect duplicate messages by it.
    pub unique_id: Uuid,
    /// `publisher_id`
    pub publisher_id: &'a str,
    /// `event_type`
    pub event_type: &'a str,
    /// Whether the payload is an object with the messages as `samples`, as the polling agent sends
    /// it, instead of a list.
    pub wrap: bool,
    /// `timestamp`
    pub time: Timestamp,
}

/// Builds the body on the wire with these messages as its payload.
pub fn notification<'a>(head: &Head<'_>, messages: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = br#"{"oslo.version": "2.0", "oslo.message": ""#.to_vec();
    let mut part = Vec::with_capacity(256);
    start(&mut part, head);
    quoted(&mut out, &part);
    for (at, message) in messages.enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        quoted(&mut out, message);
    }
    part.clear();
    end(&mut part, head);
    quoted(&mut out, &part);
    out.extend_from_slice(br#""}"#);
    out
}

fn start(out: &mut Vec<u8>, head: &Head<'_>) {
    write!(out, r#"{{"message_id": "{}", "publisher_id": "#, head.message_id)
        .expect("a vector takes every write");
    Notation::Json.string(out, head.publisher_id);
    out.extend_from_slice(br#", "event_type": "#);
    Notation::Json.string(out, head.event_type);
    out.extend_from_slice(br#", "priority": "SAMPLE", "payload": "#);
    out.extend_from_slice(if head.wrap { br#"{"samples": ["# } else { b"[" });
}

fn end(out: &mut Vec<u8>, head: &Head<'_>) {
    let (time, id) = (head.time.blank_separated(), head.unique_id.simple());
    let closed = if head.wrap { "]}" } else { "]" };
    write!(out, r#"{closed}, "timestamp": "{time}", "_unique_id": "{id}"}}"#)
        .expect("a vector takes every write");
}

/// Appends JSON text, escaped for a JSON string. The text is printable ASCII already, so only two
/// characters need escaping.
fn quoted(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
