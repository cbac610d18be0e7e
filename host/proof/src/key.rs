//! Ed25519 keys: the agent signs with one, an auditor verifies with its public half.

use std::fmt;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::{Digest, InvalidHex, decode};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The private key is damaged.
    #[error("the private key is damaged; rotate it with `nephometer keys rotate`")]
    Damaged,
    /// The system has no random numbers.
    #[error("cannot generate a key: the system gives no random numbers")]
    Random,
}

/// Identifies a public key: the first 16 digits of its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

/// The public half of a key, 32 bytes. Written in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "hex::serde")] [u8; 32]);

/// A private key. Its text in logs is its id.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Generates a key, as PKCS#8 to be stored.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        pkcs8.map(|document| document.as_ref().to_vec()).map_err(|_| KeyError::Random)
    }

    /// Reads a key from PKCS#8.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Damaged)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Damaged)?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a text, and returns the 64 bytes of the signature in hexadecimal.
    pub fn sign(&self, text: &str) -> String {
        hex::encode(self.pair.sign(text.as_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl PublicKey {
    /// Its id.
    pub fn id(&self) -> KeyId {
        let digest = Digest::of(&self.0).to_string();
        KeyId(digest[..16].to_owned())
    }

    /// Whether a signature in hexadecimal is this key's signature of a text.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        hex::decode(signature)
            .is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        decode(text).map(Self)
    }
}
