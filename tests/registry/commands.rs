//! The commands: what they print, write and refuse.

use std::fs;

use serde_json::json;

use super::service::RegistryService;
use super::{document, key_pair, push, version};
use crate::harness::{Agent, component};

const NAME: &str = "rate_of_change";

/// An agent that takes its component from a tag, with one key that counts.
fn configured(registry: &RegistryService, from: &str, pem: &str) -> Agent {
    registry
        .known_to(Agent::new("registry-commands"))
        .set(&format!("components.by_name.{NAME}.from"), from)
        .set("components.signatures.keys.builder.pem", pem)
}

#[test]
fn a_component_is_pushed_signed_pulled_locked_and_updated() {
    let registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let reference = registry.reference("team/rate", "stable");
    let first = version(&author.folder, NAME, "1");
    let digest = push(&author, &first, &reference, Some(&key));
    // The same file is the same artifact.
    let again = author.execute(&["component", "push", first.to_str().unwrap(), &reference]).code(0);
    again.reports(&digest).reports("which the registry had");

    let host = configured(&registry, &reference, &pem);
    let listed = document(&host.execute(&["component", "ls", "--json"]).code(0));
    assert_eq!(listed[0]["state"], "unresolved", "{listed}");
    let pulled = document(&host.execute(&["component", "pull", "--json"]).code(0));
    assert_eq!(pulled[0]["digest"], *digest);
    assert_eq!(pulled[0]["key"], "builder");
    let file = pulled[0]["file"].as_str().unwrap();
    assert_eq!(fs::read(file).unwrap(), fs::read(&first).unwrap());
    let lock: serde_json::Value =
        serde_json::from_slice(&fs::read(host.folder.at("components.lock")).unwrap()).unwrap();
    let expected = json!({"from": reference, "digest": digest});
    assert_eq!(lock["components"][NAME], expected);
    host.execute(&["component", "ls"]).code(0).reports("ready").reports(&digest[7..19]);

    // The tag moves, the host does not.
    let second = version(&author.folder, NAME, "2");
    let newer = push(&author, &second, &reference, Some(&key));
    assert_ne!(newer, digest);
    let pulled = document(&host.execute(&["component", "pull", "--json"]).code(0));
    assert_eq!(pulled[0]["digest"], *digest);
    let plan = host.execute(&["component", "update", "--plan"]).code(0);
    plan.reports(&format!("{} -> {}", &digest[7..19], &newer[7..19])).reports("ok: 1 would change");
    assert!(fs::read_to_string(host.folder.at("components.lock")).unwrap().contains(&digest));
    let updated = document(&host.execute(&["component", "update", "--json"]).code(0));
    assert_eq!(updated[0]["before"], *digest);
    assert_eq!(updated[0]["digest"], *newer);
    assert!(fs::read_to_string(host.folder.at("components.lock")).unwrap().contains(&newer));
    host.execute(&["component", "update"]).code(0).reports("unchanged").reports("ok: 0 changed");
    let verified = document(&host.execute(&["component", "verify", NAME, "--json"]).code(0));
    assert_eq!((&verified["digest"], &verified["key"]), (&json!(newer), &json!("builder")));
}

#[test]
fn a_pin_is_exact_and_a_pull_into_a_file_needs_no_configuration() {
    let registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let reference = registry.reference("rate", "1");
    let first = version(&author.folder, NAME, "1");
    let digest = push(&author, &first, &reference, Some(&key));
    push(&author, &version(&author.folder, NAME, "2"), &reference, Some(&key));

    let pinned = format!("{reference}@{digest}");
    let host = configured(&registry, &pinned, &pem);
    let pulled = document(&host.execute(&["component", "pull", "--json"]).code(0));
    assert_eq!(pulled[0]["digest"], *digest);
    assert!(!host.folder.at("components.lock").exists());
    host.execute(&["component", "update"]).code(0).reports("pinned to");

    let output = author.folder.at("out.wasm");
    let pull = ["component", "pull", &pinned, "--output", output.to_str().unwrap()];
    author.execute(&pull).code(0).reports(&digest).reports("not signed by a known key");
    assert_eq!(fs::read(output).unwrap(), fs::read(first).unwrap());
    let absent = registry.reference("rate", "9");
    author.execute(&["component", "pull", &absent]).code(1).reports("does not exist; check");
}

