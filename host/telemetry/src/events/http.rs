//! Events of HTTP listeners.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

use crate::Chain;

/// A listener can be reached.
pub fn listening(listener: &str, address: &dyn Display, tls: bool) {
    tracing::info!(listener, %address, tls, "http listener started");
}

/// A listener cannot be opened, for example because its port is taken. It is tried again; the agent
/// goes on without it.
pub fn cannot_listen(listener: &str, reason: &dyn Error) {
    tracing::error!(listener, reason = %Chain(reason), "http listener unavailable, retrying");
}

/// A connection could not be accepted, for example for lack of file descriptors.
pub fn accept_failed(error: &dyn Error) {
    tracing::warn!(reason = %error, "accept failed on http listener");
}

/// A client was silent or too slow, sent no HTTP, or closed the connection.
pub fn connection_aborted(reason: &dyn Error) {
    tracing::debug!(reason = %Chain(reason), "http connection aborted");
}

/// A bug of the agent: the client's connection is closed without a reply.
pub fn request_panicked(error: &dyn Error) {
    tracing::error!(reason = %error, "http request failed, this is a bug, please report it");
}

/// The files of a certificate have changed; new connections use them.
pub fn certificate_reloaded(file: &Path) {
    tracing::info!(file = %file.display(), "certificate reloaded");
}

/// The changed files of a certificate cannot be used; the old ones stay in use.
pub fn certificate_not_reloaded(reason: &dyn Error) {
    tracing::warn!(reason = %Chain(reason), "certificate not reloaded");
}
