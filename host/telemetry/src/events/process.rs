//! Events of the process as a whole.

/// The limit on open files was raised.
pub fn descriptors_raised(from: Option<u64>, to: u64) {
    tracing::info!(from, to, "limit on open files raised");
}

/// The limit on open files stays as it is.
pub fn descriptors_not_raised(limit: Option<u64>, error: &std::io::Error) {
    tracing::warn!(limit, reason = %error, "limit on open files not raised");
}