#[test]
fn unsigned_and_wrongly_signed_components_are_refused_and_not_locked() {
    let registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let (key, pem) = key_pair(&author, "builder");
    let (foreign, _) = key_pair(&author, "foreign");
    let reference = registry.reference("rate", "1");
    let digest = push(&author, &version(&author.folder, NAME, "1"), &reference, None);

    let host = configured(&registry, &reference, &pem);
    host.execute(&["component", "pull"]).code(1).reports("it is not signed; sign it");
    assert!(!host.folder.at("components.lock").exists());
    let sign = |key: &std::path::Path| {
        let key = key.to_str().unwrap();
        author.execute(&["component", "sign", &reference, "--key", key]).code(0).reports(&digest);
    };
    sign(&foreign);
    host.execute(&["component", "pull"]).code(1).reports("none of its signatures (1) is by a key");
    host.execute(&["component", "verify", &reference]).code(1).reports("none of its signatures");
    // A further signature, beside the other one.
    sign(&key);
    host.execute(&["component", "pull"]).code(0).reports("signed by builder");
    host.execute(&["component", "verify", &reference]).code(0).reports("signed by builder");
    let public = author.folder.at("foreign.pub").display().to_string();
    host.execute(&["component", "verify", NAME, "--key", &public]).code(0).reports("foreign.pub");

    // Revoked by name: refused offline, from the folder.
    let host = host.set("components.signatures.keys.builder.revoked", true);
    host.execute(&["component", "verify", NAME]).code(1).reports("which is revoked");
    host.execute(&["component", "ls"]).code(0).reports("refused").reports("which is revoked");
    let host = host.set("components.signatures.allow_unsigned", json!(["rate_*"]));
    host.execute(&["component", "ls"]).code(0).reports("ready");
}

#[test]
fn logins_and_certificates_are_required_and_named() {
    let registry = RegistryService::start();
    let author = registry.known_to(Agent::new("registry-author"));
    let file = component(NAME).display().to_string();
    let reference = registry.reference("rate", "1");
    let at = format!("components.registries.{}", registry.host());
    let wrong = author.set(&format!("{at}.password"), "wrong");
    let push = ["component", "push", file.as_str(), &reference];
    let refused = wrong.execute(&push).code(1).reports("status 401").reports("check the login");
    assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    let untrusted = Agent::new("registry-untrusted");
    untrusted.execute(&push).code(69).reports("cannot connect to localhost");
    // This program is not a component.
    let known = registry.known_to(Agent::new("registry-author"));
    let program = env!("CARGO_BIN_EXE_nephometer");
    known.execute(&["component", "push", program, &reference]).code(78).reports("component");
    known.execute(&["component", "pull", "oci://x"]).code(64).reports("write oci://HOST");
    known.execute(&["component", "pull", "price"]).code(64).reports("has no `from`");
}

#[test]
fn a_difference_is_shown_before_anything_changes() {
    let agent = Agent::new("registry-diff");
    let (one, other) = (component(NAME), component("influx"));
    let diff = ["component", "diff", one.to_str().unwrap(), other.to_str().unwrap()];
    let shown = agent.execute(&diff).code(0);
    shown
        .reports("kind: transformer -> publisher")
        .reports("network, which needs grants: none -> HTTP")
        .reports("imports wasi:http/")
        .reports("state version: ");
    let newer = version(&agent.folder, NAME, "2");
    let same = ["component", "diff", one.to_str().unwrap(), newer.to_str().unwrap(), "--json"];
    let document = document(&agent.execute(&same).code(0));
    assert_eq!(document["same"], false);
    let differences = document["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{document}");
    assert!(differences[0].as_str().unwrap().starts_with("size: "));
}
