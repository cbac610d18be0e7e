//! Values of the database: what they are encoded as.

/// What a value is stored as.
pub(super) fn bytes(encoded: Result<Vec<u8>, postcard::Error>) -> Result<Vec<u8>, redb::Error> {
    encoded.map_err(unexpected)
}

/// Of calls that cannot fail as they are made here.
pub(super) fn unexpected(error: impl std::error::Error + Send + Sync + 'static) -> redb::Error {
    redb::Error::Io(std::io::Error::other(error))
}
