//! Signatures in the form of cosign's key pairs: a small payload that names the digest of a manifest,
//! signed with ECDSA on P-256. They are verified offline.
//!
//! The name of the repository in a payload is not compared: a mirror has the same component under
//! another one, and the digest of the manifest decides which component it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nephometer_config::{ComponentReference, ContentDigest, SignaturesSpec};
use nephometer_proof::{CodeKey, CodeKeyError, CodeSigner};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::artifact::Descriptor;
use super::error::RegistryError;

/// The type of a layer that is a payload.
pub(crate) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of that layer with the signature in Base64.
pub(crate) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The only type of a payload.
const KIND: &str = "cosign container image signature";
pub(crate) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A signature that was found, verified or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSignature {
    payload: String,
    signature: String,
}

/// Why a component is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// No signature at all.
    #[error("it is not signed; {REMEDY}")]
    Unsigned,
    /// None of a known key.
    #[error("none of its signatures ({0}) is by a key of components.signatures.keys; {REMEDY}")]
    Unknown(usize),
    /// One of a key that does not count any more.
    #[error("it is signed by the key {0:?}, which is revoked, and by no other; {REMEDY}")]
    Revoked(String),
    /// A key of the configuration cannot be read.
    #[error("components.signatures.keys.{name}.pem cannot be used")]
    Key {
        /// The name of the key.
        name: String,
        /// What is wrong.
        source: CodeKeyError,
    },
}

const REMEDY: &str = "sign it (`nephometer component sign`) with a key of components.signatures.keys, or \
                      list it in components.signatures.allow_unsigned";

impl ComponentSignature {
    /// A payload and its signature in Base64.
    pub(crate) fn new(payload: &[u8], signature: &str) -> Self {
        Self { payload: STANDARD.encode(payload), signature: signature.to_owned() }
    }

    /// Whether it is this key's signature of the manifest.
    fn is_of(&self, digest: ContentDigest, key: &CodeKey) -> bool {
        let decoded = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let payload = decoded(&self.payload);
        if !key.verifies(&payload, &decoded(&self.signature)) {
            return false;
        }
        let read: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let critical = &read["critical"];
        critical["type"] == KIND
            && critical["image"]["docker-manifest-digest"] == *digest.to_string()
    }
}

/// Decides whether a component may be used. Returns the name of the key that signed it; `None` for an
/// unsigned component that needs no signature.
///
/// # Errors
/// With the reason and the remedy.
pub fn verify(
    name: &str,
    digest: ContentDigest,
    signatures: &[ComponentSignature],
    spec: &SignaturesSpec,
) -> Result<Option<String>, SignatureError> {
    let mut revoked = None;
    for (key_name, key) in &spec.keys {
        let read = CodeKey::from_pem(&key.pem);
        let read = read.map_err(|source| SignatureError::Key { name: key_name.clone(), source })?;
        if !signatures.iter().any(|signature| signature.is_of(digest, &read)) {
            continue;
        }
        if !key.revoked {
            return Ok(Some(key_name.clone()));
        }
        revoked = Some(key_name.clone());
    }
    if !spec.requires(name, true) {
        return Ok(None);
    }
    Err(match revoked {
        Some(key) => SignatureError::Revoked(key),
        None if signatures.is_empty() => SignatureError::Unsigned,
        None => SignatureError::Unknown(signatures.len()),
    })
}

/// A private key that signs components.
#[derive(Debug)]
pub struct Signer(CodeSigner);

impl Signer {
    /// Reads a key from PEM.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn from_pem(text: &str) -> Result<Self, RegistryError> {
        Ok(Self(CodeSigner::from_pem(text)?))
    }

    /// Generates a key pair: the private and the public key as PEM.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<(String, String), RegistryError> {
        let private = CodeSigner::generate()?;
        let public = CodeSigner::from_pem(&private)?.public()?.to_pem();
        Ok((private, public))
    }

    /// The payload for a manifest, and its signature in Base64.
    pub(crate) fn sign(
        &self,
        reference: &ComponentReference,
        digest: ContentDigest,
    ) -> Result<(Vec<u8>, String), RegistryError> {
        let repository = format!("{}/{}", reference.registry, reference.repository);
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest.to_string()},
                "type": KIND,
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let signature = STANDARD.encode(self.0.sign(&payload)?);
        Ok((payload, signature))
    }
}

