//! The notification of oslo.messaging, version 2: a JSON object that contains another one as a
//! string. The inner object is written in its escaped form at once.

use std::io::Write as _;

use uuid::Uuid;
use uuid::fmt::{Hyphenated, Simple};

use nephometer_model::{Sample, Timestamp};

use super::message::{MessageForm, Messages};
use super::python::Notation;

const START: &[u8] = br#"{"oslo.version": "2.0", "oslo.message": "{\"message_id\": \""#;
const END: &[u8] = br#"\"}"}"#;

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

/// Writes notifications. What the messages about one resource share is rendered once.
#[derive(Debug)]
pub struct Notifications {
    messages: Messages,
    /// Size of the last body in bytes. The next one is probably as large.
    last_size: usize,
}

impl Notifications {
    /// Creates a writer of notifications with messages of this form.
    pub fn new(form: MessageForm) -> Self {
        Self { messages: Messages::nested(form), last_size: 0 }
    }

    /// The body on the wire, and the number of samples that it holds: all of them, or fewer if it
    /// reaches `full` bytes before.
    pub fn body<'s>(
        &mut self,
        head: &Head<'_>,
        samples: impl IntoIterator<Item = &'s Sample>,
        full: usize,
    ) -> (Vec<u8>, usize) {
        let mut body = Vec::with_capacity(self.last_size + self.last_size / 8);
        start(&mut body, head);
        let mut count = 0;
        for sample in samples {
            if count > 0 {
                body.extend_from_slice(b", ");
            }
            self.messages.write(&mut body, sample);
            count += 1;
            if body.len() >= full {
                break;
            }
        }
        end(&mut body, head);
        self.last_size = body.len();
        body.shrink_to_fit();
        (body, count)
    }
}

/// Copies the body of a notification with other ids, for another topic.
pub fn with_ids(body: &[u8], message_id: Uuid, unique_id: Uuid) -> Vec<u8> {
    let mut copy = body.to_vec();
    message_id.hyphenated().encode_lower(&mut copy[START.len()..]);
    let end = copy.len() - END.len();
    unique_id.simple().encode_lower(&mut copy[end - Simple::LENGTH..end]);
    copy
}

fn start(out: &mut Vec<u8>, head: &Head<'_>) {
    let mut id = [0; Hyphenated::LENGTH];
    out.extend_from_slice(START);
    out.extend_from_slice(head.message_id.hyphenated().encode_lower(&mut id).as_bytes());
    out.extend_from_slice(br#"\", \"publisher_id\": "#);
    Notation::NestedJson.string(out, head.publisher_id);
    out.extend_from_slice(br#", \"event_type\": "#);
    Notation::NestedJson.string(out, head.event_type);
    out.extend_from_slice(br#", \"priority\": \"SAMPLE\", \"payload\": "#);
    out.extend_from_slice(if head.wrap { br#"{\"samples\": ["# } else { b"[" });
}

fn end(out: &mut Vec<u8>, head: &Head<'_>) {
    let (time, id) = (head.time.blank_separated(), head.unique_id.simple());
    let closed = if head.wrap { "]}" } else { "]" };
    write!(out, r#"{closed}, \"timestamp\": \"{time}\", \"_unique_id\": \"{id}"#)
        .expect("a vector takes every write");
    out.extend_from_slice(END);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{SignatureForm, Signer, sample_from_json};
    use nephometer_model::{Release, Secret};
    use serde_json::Value;

    const HOSTILE: &str = r#"a\"b\\c\n\u0000é😀"#;

    fn head(publisher_id: &str, number: u128, wrap: bool) -> Head<'_> {
        Head {
            message_id: Uuid::from_u128(number),
            unique_id: Uuid::from_u128(number + 1),
            publisher_id,
            event_type: "metering",
            wrap,
            time: Timestamp::from_nanos(1_443_700_800_123_456_789),
        }
    }

    fn form() -> MessageForm {
        let signer = Signer::new(&Secret::new("s"), SignatureForm::default());
        MessageForm { signer, release: Release::Current }
    }

    fn hostile_sample() -> Sample {
        let line = format!(
            r#"{{"name": "{HOSTILE}", "type": "gauge", "unit": "{HOSTILE}", "volume": 1.5,
                "resource_id": "{HOSTILE}", "user_id": "{HOSTILE}", "project_id": null,
                "timestamp": "2015-10-01T12:00:00", "resource_metadata": {{"{HOSTILE}": ["{HOSTILE}"]}}}}"#
        );
        sample_from_json(&line, &Arc::from(HOSTILE)).unwrap()
    }

    /// The payload of a notification is the list of the messages as they are written alone.
    #[test]
    fn the_inner_object_is_escaped_once() {
        let (form, sample) = (form(), hostile_sample());
        let mut message = Vec::new();
        Messages::new(form.clone()).write(&mut message, &sample);
        let message = String::from_utf8(message).unwrap();
        let publisher_id: String = serde_json::from_str(&format!("\"{HOSTILE}\"")).unwrap();
        for wrap in [false, true] {
            let head = head(&publisher_id, 1, wrap);
            let (body, count) = Notifications::new(form.clone()).body(&head, [&sample; 2], 1 << 20);
            assert_eq!(count, 2);
            let outer: Value = serde_json::from_slice(&body).unwrap();
            let inner = outer["oslo.message"].as_str().unwrap();
            assert!(inner.contains(&format!("[{message}, {message}]")), "{inner}");
            let inner: Value = serde_json::from_str(inner).unwrap();
            assert_eq!(inner["publisher_id"], *publisher_id);
            let payload = if wrap { &inner["payload"]["samples"] } else { &inner["payload"] };
            assert_eq!(form.signer.verify(payload[1].as_object().unwrap()), Ok(()));
        }
    }

    #[test]
    fn a_body_with_other_ids_is_the_one_written_with_them() {
        let (sample, mut notifications) = (hostile_sample(), Notifications::new(form()));
        for wrap in [false, true] {
            let mut body =
                |number| notifications.body(&head("p", number, wrap), [&sample], 1 << 20).0;
            let (one, other) = (body(1), body(u128::MAX / 3));
            let ids = head("p", u128::MAX / 3, wrap);
            assert_ne!(one, other);
            assert_eq!(with_ids(&one, ids.message_id, ids.unique_id), other);
        }
    }

    #[test]
    fn a_body_is_closed_at_its_size() {
        let (sample, mut notifications) = (hostile_sample(), Notifications::new(form()));
        let mut count = |full| notifications.body(&head("p", 1, false), [&sample; 9], full).1;
        assert_eq!((count(0), count(2_500), count(1 << 20)), (1, 3, 9));
    }
}
