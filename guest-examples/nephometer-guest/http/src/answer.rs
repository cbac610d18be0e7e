//! What an answer means for the envelope.

use nephometer_guest::{Failure, later};

use crate::{HttpError, Response};

/// Settled, or why not. `receiver` is who answers, for the reason.
///
/// A receiver that cannot be reached, or answers with 408, 429 or 5xx, is asked again later; one
/// that does not let us in, or is not granted, needs someone who acts; any other 4xx is its final
/// word on these samples.
pub fn outcome(receiver: &str, answer: Result<Response, HttpError>) -> Result<Response, Failure> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(HttpError::Failed(reason)) => return Err(later(reason, None)),
        Err(HttpError::Refused(reason)) => return Err(Failure::Broken(reason)),
    };
    let reason = match answer.first_line() {
        line if line.is_empty() => format!("{receiver} answers with status {}", answer.status),
        line => format!("{receiver} answers with status {}: {line}", answer.status),
    };
    match answer.status {
        200..=299 => Ok(answer),
        // Redirects are not followed: samples go where the operator said.
        300..=399 => Err(Failure::Broken(format!("{reason} (a redirect, which is not followed)"))),
        401 | 403 => Err(Failure::Broken(reason)),
        408 | 429 | 500.. => Err(later(reason, answer.retry_after_ms)),
        _ => Err(Failure::Permanent(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::Retry;

    fn of(status: u16, body: &str, retry_after_ms: Option<u64>) -> Result<(), Failure> {
        let answer = Response { status, retry_after_ms, body: body.as_bytes().to_vec() };
        outcome("InfluxDB", Ok(answer)).map(drop)
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in [200, 204, 299] {
            assert_eq!(of(status, "", None), Ok(()));
        }
        for status in [400, 404, 413, 422] {
            assert!(matches!(of(status, "", None), Err(Failure::Permanent(_))), "{status}");
        }
        for status in [301, 307, 401, 403] {
            assert!(matches!(of(status, "", None), Err(Failure::Broken(_))), "{status}");
        }
        for status in [408, 429, 500, 503, 599] {
            let wanted =
                |after| matches!(after, Err(Failure::Retryable(Retry { after_ms: Some(5), .. })));
            assert!(wanted(of(status, "", Some(5))), "{status}");
        }
    }

    #[test]
    fn without_an_answer_time_may_help_or_a_person() {
        let failed = outcome("x", Err(HttpError::Failed("timed out".to_owned())));
        assert!(matches!(failed, Err(Failure::Retryable(Retry { after_ms: None, .. }))));
        let refused = outcome("x", Err(HttpError::Refused("not granted".to_owned())));
        assert_eq!(refused, Err(Failure::Broken("not granted".to_owned())));
    }

    #[test]
    fn the_reason_quotes_what_the_receiver_says() {
        let Err(Failure::Permanent(reason)) = of(404, "{\"error\":\"database not found\"}\n", None)
        else {
            unreachable!("404 is permanent");
        };
        assert_eq!(reason, "InfluxDB answers with status 404: {\"error\":\"database not found\"}");
    }
}
