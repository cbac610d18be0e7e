//! Keys of those who sign components: ECDSA on P-256 with SHA-256, in the formats of cosign's key
//! pairs. Public keys are PEM of X.509, private keys unencrypted PEM of PKCS#8.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use thiserror::Error;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
/// What precedes the point in the X.509 form of a public key on P-256.
const PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: its mark and two coordinates.
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
/// Characters of a line of PEM.
const LINE: usize = 64;

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodeKeyError {
    /// Not a public key on P-256.
    #[error("not a public key of ECDSA on P-256 in PEM, such as cosign.pub")]
    Public,
    /// Not a private key on P-256.
    #[error(
        "not an unencrypted private key of ECDSA on P-256 in PEM of PKCS#8; make one with \
         `nephometer component new-key`, or with `openssl genpkey -algorithm EC -pkeyopt \
         ec_paramgen_curve:P-256`"
    )]
    Private,
    /// A private key of cosign.
    #[error(
        "this key is encrypted in cosign's own format, which only cosign reads: sign with cosign, or \
         with a key of `nephometer component new-key`"
    )]
    Encrypted,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeKey {
    point: [u8; POINT_BYTES],
}

impl CodeKey {
    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If it is not a public key on P-256.
    pub fn from_pem(text: &str) -> Result<Self, CodeKeyError> {
        let bytes = decode(text, PUBLIC).ok_or(CodeKeyError::Public)?;
        let point = bytes.strip_prefix(&PREFIX).and_then(|point| point.try_into().ok());
        let point: [u8; POINT_BYTES] = point.ok_or(CodeKeyError::Public)?;
        if point[0] != UNCOMPRESSED {
            return Err(CodeKeyError::Public);
        }
        Ok(Self { point })
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> String {
        encode(&[&PREFIX[..], &self.point].concat(), PUBLIC)
    }

    /// Whether a signature in the form of ASN.1 is this key's signature of a message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKey({})", STANDARD.encode(self.point))
    }
}

/// A private key. It is never printed.
pub struct CodeSigner {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for CodeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeSigner")
    }
}

impl CodeSigner {
    /// Generates a key, as PEM to be stored.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<String, CodeKeyError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        pkcs8.map(|key| encode(key.as_ref(), PRIVATE)).map_err(|_| CodeKeyError::Random)
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If it is not an unencrypted private key on P-256.
    pub fn from_pem(text: &str) -> Result<Self, CodeKeyError> {
        if text.contains("BEGIN ENCRYPTED ") {
            return Err(CodeKeyError::Encrypted);
        }
        let bytes = decode(text, PRIVATE).ok_or(CodeKeyError::Private)?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &bytes, &random);
        Ok(Self { pair: pair.map_err(|_| CodeKeyError::Private)?, random })
    }

    /// Its public half.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn public(&self) -> Result<CodeKey, CodeKeyError> {
        let point = self.pair.public_key().as_ref().try_into();
        Ok(CodeKey { point: point.map_err(|_| CodeKeyError::Private)? })
    }

    /// Signs a message; the signature is in the form of ASN.1.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CodeKeyError> {
        let signature = self.pair.sign(&self.random, message);
        signature.map(|made| made.as_ref().to_vec()).map_err(|_| CodeKeyError::Random)
    }
}

/// The content of a PEM block of this kind, which has to be the only one.
fn decode(text: &str, kind: &str) -> Option<Vec<u8>> {
    let rest = text.trim().strip_prefix(&format!("-----BEGIN {kind}-----"))?;
    let inner = rest.strip_suffix(&format!("-----END {kind}-----"))?;
    let inner: String = inner.split_whitespace().collect();
    STANDARD.decode(inner).ok()
}

fn encode(bytes: &[u8], kind: &str) -> String {
    let text = STANDARD.encode(bytes);
    let mut pem = format!("-----BEGIN {kind}-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {kind}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_for_its_message_and_key_only() {
        let key = CodeSigner::from_pem(&CodeSigner::generate().unwrap()).unwrap();
        let other = CodeSigner::from_pem(&CodeSigner::generate().unwrap()).unwrap();
        let public = key.public().unwrap();
        assert_eq!(CodeKey::from_pem(&public.to_pem()), Ok(public.clone()));
        let signature = key.sign(b"payload").unwrap();
        assert!(public.verifies(b"payload", &signature));
        assert!(!public.verifies(b"payloae", &signature));
        assert!(!other.public().unwrap().verifies(b"payload", &signature));
        for at in 0..signature.len() {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert!(!public.verifies(b"payload", &damaged), "byte {at}");
        }
    }

    // Made by OpenSSL 3.0: `openssl genpkey`, `openssl pkey -pubout`, `openssl dgst -sha256 -sign`.
    #[test]
    fn keys_and_signatures_of_openssl_are_read() {
        let public = CodeKey::from_pem(OPENSSL_PUBLIC).unwrap();
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
        assert!(public.verifies(b"payload\n", &STANDARD.decode(OPENSSL_SIGNATURE).unwrap()));
        let key = CodeSigner::from_pem(OPENSSL_PRIVATE).unwrap();
        assert_eq!(key.public(), Ok(public));
    }

    #[test]
    fn other_keys_are_refused_with_the_remedy() {
        let private = CodeSigner::generate().unwrap();
        assert_eq!(CodeKey::from_pem(&private), Err(CodeKeyError::Public));
        assert_eq!(CodeKey::from_pem("-----BEGIN PUBLIC KEY-----"), Err(CodeKeyError::Public));
        for text in ["", OPENSSL_PUBLIC, "-----BEGIN EC PRIVATE KEY-----"] {
            assert_eq!(CodeSigner::from_pem(text).err(), Some(CodeKeyError::Private));
        }
        let cosign = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n";
        assert_eq!(CodeSigner::from_pem(cosign).err(), Some(CodeKeyError::Encrypted));
    }

    const OPENSSL_PRIVATE: &str = include_str!("../../../tests/vectors/openssl-key.pem");
    const OPENSSL_PUBLIC: &str = include_str!("../../../tests/vectors/openssl-key.pub");
    const OPENSSL_SIGNATURE: &str = include_str!("../../../tests/vectors/openssl-signature.base64");
}
