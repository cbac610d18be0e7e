//! What the agent's headers state about the place of a message in its stream.

use lapin::types::{AMQPValue, FieldTable};
use nephometer_proof::Digest;
use uuid::Uuid;

use crate::message::StreamPlace;

/// The place that headers state; `None` without them, or if one is not as the agent writes it: then
/// the message proves nothing, and its samples are stored all the same.
pub(super) fn place(headers: &FieldTable) -> Option<StreamPlace> {
    let headers = headers.inner();
    let text = |name: &str| match headers.get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    };
    let digest = |name: &str| text(name)?.parse::<Digest>().ok();
    let sequence = match headers.get("nephometer-sequence")? {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok()?,
        _ => return None,
    };
    Some(StreamPlace {
        stream: Uuid::try_parse(text("nephometer-stream")?).ok()?,
        sequence,
        previous: digest("nephometer-previous")?,
        digest: digest("nephometer-digest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_headers_are_a_place() {
        let stream = Uuid::from_u128(7);
        let digest = Digest::start(stream);
        let long = |text: String| AMQPValue::LongString(text.into());
        let complete = || {
            let mut headers = FieldTable::default();
            headers.insert("nephometer-stream".into(), long(stream.to_string()));
            headers.insert("nephometer-sequence".into(), AMQPValue::LongLongInt(3));
            headers.insert("nephometer-previous".into(), long(digest.to_string()));
            headers.insert("nephometer-digest".into(), long(digest.to_string()));
            headers
        };
        let found = place(&complete()).unwrap();
        assert_eq!((found.stream, found.sequence, found.digest), (stream, 3, digest));
        assert_eq!(place(&FieldTable::default()), None);
        for name in ["nephometer-stream", "nephometer-sequence", "nephometer-digest"] {
            let mut headers = complete();
            headers.insert(name.into(), long("x".into()));
            assert_eq!(place(&headers), None, "{name}");
        }
    }
}