/// The configuration of the manifest of signatures, as cosign writes it.
pub(crate) fn image_config(layers: &[Descriptor]) -> Vec<u8> {
    let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let created = "0001-01-01T00:00:00Z";
    let config = json!({
        "architecture": "",
        "created": created,
        "history": digests.iter().map(|_| json!({"created": created})).collect::<Vec<_>>(),
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
        "config": {},
    });
    config.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::digest_of;
    use nephometer_config::CodeKeySpec;
    use nephometer_model::Glob;

    struct Pair(Signer, String);

    fn pair() -> Pair {
        let (private, public) = Signer::generate().unwrap();
        Pair(Signer::from_pem(&private).unwrap(), public)
    }

    fn signed(pair: &Pair, digest: ContentDigest) -> ComponentSignature {
        let reference = "oci://registry.example/price:1".parse().unwrap();
        let (payload, signature) = pair.0.sign(&reference, digest).unwrap();
        ComponentSignature::new(&payload, &signature)
    }

    fn spec(keys: &[(&str, &Pair, bool)], allow: &[&str]) -> SignaturesSpec {
        let key = |(name, pair, revoked): &(&str, &Pair, bool)| {
            ((*name).to_owned(), CodeKeySpec { pem: pair.1.clone(), revoked: *revoked })
        };
        let allow = allow.iter().map(|text| Glob::new(text).unwrap()).collect();
        SignaturesSpec { keys: keys.iter().map(key).collect(), require: Vec::new(), allow }
    }

    #[test]
    fn keys_are_rotated_and_revoked_by_name() {
        let (old, new, foreign) = (pair(), pair(), pair());
        let digest = digest_of(b"manifest");
        let both = spec(&[("old", &old, false), ("new", &new, false)], &[]);
        let by_old = [signed(&old, digest)];
        let outcome = |signatures: &[ComponentSignature], spec: &SignaturesSpec| {
            verify("price", digest, signatures, spec)
        };
        assert_eq!(outcome(&by_old, &both), Ok(Some("old".to_owned())));
        assert_eq!(outcome(&[signed(&new, digest)], &both), Ok(Some("new".to_owned())));
        let revoked = spec(&[("old", &old, true), ("new", &new, false)], &[]);
        assert_eq!(outcome(&by_old, &revoked), Err(SignatureError::Revoked("old".to_owned())));
        let again = [signed(&old, digest), signed(&new, digest)];
        assert_eq!(outcome(&again, &revoked), Ok(Some("new".to_owned())));
        assert_eq!(outcome(&[], &both), Err(SignatureError::Unsigned));
        let unknown = outcome(&[signed(&foreign, digest)], &both);
        assert_eq!(unknown, Err(SignatureError::Unknown(1)));
        let allowed = spec(&[("old", &old, false)], &["pr*"]);
        assert_eq!(outcome(&[], &allowed), Ok(None));
        assert_eq!(outcome(&by_old, &allowed), Ok(Some("old".to_owned())));
    }

    #[test]
    fn a_signature_of_another_manifest_or_kind_does_not_count() {
        let pair = pair();
        let spec = spec(&[("key", &pair, false)], &[]);
        let other = signed(&pair, digest_of(b"other"));
        let digest = digest_of(b"manifest");
        assert_eq!(verify("price", digest, &[other], &spec), Err(SignatureError::Unknown(1)));
        // Signed text that is not a payload.
        let text =
            format!("{{\"critical\":{{\"image\":{{\"docker-manifest-digest\":\"{digest}\"}}}}}}");
        let signature = STANDARD.encode(pair.0.0.sign(text.as_bytes()).unwrap());
        let kind = ComponentSignature::new(text.as_bytes(), &signature);
        assert_eq!(verify("price", digest, &[kind], &spec), Err(SignatureError::Unknown(1)));
        let damaged = ComponentSignature { payload: "!".to_owned(), signature: "!".to_owned() };
        assert_eq!(verify("price", digest, &[damaged], &spec), Err(SignatureError::Unknown(1)));
    }

    #[test]
    fn a_key_that_cannot_be_read_is_named() {
        let mut spec = SignaturesSpec::default();
        let key = CodeKeySpec { pem: "-----BEGIN PUBLIC KEY-----\n".to_owned(), revoked: false };
        spec.keys.insert("builder".to_owned(), key);
        let error = verify("price", digest_of(b""), &[], &spec).unwrap_err();
        assert_eq!(error.to_string(), "components.signatures.keys.builder.pem cannot be used");
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.starts_with("not a public key"), "{reason}");
    }
}
