//! Other programs read what is pushed and signed here, and the other way round: oras, OpenSSL. `wkg`
//! is asked by `make oracles`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::lying::{Artifact, LyingRegistry, sha256};
use super::service::{PASSWORD, RegistryService, USER};
use super::{key_pair, push, version};
use crate::harness::{Agent, Folder, component, root};

const NAME: &str = "rate_of_change";

/// Runs oras; returns what it prints.
fn oras(registry: &RegistryService, action: &str, target: &str, path: &Path) -> String {
    let python = root().join("target/tools/oras/bin/python");
    assert!(python.exists(), "oras is missing; install it with: scripts/oras");
    let output = Command::new(python)
        .arg(root().join("tests/registry/judge.py"))
        .args([action, &registry.host(), target])
        .arg(path)
        .args([USER, PASSWORD])
        .arg(registry.folder.at("certificate.pem"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn oras_reads_what_is_pushed_here_and_writes_what_is_pulled_here() {
    let registry = RegistryService::start();
    let agent = registry.known_to(Agent::new("registry-oras"));
    let file = component(NAME);
    push(&agent, &file, &registry.reference("ours", "1"), None);
    let folder = Folder::new("registry-oras-out");
    let printed = oras(&registry, "pull", "ours:1", folder.path());
    assert_eq!(fs::read(folder.at("rate_of_change.wasm")).unwrap(), fs::read(&file).unwrap());
    let manifest: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config = registry.stored(manifest["config"]["digest"].as_str().unwrap());
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["layerDigests"], json!([manifest["layers"][0]["digest"]]));
    let exports = config["component"]["exports"].to_string();
    assert!(exports.contains("nephometer:metering/transform@0.2.0"), "{config}");

    let copy = folder.at("copy.wasm");
    fs::copy(&file, &copy).unwrap();
    oras(&registry, "push", "theirs:1", &copy);
    let output = agent.folder.at("theirs.wasm");
    let reference = registry.reference("theirs", "1");
    let pull = ["component", "pull", &reference, "--output", output.to_str().unwrap()];
    agent.execute(&pull).code(0);
    assert_eq!(fs::read(output).unwrap(), fs::read(&file).unwrap());
}

/// The payload and the signature that a registry has for a manifest, as cosign finds them.
fn signature(registry: &RegistryService, repository: &str, digest: &str) -> (Vec<u8>, String) {
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let manifest = registry.stored(&registry.tagged(repository, &tag));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = registry.stored(layer["digest"].as_str().unwrap());
    let signature = &layer["annotations"]["dev.cosignproject.cosign/signature"];
    (payload, signature.as_str().unwrap().to_owned())
}

#[test]
fn openssl_verifies_our_signatures_and_we_those_of_openssl() {
    let registry = RegistryService::start();
    let agent = registry.known_to(Agent::new("registry-openssl"));
    let (key, _) = key_pair(&agent, "builder");
    let reference = registry.reference("rate", "1");
    let digest = push(&agent, &version(&agent.folder, NAME, "1"), &reference, Some(&key));
    let (payload, encoded) = signature(&registry, "rate", &digest);
    let read: Value = serde_json::from_slice(&payload).unwrap();
    let critical = &read["critical"];
    assert_eq!(critical["image"]["docker-manifest-digest"], *digest);
    assert_eq!(critical["type"], "cosign container image signature");
    let identity = format!("{}/rate", registry.host());
    assert_eq!(critical["identity"]["docker-reference"], *identity);
    let folder = &agent.folder;
    folder.write("payload", &payload);
    folder.write("encoded", &encoded);
    let script = "\
openssl base64 -d -A -in encoded -out signature
openssl dgst -sha256 -verify builder.pub -signature signature payload
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out theirs
openssl pkey -in theirs -pubout -out theirs.pub
chmod 600 theirs";
    let ran = Command::new("sh").args(["-ec", script]).current_dir(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("Verified OK"));

    let theirs = folder.at("theirs").display().to_string();
    agent.execute(&["component", "sign", &reference, "--key", &theirs]).code(0);
    let public = folder.at("theirs.pub").display().to_string();
    let verify = ["component", "verify", &reference, "--key", &public];
    agent.execute(&verify).code(0).reports("theirs.pub");
}

// Newer versions of cosign do not write the tag. The registry of Debian has no list of referrers.
#[test]
fn signatures_are_also_found_among_referrers() {
    let real = RegistryService::start();
    let author = real.known_to(Agent::new("registry-author"));
    let (key, _) = key_pair(&author, "builder");
    let file = version(&author.folder, NAME, "1");
    let digest = push(&author, &file, &real.reference("price", "1"), Some(&key));
    let (payload, encoded) = signature(&real, "price", &digest);
    let manifest = real.stored(&digest);

    let signed = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2},
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": sha256(&payload),
            "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": encoded},
        }],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
        },
    });
    let signed = signed.to_string();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "digest": sha256(signed.as_bytes()),
            "size": signed.len(),
        }],
    });
    let public = author.folder.at("builder.pub").display().to_string();
    for list in [format!("referrers/{digest}"), format!("manifests/{}", digest.replace(':', "-"))] {
        let registry = LyingRegistry::start();
        let agent = registry.known_to(Agent::new("registry-referrers"));
        let artifact =
            Artifact { digest: digest.clone(), manifest: manifest.clone(), layer: String::new() };
        registry.artifact("1", &artifact, b"");
        let reference = registry.reference("1");
        let verify = ["component", "verify", &reference, "--key", &public];
        agent.execute(&verify).code(1).reports("it is not signed");
        registry.content(&format!("manifests/{}", sha256(signed.as_bytes())), signed.clone());
        registry.content(&format!("blobs/{}", sha256(&payload)), payload.clone());
        registry.content(&list, index.to_string());
        agent.execute(&verify).code(0).reports("builder.pub");
    }
}
