//! The collector's signature under a file of evidence: who has made it, and that it was not changed
//! since. What the agents have signed needs no seal.

use nephometer_proof::{Digest, PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The last line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// The collector's public key.
    pub(crate) key: PublicKey,
    /// Its signature, in hexadecimal, of `nephometer audit` and the digest of the lines.
    pub(crate) signature: String,
}

/// Why a seal does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The file was changed.
    #[error("the lines are not those that the collector has signed: the file was altered or cut")]
    Altered,
    /// Another key has signed.
    #[error("the file is signed with another key than the one given for the collector")]
    OtherKey,
}

/// The digest of the lines so far. It is a chain like that of a stream.
#[derive(Debug)]
pub(crate) struct Sealing {
    lines: u64,
    digest: Digest,
}

impl Default for Sealing {
    fn default() -> Self {
        Self { lines: 0, digest: Digest::of(b"nephometer audit") }
    }
}

impl Sealing {
    /// Adds a line, without its end.
    pub(crate) fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        self.digest = self.digest.link(self.lines, &Digest::of(line)).digest;
    }

    fn text(&self) -> String {
        format!("nephometer audit {}", self.digest)
    }

    /// Signs the lines.
    pub(crate) fn sign(&self, key: &SigningKey) -> Seal {
        Seal { key: key.public(), signature: key.sign(&self.text()) }
    }
}

/// Checks a seal under the lines, and, if it is known, that it is of the collector's key.
///
/// # Errors
/// If the signature or the key is another one.
pub(crate) fn check_seal(
    seal: &Seal,
    lines: &Sealing,
    collector: Option<&PublicKey>,
) -> Result<(), SealError> {
    if collector.is_some_and(|known| *known != seal.key) {
        return Err(SealError::OtherKey);
    }
    let good = seal.key.verifies(&lines.text(), &seal.signature);
    good.then_some(()).ok_or(SealError::Altered)
}
