//! Signatures of samples: any of several secrets, in the form of either Python.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nephometer_config::NamedSecret;
use nephometer_wire::{SignatureError, SignatureForm, Signer};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::sample::Refusal;

/// The verifier of a running collector: another one may replace it between two messages. Copies share
/// it.
#[derive(Debug, Clone)]
pub(crate) struct SharedVerifier(watch::Sender<Arc<Verifier>>);

impl SharedVerifier {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self(watch::Sender::new(Arc::new(verifier)))
    }

    /// Messages that are read from now on are verified with this one.
    pub(crate) fn replace(&self, verifier: Verifier) {
        self.0.send_replace(Arc::new(verifier));
    }

    /// The present one.
    pub(crate) fn now(&self) -> Arc<Verifier> {
        Arc::clone(&self.0.borrow())
    }
}

/// Checks signatures. Which secret is tried first depends on the last success only, and each
/// comparison takes constant time.
#[derive(Debug)]
pub(crate) struct Verifier {
    signers: Vec<Signer>,
    /// Whether samples without a signature are accepted.
    unsigned: bool,
    /// The signer of the last success: nearly always that of the next sample.
    last: AtomicUsize,
}

impl Verifier {
    pub(crate) fn new(secrets: &[NamedSecret], unsigned: bool) -> Self {
        let forms = [SignatureForm::Python3, SignatureForm::Python2];
        let signers = forms
            .iter()
            .flat_map(|form| secrets.iter().map(|secret| Signer::new(&secret.secret, *form)));
        Self { signers: signers.collect(), unsigned, last: AtomicUsize::new(0) }
    }

    /// Checks the signature of a sample.
    pub(crate) fn check(&self, sample: &Map<String, Value>) -> Result<(), Refusal> {
        if self.signers.is_empty() && self.unsigned {
            return Ok(());
        }
        let last = self.last.load(Relaxed);
        let first = self.signers.get(last).into_iter().map(|signer| (last, signer));
        let others = self.signers.iter().enumerate().filter(|(at, _)| *at != last);
        let mut refusal = if self.signers.is_empty() && !is_signed(sample) {
            Refusal::Unsigned
        } else {
            Refusal::WrongSignature
        };
        for (at, signer) in first.chain(others) {
            match signer.verify(sample) {
                Ok(()) => {
                    self.last.store(at, Relaxed);
                    return Ok(());
                }
                Err(SignatureError::Missing) => {
                    refusal = Refusal::Unsigned;
                    break;
                }
                Err(SignatureError::Wrong) => {}
            }
        }
        if refusal == Refusal::Unsigned && self.unsigned { Ok(()) } else { Err(refusal) }
    }
}

fn is_signed(sample: &Map<String, Value>) -> bool {
    let signature = sample.get("message_signature").and_then(Value::as_str);
    signature.is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use nephometer_model::Secret;

    use super::*;

    fn secrets(names: &[&str]) -> Vec<NamedSecret> {
        let named = |name: &&str| NamedSecret { name: (*name).into(), secret: Secret::new(*name) };
        names.iter().map(named).collect()
    }

    /// Signed with `golden-secret` by Ceilometer itself.
    fn golden() -> Map<String, Value> {
        let file = include_str!("../../../tests/vectors/messages.ndjson");
        serde_json::from_str(file.lines().next().unwrap()).unwrap()
    }

    #[test]
    fn any_of_the_secrets_will_do() {
        let verifier = Verifier::new(&secrets(&["old", "golden-secret"]), false);
        assert_eq!(verifier.check(&golden()), Ok(()));
        assert_eq!(verifier.check(&golden()), Ok(()));
        let mut altered = golden();
        altered["resource_id"] = "other".into();
        assert_eq!(verifier.check(&altered), Err(Refusal::WrongSignature));
        let other = Verifier::new(&secrets(&["other"]), true);
        assert_eq!(other.check(&golden()), Err(Refusal::WrongSignature));
    }

    #[test]
    fn both_pythons_are_understood() {
        let secret = Secret::new("s");
        for form in [SignatureForm::Python2, SignatureForm::Python3] {
            let mut sample = golden();
            sample["counter_volume"] = serde_json::json!(1.0);
            sample["resource_metadata"] = serde_json::json!({"list": ["é", 1.5]});
            let (signer, mut text, mut signature) = (Signer::new(&secret, form), vec![], vec![]);
            form.walk(&mut text, "", &sample);
            signer.sign(&mut signature, &[&text]);
            sample["message_signature"] = String::from_utf8(signature).unwrap().into();
            assert_eq!(Verifier::new(&secrets(&["s"]), false).check(&sample), Ok(()), "{form:?}");
        }
    }

    #[test]
    fn unsigned_samples_are_refused_unless_allowed() {
        let mut unsigned = golden();
        unsigned.shift_remove("message_signature");
        for secrets in [secrets(&[]), secrets(&["s"])] {
            let refused = Verifier::new(&secrets, false).check(&unsigned);
            assert_eq!(refused, Err(Refusal::Unsigned));
            assert_eq!(Verifier::new(&secrets, true).check(&unsigned), Ok(()));
        }
    }
}
