//! Encoded values of the database tables.

/// An encoded value, with the encoder's error as a database error.
pub(super) fn encoded(value: Result<Vec<u8>, postcard::Error>) -> Result<Vec<u8>, redb::Error> {
    value.map_err(unexpected)
}

/// An error of a call that does not fail as it is used here, as a database error.
pub(super) fn unexpected(error: impl std::error::Error + Send + Sync + 'static) -> redb::Error {
    redb::Error::Io(std::io::Error::other(error))
}
