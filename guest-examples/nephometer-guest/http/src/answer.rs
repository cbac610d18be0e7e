//! What a response means for the envelope.

use nephometer_guest::{Failure, later};

use crate::{HttpError, Response};

/// Turns a response into the result of `publish`; `receiver` names the server in reasons.
///
/// # Errors
/// * retryable: the receiver is unreachable, or returned 408, 429 or 5xx;
/// * broken: the host does not grant the address, or the receiver returned 3xx, 401 or 403;
/// * permanent: the receiver returned any other 4xx.
pub fn outcome(receiver: &str, answer: Result<Response, HttpError>) -> Result<Response, Failure> {
    let response = match answer {
        Ok(response) => response,
        Err(HttpError::Failed(reason)) => return Err(later(reason, None)),
        Err(HttpError::Refused(reason)) => return Err(Failure::Broken(reason)),
    };
    let reason = match response.first_line() {
        line if line.is_empty() => format!("{receiver} returned status {}", response.status),
        line => format!("{receiver} returned status {}: {line}", response.status),
    };
    match response.status {
        200..=299 => Ok(response),
        // Redirects are not followed: samples go only where the operator configured.
        300..=399 => Err(Failure::Broken(format!("{reason} (redirects are not followed)"))),
        401 | 403 => Err(Failure::Broken(reason)),
        408 | 429 | 500.. => Err(later(reason, response.retry_after_ms)),
        _ => Err(Failure::Permanent(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_guest::Retry;

    fn outcome_of(status: u16, body: &str, retry_after_ms: Option<u64>) -> Result<(), Failure> {
        let body = body.as_bytes().to_vec();
        let response = Response { status, retry_after_ms, body, ..Response::default() };
        outcome("InfluxDB", Ok(response)).map(drop)
    }

    #[test]
    fn each_status_maps_to_its_failure() {
        for status in [200, 204, 299] {
            assert_eq!(outcome_of(status, "", None), Ok(()));
        }
        for status in [400, 404, 413, 422] {
            assert!(matches!(outcome_of(status, "", None), Err(Failure::Permanent(_))), "{status}");
        }
        for status in [301, 307, 401, 403] {
            assert!(matches!(outcome_of(status, "", None), Err(Failure::Broken(_))), "{status}");
        }
        for status in [408, 429, 500, 503, 599] {
            let expected = |outcome| {
                matches!(outcome, Err(Failure::Retryable(Retry { after_ms: Some(5), .. })))
            };
            assert!(expected(outcome_of(status, "", Some(5))), "{status}");
        }
    }

    #[test]
    fn failed_requests_are_retried_and_refused_ones_are_broken() {
        let failed = outcome("x", Err(HttpError::Failed("timed out".to_owned())));
        assert!(matches!(failed, Err(Failure::Retryable(Retry { after_ms: None, .. }))));
        let refused = outcome("x", Err(HttpError::Refused("not granted".to_owned())));
        assert_eq!(refused, Err(Failure::Broken("not granted".to_owned())));
    }

    #[test]
    fn the_reason_quotes_the_body_of_the_response() {
        let body = "{\"error\":\"database not found\"}\n";
        let Err(Failure::Permanent(reason)) = outcome_of(404, body, None) else {
            unreachable!("404 is permanent");
        };
        assert_eq!(reason, "InfluxDB returned status 404: {\"error\":\"database not found\"}");
    }
}
