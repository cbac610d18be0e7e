//! HMAC-SHA256 signatures of messages, as Ceilometer computes and verifies them. The signed text of
//! numbers and lists depends on the Python version of the receiver.

use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use thiserror::Error;

use super::python::{self, Notation};
use nephometer_model::Secret;
use nephometer_model::Volume;

/// The Python version of the receivers, which recompute signatures over that version's text of a
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureForm {
    /// Python 3, for all releases since Ceilometer 8.
    #[default]
    Python3,
    /// Python 2.7, for Ceilometer up to 7.
    Python2,
}

/// Why a message is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The message has no signature.
    #[error("the message has no signature")]
    Missing,
    /// The signature belongs to other contents or another secret.
    #[error("the signature does not match: the message was changed, or signed with another secret")]
    Wrong,
}

/// Signs text that [`SignatureForm::walk`] wrote.
#[derive(Debug, Clone)]
pub struct Signer {
    keyed: Option<Hmac<Sha256>>,
    form: SignatureForm,
}

impl Signer {
    /// Creates a signer. An empty secret results in empty signatures, which receivers with an empty
    /// secret accept.
    pub fn new(secret: &Secret, form: SignatureForm) -> Self {
        let secret = secret.reveal().as_bytes();
        let keyed = || Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        Self { keyed: (!secret.is_empty()).then(keyed), form }
    }

    /// Whether messages are signed.
    pub fn signs(&self) -> bool {
        self.keyed.is_some()
    }

    /// The form of the signed text.
    pub fn form(&self) -> SignatureForm {
        self.form
    }

    /// Appends the signature of `parts`, one after the other, as lower-case hexadecimal digits.
    pub fn sign(&self, out: &mut Vec<u8>, parts: &[&[u8]]) {
        let Some(mut mac) = self.keyed.clone() else { return };
        for part in parts {
            mac.update(part);
        }
        let mut digits = [0; 64];
        hex::encode_to_slice(mac.finalize().into_bytes(), &mut digits).expect("two digits a byte");
        out.extend_from_slice(&digits);
    }

    /// Verifies the signature of a metering message. Without a secret every message is accepted, as by
    /// Ceilometer's collector.
    ///
    /// ```
    /// # use nephometer_model::Secret;
    /// # use nephometer_wire::{SignatureForm, Signer};
    /// let signer = Signer::new(&Secret::new("secret".to_owned()), SignatureForm::Python3);
    /// let mut signature = Vec::new();
    /// signer.sign(&mut signature, &[b"counter_name", b"cpu"]);
    /// let message = serde_json::json!({
    ///     "counter_name": "cpu",
    ///     "message_signature": String::from_utf8(signature)?,
    /// });
    /// signer.verify(message.as_object().unwrap())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the signature is missing or wrong. The comparison takes constant time.
    pub fn verify(&self, message: &Map<String, Value>) -> Result<(), SignatureError> {
        let Some(mut mac) = self.keyed.clone() else { return Ok(()) };
        let signature = message.get("message_signature").and_then(Value::as_str);
        let signature = signature.filter(|text| !text.is_empty()).ok_or(SignatureError::Missing)?;
        let mut text = Vec::new();
        self.form.walk(&mut text, "", message);
        mac.update(&text);
        let digest = hex::decode(signature).map_err(|_| SignatureError::Wrong)?;
        mac.verify_slice(&digest).map_err(|_| SignatureError::Wrong)
    }
}

