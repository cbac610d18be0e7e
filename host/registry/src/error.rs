//! Why a registry could not be used.

use std::time::Duration;

use nephometer_config::ContentDigest;
use nephometer_model::Exceeded;
use nephometer_proof::CodeKeyError;
use thiserror::Error;

/// Why a component cannot be pulled or pushed. Holds no password and no token.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The authorities to trust cannot be read.
    #[error("cannot read the authorities to trust: {0}; check `ca` of this registry")]
    Authorities(String),
    /// A proxy of the environment cannot be used.
    #[error(
        "the proxy {0:?} cannot be used; write http://HOST:PORT into HTTPS_PROXY or HTTP_PROXY"
    )]
    Proxy(String),
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{host} does not answer in HTTP")]
    Http {
        /// Host and port.
        host: String,
        /// The cause.
        source: hyper::Error,
    },
    /// Too slow.
    #[error("{what}: no answer within {after:?}")]
    Timeout {
        /// The request.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// An answer with an error.
    #[error("{what} was answered with status {status}{}{}", with_detail(.detail), hint(*.status))]
    Status {
        /// The request.
        what: String,
        /// The status of HTTP.
        status: u16,
        /// What the registry writes about it; may be empty.
        detail: String,
    },
    /// The manifest does not exist.
    #[error("{0} does not exist; check repository, tag and digest")]
    NotFound(String),
    /// The answer is not what the specification has.
    #[error("the answer to {what} is unusable: {reason}")]
    Answer {
        /// The request.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer beyond a bound.
    #[error("the answer to {what} is too large")]
    TooLarge {
        /// The request.
        what: String,
        /// The bound.
        source: Exceeded,
    },
    /// The content is not that of its digest.
    #[error(
        "{what} is not what its digest names: expected {expected}, got {found}; nothing of it is kept"
    )]
    Digest {
        /// The manifest or the file.
        what: String,
        /// The digest that was asked for.
        expected: ContentDigest,
        /// The digest of what came.
        found: ContentDigest,
    },
    /// The artifact is not a component.
    #[error("{what} is not a component: {reason}")]
    NotAComponent {
        /// The reference.
        what: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{what}: a redirect is refused: {reason}")]
    Redirect {
        /// The request.
        what: String,
        /// Why.
        reason: String,
    },
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] CodeKeyError),
    /// The folder of pulled components cannot be used.
    #[error("{path} cannot be used")]
    Folder {
        /// The path.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

fn with_detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => " (check the login in components.registries)",
        403 => " (this login may not do that)",
        404 => " (check the repository)",
        429 => " (too many requests: try later)",
        _ => "",
    }
}
