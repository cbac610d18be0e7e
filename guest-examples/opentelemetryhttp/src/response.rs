//! Responses of OTLP receivers: a 2xx response may reject some of the data points.

use nephometer_guest_http::Response;
use protobuf::{Field, fields};
use serde_json::Value;

use crate::otlp::Encoding;

/// Checks a 2xx response for a partial success.
///
/// # Errors
/// How many data points were rejected, and the message. OTLP forbids sending them again.
pub fn accepted(encoding: Encoding, response: &Response) -> Result<(), String> {
    let (rejected, message) = match encoding {
        Encoding::Protobuf => of_protobuf(&response.body),
        Encoding::Json => of_json(&response.body),
    };
    if rejected == 0 {
        return Ok(());
    }
    let message = if message.is_empty() { "no reason" } else { &message };
    let message: String = message.chars().filter(|one| !one.is_control()).take(200).collect();
    Err(format!("{rejected} data points of this envelope were rejected: {message}"))
}

fn of_json(body: &[u8]) -> (u64, String) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return (0, String::new()) };
    let partial = &body["partialSuccess"];
    let rejected = match &partial["rejectedDataPoints"] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    };
    (rejected, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
}

fn of_protobuf(body: &[u8]) -> (u64, String) {
    let partial = fields(body).find_map(|field| match field {
        (1, Field::Bytes(partial)) => Some(partial),
        _ => None,
    });
    let (mut rejected, mut message) = (0, String::new());
    for field in fields(partial.unwrap_or_default()) {
        match field {
            // A negative count makes no sense, and would be a huge one.
            (1, Field::Number(count)) if i64::try_from(count).is_ok() => rejected = count,
            (2, Field::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    (rejected, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protobuf::Message;

    fn check(encoding: Encoding, body: &[u8]) -> Result<(), String> {
        accepted(encoding, &Response { status: 200, body: body.to_vec(), ..Response::default() })
    }

    #[test]
    fn a_partial_success_is_an_error() {
        let of = |body: &str| check(Encoding::Json, body.as_bytes());
        for good in ["", "{}", "ok", "{\"partialSuccess\":{\"rejectedDataPoints\":\"0\"}}"] {
            assert_eq!(of(good), Ok(()), "{good}");
        }
        let bad =
            "{\"partialSuccess\":{\"rejectedDataPoints\":\"3\",\"errorMessage\":\"too old\"}}";
        let reason = "3 data points of this envelope were rejected: too old";
        assert_eq!(of(bad), Err(reason.to_owned()));
        assert!(of("{\"partialSuccess\":{\"rejectedDataPoints\":3}}").is_err());
    }

    #[test]
    fn a_partial_success_in_protobuf_is_the_same_error() {
        let partial = |rejected: i64| {
            let (mut partial, mut response) = (Message::new(), Message::new());
            partial.int64(1, rejected);
            partial.text(2, "too old\u{7}");
            response.message(1, &partial);
            check(Encoding::Protobuf, &response.into_bytes())
        };
        let reason = "3 data points of this envelope were rejected: too old";
        assert_eq!(partial(3), Err(reason.to_owned()));
        for count in [0, -1] {
            assert_eq!(partial(count), Ok(()), "{count}");
        }
        for other in [&b""[..], b"ok", b"{}", b"\x0a\xff"] {
            assert_eq!(check(Encoding::Protobuf, other), Ok(()), "{other:?}");
        }
    }
}
