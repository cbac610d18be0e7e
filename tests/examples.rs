//! The examples of the crates, run as their comments describe.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Agent, component, ndjson, number, root};

/// Runs an example; `cargo test --workspace` builds the examples beside the agent.
fn run(example: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let folder = Path::new(env!("CARGO_BIN_EXE_nephometer")).parent().unwrap();
    let mut child = Command::new(folder.join("examples").join(example))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{example}: {error}; cargo build --release --workspace --examples builds it")
        });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn embedded_host_runs_a_transformer() {
    let agent = Agent::new("examples-embed");
    let arguments = ["once", "--raw", "--format", "ndjson", "--libvirt", "sim://?domains=1"];
    let pipeline = root().join("config/pipeline.yaml").display().to_string();
    let sink = ["--pipeline", &pipeline, "--sink", "cpu_sink"];
    let input = agent.execute(&[&arguments[..], &sink[..]].concat()).code(0).stdout;
    let file = component("unit_conversion").display().to_string();
    let options = r#"{"target": {"name": "cpu.seconds", "unit": "s", "scale": "volume / 10**9"}}"#;
    let (ok, output) = run("embed", &[&file, options], &input);
    assert!(ok, "{output}");
    let (before, after) = (ndjson(&input), ndjson(&output));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after["name"], "cpu.seconds");
        assert!((number(after) - number(before) / 1e9).abs() < 1e-6, "{before} {after}");
    }
}

#[test]
fn verifier_accepts_authentic_messages_only() {
    let vectors = std::fs::read_to_string(root().join("tests/vectors/signatures.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&vectors).unwrap();
    let vector = &vectors[0];
    let mut message = vector["message"].clone();
    message["message_signature"] = vector["signature"].clone();
    let secret = vector["secret"].as_str().unwrap();
    assert_eq!(run("verify", &[secret], &message.to_string()), (true, "ok\n".to_owned()));
    message["counter_volume"] = 1.into();
    let (ok, output) = run("verify", &[secret], &message.to_string());
    assert!(!ok && output.starts_with("line 1: "), "{output}");
}

#[test]
fn checker_prints_warnings_and_counts() {
    let pipeline = root().join("config/pipeline.yaml").display().to_string();
    let (ok, output) = run("check", &[&pipeline], "");
    assert!(ok && output.lines().last().unwrap().starts_with("ok: "), "{output}");
}
