//! Events of the control socket.

use std::error::Error;
use std::io;

/// A connection could not be accepted, for example for lack of file descriptors.
pub fn accept_failed(error: &io::Error) {
    tracing::warn!(reason = %error, "accept failed on control socket");
}

/// Too many clients wait for a response: another one is turned away.
pub fn connection_refused(pending_requests: usize) {
    tracing::warn!(pending_requests, "control connection refused");
}

/// A client sent no request, or did not wait for the response.
pub fn connection_aborted(error: &io::Error) {
    tracing::debug!(reason = %error, "control connection aborted");
}

/// A bug of the agent: the client's connection is closed without a response.
pub fn request_panicked(error: &dyn Error) {
    tracing::error!(reason = %error, "control request failed, this is a bug, please report it");
}
