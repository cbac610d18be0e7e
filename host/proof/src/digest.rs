//! The chain: each message of a stream carries a digest over its own bytes, its number and the
//! digest of the message before it.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// A SHA-256 digest: of a stream up to one message, of a component, or of options. Written in
/// hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "hex::serde")] [u8; 32]);

/// The place of a message in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The digest of the stream before this message.
    pub previous: Digest,
    /// The digest of the stream up to this message.
    pub digest: Digest,
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::hash(&[bytes])
    }

    /// The digest of a stream before its first message. It depends on the stream, so that messages of
    /// one stream never continue another.
    pub fn start(stream: Uuid) -> Self {
        Self::hash(&[b"nephometer stream", stream.as_bytes()])
    }

    /// Appends a message: the digest over this one, the number as 8 bytes (big-endian), and the digest
    /// of the body. The body enters as a digest, so that a chain can be verified after its messages
    /// were deleted.
    ///
    /// ```
    /// # use nephometer_proof::Digest;
    /// let start = Digest::start(uuid::Uuid::nil());
    /// let first = start.link(1, &Digest::of(b"message"));
    /// assert_eq!(first.previous, start);
    /// assert_ne!(first.digest, start.link(2, &Digest::of(b"message")).digest);
    /// ```
    pub fn link(self, sequence: u64, body: &Self) -> Link {
        let digest = Self::hash(&[&self.0, &sequence.to_be_bytes(), &body.0]);
        Link { previous: self, digest }
    }

    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn hash(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        let digest = context.finish();
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not 64 hexadecimal digits")]
pub struct InvalidHex(String);

/// Decodes 64 hexadecimal digits.
pub(crate) fn decode(text: &str) -> Result<[u8; 32], InvalidHex> {
    let mut bytes = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut bytes);
    decoded.map(|()| bytes).map_err(|_| InvalidHex(text.to_owned()))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        decode(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Auditors compute these with other programs: a change of the formula breaks every stream.
    #[test]
    fn the_formula_is_fixed() {
        let start = Digest::start(Uuid::from_u128(1));
        let link = start.link(7, &Digest::of(b"body"));
        assert_eq!(
            (start.to_string(), link.digest.to_string()),
            (
                "84926b38cd8ce05ee62254295e21205981ddb3cecc0466f2e8b2d13672993b78".to_owned(),
                "17f957d159cc2bf10b07acc98b9f446db3d2fc8f18cf4544332da0e9d06b810f".to_owned(),
            )
        );
        assert_eq!(link.digest.to_string().parse::<Digest>().unwrap(), link.digest);
        assert!("abc".parse::<Digest>().is_err());
    }
}
