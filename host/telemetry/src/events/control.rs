//! Events of the control socket.

/// Nobody could be let in, such as for want of file descriptors.
pub fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "control socket accepts nobody");
}

/// So many clients have asked and wait for their answers that another one is turned away.
pub fn connection_refused(asked: usize) {
    tracing::warn!(asked, "connection to the control socket refused, too many are open");
}

/// Somebody connected and did not ask, or did not wait for the answer.
pub fn conversation_failed(error: &std::io::Error) {
    tracing::debug!(%error, "a conversation over the control socket ended early");
}

/// A fault of the agent's own: whoever asked sees that the connection is closed.
pub fn answer_panicked(error: &dyn std::error::Error) {
    tracing::error!(%error, "a request over the control socket could not be answered; this is a fault of the agent, please report it");
}
