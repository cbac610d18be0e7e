//! Events of the room `control`.

/// Nobody could be let in, such as for want of file descriptors.
pub fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "control socket accepts nobody");
}

/// Somebody connected and did not ask, or did not wait for the answer.
pub fn conversation_failed(error: &std::io::Error) {
    tracing::debug!(%error, "a conversation over the control socket ended early");
}
