//! The notification of oslo.messaging, version 2: an object whose one text is another object.

use std::io::Write as _;

use uuid::Uuid;

use nephometer_model::Timestamp;

use super::python::Notation;

/// What stands around the samples.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `message_id`
    pub message_id: Uuid,
    /// `_unique_id`: by it receivers know a message that comes twice.
    pub unique_id: Uuid,
    /// `publisher_id`
    pub publisher_id: &'a str,
    /// `event_type`
    pub event_type: &'a str,
    /// Whether the messages are the `samples` of an object, as the polling agent sends them.
    pub wrap: bool,
    /// `timestamp`
    pub time: Timestamp,
}

/// The body on the wire, with these messages as its payload.
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

/// Appends JSON text as the inside of a JSON string. It is printable ASCII already, so that only
/// two characters need an escape.
fn quoted(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
