//! What an answer means for the envelope.

use nephometer_guest::{Failure, later};
use nephometer_guest_http::Response;

/// Settled, or why not.
pub(crate) fn outcome(answer: &Response) -> Result<(), Failure> {
    let reason = match answer.first_line() {
        line if line.is_empty() => format!("InfluxDB answers with status {}", answer.status),
        line => format!("InfluxDB answers with status {}: {line}", answer.status),
    };
    match answer.status {
        200..=299 => Ok(()),
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
        outcome(&Response { status, retry_after_ms, body: body.as_bytes().to_vec() })
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
    fn the_reason_quotes_what_influxdb_says() {
        let Err(Failure::Permanent(reason)) = of(404, "{\"error\":\"database not found\"}\n", None)
        else {
            unreachable!("404 is permanent");
        };
        assert_eq!(reason, "InfluxDB answers with status 404: {\"error\":\"database not found\"}");
    }
}
