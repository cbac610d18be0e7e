//! Why a service did not answer as expected.

use std::time::Duration;

use nephometer_model::Exceeded;
use thiserror::Error;

/// Why OpenStack cannot be asked. Holds no token and no password.
#[derive(Debug, Error)]
pub(crate) enum CloudError {
    /// The URL of a service is invalid.
    #[error("{0:?} is no URL of a service")]
    Url(String),
    /// The certificates to trust cannot be read.
    #[error("cannot read the authorities to trust: {0}")]
    Authorities(String),
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system reports.
        source: std::io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{host} does not answer in HTTP")]
    Http {
        /// Host and port.
        host: String,
        /// What is wrong.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{host} did not answer within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// An answer with an error.
    #[error("{what} was answered with status {status}{}", hint(*.status))]
    Status {
        /// The request.
        what: String,
        /// The status of HTTP.
        status: u16,
        /// `Retry-After`
        retry_after: Option<Duration>,
    },
    /// An answer of another form.
    #[error("the answer to {what} is unusable: {reason}")]
    Answer {
        /// The request.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer beyond a bound.
    #[error("the answer to {what} is too large")]
    Exceeded {
        /// The request.
        what: String,
        /// The bound.
        source: Exceeded,
    },
    /// The catalog lacks a service.
    #[error("the catalog of Keystone has no {kind} service with interface {interface}{}", in_region(.region))]
    Endpoint {
        /// The type of the service.
        kind: &'static str,
        /// The interface that is asked for.
        interface: &'static str,
        /// The region that is asked for.
        region: Option<String>,
    },
}

impl CloudError {
    /// How long the service asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the answer has this status.
    pub(crate) fn is_status(&self, expected: u16) -> bool {
        matches!(self, Self::Status { status, .. } if *status == expected)
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => " (check service_credentials)",
        403 => " (the user needs the role admin, or a policy that lets it list all servers)",
        404 => " (check the endpoint in the catalog)",
        _ => "",
    }
}

fn in_region(region: &Option<String>) -> String {
    region.as_ref().map(|region| format!(" in region {region:?}")).unwrap_or_default()
}
