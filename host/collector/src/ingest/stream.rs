//! What the agent's headers state about the place of a message in its stream.

use nephometer_amqp::MessageHeaders;
use nephometer_proof::Digest;
use uuid::Uuid;

use crate::message::StreamPlace;

/// The place that headers state; `None` without them, or if one is not as the agent writes it: then
/// the message proves nothing, and its samples are stored all the same.
pub(super) fn place(headers: &MessageHeaders) -> Option<StreamPlace> {
    let digest = |name: &str| headers.text(name)?.parse::<Digest>().ok();
    let sequence = u64::try_from(headers.number("nephometer-sequence")?).ok()?;
    Some(StreamPlace {
        stream: Uuid::try_parse(headers.text("nephometer-stream")?).ok()?,
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
        let complete = || {
            let mut headers = MessageHeaders::default();
            headers.set_text("nephometer-stream", &stream.to_string());
            headers.set_number("nephometer-sequence", 3);
            headers.set_text("nephometer-previous", &digest.to_string());
            headers.set_text("nephometer-digest", &digest.to_string());
            headers
        };
        let found = place(&complete()).unwrap();
        assert_eq!((found.stream, found.sequence, found.digest), (stream, 3, digest));
        assert_eq!(place(&MessageHeaders::default()), None);
        for name in ["nephometer-stream", "nephometer-sequence", "nephometer-digest"] {
            let mut headers = complete();
            headers.set_text(name, "x");
            assert_eq!(place(&headers), None, "{name}");
        }
    }
}
