//! The agent with components from a registry: at its start, while it runs, and without the registry.

use std::fs;

use serde_json::{Value, json};

use super::service::RegistryService;
use super::{document, key_pair, push, version};
use crate::harness::{Agent, PATIENCE, eventually};

const NAME: &str = "rate_of_change";
const TRANSFORMER: &str =
    "[{name: rate_of_change, parameters: {target: {name: rate, type: gauge, unit: x}}}]";

/// An agent whose only transformer comes from a registry; no folder has it.
fn agent(registry: &RegistryService, from: &str, pem: &str) -> Agent {
    registry
        .known_to(Agent::new("registry-agent"))
        .set("components.path", json!([]))
        .set(&format!("components.by_name.{NAME}.from"), from)
        .set("components.signatures.keys.builder.pem", pem)
        .through(TRANSFORMER, &["file:///dev/null"])
}

/// The state of the sink, and the reason for it.
fn sink(agent: &Agent) -> Value {
    let status = agent.execute(&["status", "--json"]);
    serde_json::from_str::<Value>(&status.stdout).unwrap_or_default()["sinks"][0].clone()
}

fn wait_for_digest(agent: &Agent, digest: &str) {
    let expected = &digest[..12];
    eventually("the new component", PATIENCE, || {
        let sink = sink(agent);
        let found = sink["transformers"][0]["digest"].as_str()?;
        expected.starts_with(&found[..found.len().min(12)]).then_some(())
    });
}

/// SHA-256 of a file, in hexadecimal.
fn content(path: &std::path::Path) -> String {
    super::lying::sha256(&fs::read(path).unwrap())[7..].to_owned()
}

#[test]
fn what_was_pulled_runs_without_the_registry_and_moves_with_the_lock_file() {
    let mut registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let reference = registry.reference("rate", "stable");
    let first = version(&author.folder, NAME, "1");
    push(&author, &first, &reference, Some(&key));
    let agent = agent(&registry, &reference, &pem);
    agent.execute(&["component", "pull"]).code(0);
    registry.kill();

    let mut running = agent.run();
    running.wait_for_cycles(3);
    wait_for_digest(&agent, &content(&first));
    agent.execute(&["reload"]).code(0).reports("nothing has changed");

    registry.resume();
    let second = version(&author.folder, NAME, "2");
    push(&author, &second, &reference, Some(&key));
    agent.execute(&["component", "update"]).code(0).reports("ok: 1 changed");
    wait_for_digest(&agent, &content(&second));
    assert!(running.logged("reload applied").iter().any(|line| {
        line["changes"].as_str().is_some_and(|changes| changes.contains("state kept"))
    }));
    running.wait_for_cycles(2);
    running.stop().code(0).ledger();
}

#[test]
fn a_sink_waits_for_its_component_and_goes_on_when_the_registry_is_there() {
    let mut registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let reference = registry.reference("rate", "1");
    let first = version(&author.folder, NAME, "1");
    let digest = push(&author, &first, &reference, Some(&key));
    registry.kill();

    let agent = agent(&registry, &format!("{reference}@{digest}"), &pem);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let held = eventually("a reason", PATIENCE, || {
        let sink = sink(&agent);
        sink["reason"].as_str().map(str::to_owned)
    });
    assert!(held.contains("is not here") && held.contains("component pull"), "{held}");
    eventually("the failure is logged", PATIENCE, || {
        (!running.logged("component pull failed").is_empty()).then_some(())
    });
    registry.resume();
    wait_for_digest(&agent, &content(&first));
    assert_eq!(running.logged("component pulled")[0]["key"], "builder");
    running.wait_for_cycles(1);
    // What had waited was not lost.
    running.stop().code(0).ledger();
}

#[test]
fn unsigned_and_changed_code_is_never_compiled() {
    let registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let reference = registry.reference("rate", "1");
    let first = version(&author.folder, NAME, "1");
    let digest = push(&author, &first, &reference, None);
    let pinned = format!("{reference}@{digest}");
    let agent = agent(&registry, &pinned, &pem);
    // Pulled, and not accepted.
    let mut running = agent.run();
    running.wait_for_cycles(2);
    eventually("the refusal", PATIENCE, || {
        let failures = running.logged("component pull failed");
        let reason = failures.first()?["reason"].as_str()?.to_owned();
        assert_eq!(reason.matches("it is not signed").count(), 1, "{reason}");
        Some(())
    });
    assert!(running.logged("component loaded").is_empty());
    running.stop().code(69);
    agent.execute(&["check"]).code(78).reports("is not signed");
    let code = || fs::read_dir(agent.folder.at("cache/components")).map_or(0, Iterator::count);
    assert_eq!(code(), 0);

    author.execute(&["component", "sign", &pinned, "--key", key.to_str().unwrap()]).code(0);
    let pulled = document(&agent.execute(&["component", "pull", "--json"]).code(0));
    // Changed on disk after it was verified.
    let file = pulled[0]["file"].as_str().unwrap();
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, &bytes).unwrap();
    agent.execute(&["check"]).code(78).reports("as it was pulled; remove the folder");
    assert_eq!(code(), 0);
    agent.execute(&["component", "pull"]).code(0);
    agent.execute(&["check"]).code(0);
    assert_eq!(code(), 1);

    // A file in a folder cannot be signed.
    let files = Agent::new("registry-files")
        .set("components.signatures.require_signature", json!(["*"]))
        .through(TRANSFORMER, &["file:///dev/null"]);
    files.execute(&["check"]).code(78).reports("requires a signature, which a file");
    let files = files.set("components.signatures.allow_unsigned", json!(["rate_of_change"]));
    files.execute(&["check"]).code(0);
}
