use std::io::Write;
use std::process::{Command, Stdio};

use nephometer_model::Secret;
use nephometer_wire::{SignatureForm, Signer};
use serde_json::Value;

use super::root;

/// Verifies signatures with an independent implementation; returns the number of messages.
pub(crate) fn verify<'a>(messages: impl IntoIterator<Item = &'a Value>, secret: &str) -> usize {
    verify_with(messages, (secret, SignatureForm::Python3))
}

/// The same with Python 2.7's text of floats and lists.
pub(crate) fn verify_python2<'a>(
    messages: impl IntoIterator<Item = &'a Value>,
    secret: &str,
) -> usize {
    verify_with(messages, (secret, SignatureForm::Python2))
}

/// Our own verifier must agree, because collectors use it.
fn verify_with<'a>(
    messages: impl IntoIterator<Item = &'a Value>,
    (secret, form): (&str, SignatureForm),
) -> usize {
    let signer = Signer::new(&Secret::new(secret), form);
    let mut input = Vec::new();
    for message in messages {
        signer.verify(message.as_object().unwrap()).unwrap();
        writeln!(input, "{message}").unwrap();
    }
    let arguments: &[&str] = match form {
        SignatureForm::Python3 => &[secret],
        SignatureForm::Python2 => &[secret, "--python2"],
    };
    python(arguments, &input).trim().parse().unwrap()
}

fn python(arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("python3")
        .arg(root().join("tests/harness/verify.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}; make test installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    stdout
}

#[test]
fn verifier_accepts_known_signatures() {
    assert_eq!(python(&["--self-test"], b"").trim(), "ok");
}