impl SignatureForm {
    /// Appends the signed text of a dictionary: keys in code point order, each with its value; a
    /// nested dictionary with its keys after `prefix` and a colon; lists in their printed form.
    pub fn walk(self, out: &mut Vec<u8>, prefix: &str, map: &Map<String, Value>) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in entries {
            if prefix.is_empty() && key == "message_signature" {
                continue;
            }
            let colon = if prefix.is_empty() { "" } else { ":" };
            if let Value::Object(inner) = value {
                self.walk(out, &[prefix, colon, key].concat(), inner);
                continue;
            }
            for part in [prefix, colon, key] {
                out.extend_from_slice(part.as_bytes());
            }
            match value {
                Value::String(text) => out.extend_from_slice(text.as_bytes()),
                Value::Number(number) => match number.as_f64() {
                    Some(float) if number.is_f64() => self.float(out, float),
                    _ => python::number(out, number),
                },
                other => self.list().value(out, other),
            }
        }
    }

    /// Appends the text of a volume.
    pub fn volume(self, out: &mut Vec<u8>, volume: Volume) {
        match volume {
            Volume::Integer(_) => python::volume(out, volume),
            Volume::Float(value) => self.float(out, value),
        }
    }

    /// Appends the text of a number.
    pub fn float(self, out: &mut Vec<u8>, value: f64) {
        match self {
            Self::Python3 => python::float(out, value),
            Self::Python2 => python::short_float(out, value),
        }
    }

    fn list(self) -> Notation {
        match self {
            Self::Python3 => Notation::BytesRepr,
            Self::Python2 => Notation::Python2Repr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str, text: &[u8]) -> String {
        let mut out = Vec::new();
        let signer = Signer::new(&Secret::new(secret), SignatureForm::default());
        signer.sign(&mut out, &[text]);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn vectors_of_both_forms() {
        let file = include_str!("../../../tests/vectors/signatures.json");
        let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
        assert_eq!(vectors.len(), 9);
        let mut older = 0;
        for vector in vectors {
            let message = vector["message"].as_object().unwrap();
            let secret = vector["secret"].as_str().unwrap();
            if let Some(expected) = vector["python2"].as_str() {
                let mut text = Vec::new();
                SignatureForm::Python2.walk(&mut text, "", message);
                let shown = String::from_utf8_lossy(&text);
                assert_eq!(signature(secret, &text), expected, "{}: {shown}", vector["name"]);
                older += 1;
            }
            let mut text = Vec::new();
            SignatureForm::Python3.walk(&mut text, "", message);
            if let Some(expected) = vector["text"].as_str() {
                assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            }
            // An integer that no JSON value can represent; its text comes first.
            let big = vector["big"].as_str().map_or(String::new(), |big| format!("big{big}"));
            text.splice(0..0, big.into_bytes());
            assert_eq!(signature(secret, &text), vector["signature"], "{}", vector["name"]);
            if vector["big"].is_null() {
                let mut signed = message.clone();
                signed.insert("message_signature".into(), vector["signature"].clone());
                let signer = Signer::new(&Secret::new(secret), SignatureForm::Python3);
                assert_eq!(signer.verify(&signed), Ok(()), "{}", vector["name"]);
            }
        }
        assert_eq!(older, 6);
    }

    #[test]
    fn an_empty_secret_signs_nothing_and_takes_everything() {
        assert_eq!(signature("", b"text"), "");
        assert_eq!(
            Signer::new(&Secret::new(""), SignatureForm::default()).verify(&Map::new()),
            Ok(())
        );
    }

    #[test]
    fn changed_messages_and_other_secrets_fail_verification() {
        let message = |json: &str| serde_json::from_str::<Map<String, Value>>(json).unwrap();
        let verify = |message: &Map<String, Value>, secret: &str| {
            Signer::new(&Secret::new(secret), SignatureForm::default()).verify(message)
        };
        let mut signed = message(r#"{"a": 1.5, "b": {"c": ["x", null]}}"#);
        assert_eq!(verify(&signed, "s"), Err(SignatureError::Missing));
        let mut text = Vec::new();
        SignatureForm::default().walk(&mut text, "", &signed);
        signed.insert("message_signature".into(), signature("s", &text).into());
        assert_eq!(verify(&signed, "s"), Ok(()));
        assert_eq!(verify(&signed, "t"), Err(SignatureError::Wrong));
        for (key, value) in [("a", "1.25"), ("message_signature", "\"12\""), ("a", "\"1.5x\"")] {
            let mut changed = signed.clone();
            changed.insert(key.into(), serde_json::from_str(value).unwrap());
            assert_eq!(verify(&changed, "s"), Err(SignatureError::Wrong), "{changed:?}");
        }
    }
}
