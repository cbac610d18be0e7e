//! HMAC-SHA256 over a message, in the form that Ceilometer on Python 3 computes and verifies.

use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::python::{self, Notation};
use crate::config::Secret;

/// Signs text that [`walk`] made.
#[derive(Debug, Clone)]
pub struct Signer(Option<Hmac<Sha256>>);

impl Signer {
    /// A signer with this secret; an empty one makes empty signatures, which every receiver with
    /// an empty secret takes.
    pub fn new(secret: &Secret) -> Self {
        let secret = secret.reveal().as_bytes();
        let keyed = || Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        Self((!secret.is_empty()).then(keyed))
    }

    /// Whether signatures are made at all.
    pub fn signs(&self) -> bool {
        self.0.is_some()
    }

    /// Appends the signature of `parts`, one after the other, as lower-case hexadecimal digits.
    pub fn sign(&self, out: &mut Vec<u8>, parts: &[&[u8]]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Some(mut mac) = self.0.clone() else { return };
        for part in parts {
            mac.update(part);
        }
        for byte in mac.finalize().into_bytes() {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

/// Appends what is signed of a dictionary: keys in code point order, each with its value; a nested
/// dictionary with its keys behind `prefix` and a colon; lists as their printed form.
pub(super) fn walk(out: &mut Vec<u8>, prefix: &str, map: &Map<String, Value>) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in entries {
        if prefix.is_empty() && key == "message_signature" {
            continue;
        }
        let name =
            if prefix.is_empty() { key.clone() } else { [prefix, ":", key.as_str()].concat() };
        match value {
            Value::Object(inner) => walk(out, &name, inner),
            Value::String(text) => {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Value::Number(number) => {
                out.extend_from_slice(name.as_bytes());
                python::number(out, number);
            }
            other => {
                out.extend_from_slice(name.as_bytes());
                Notation::BytesRepr.value(out, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str, text: &[u8]) -> String {
        let mut out = Vec::new();
        Signer::new(&Secret::new(secret)).sign(&mut out, &[text]);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn vectors_of_the_python_3_form() {
        let file = include_str!("../../../tests/vectors/signatures.json");
        let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
        assert_eq!(vectors.len(), 9);
        for vector in vectors {
            let mut text = Vec::new();
            walk(&mut text, "", vector["message"].as_object().unwrap());
            if let Some(expected) = vector["text"].as_str() {
                assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            }
            // A whole number that no JSON value holds: it stands in front of everything else.
            let big = vector["big"].as_str().map_or(String::new(), |big| format!("big{big}"));
            text.splice(0..0, big.into_bytes());
            let secret = vector["secret"].as_str().unwrap();
            assert_eq!(signature(secret, &text), vector["signature"], "{}", vector["name"]);
        }
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        assert_eq!(signature("", b"text"), "");
    }
}
