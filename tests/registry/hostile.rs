//! Registries that lie, stall and flood: nothing of it is kept, and no command hangs.

use std::time::{Duration, Instant};

use super::lying::{Artifact, LyingRegistry, Reply};
use crate::harness::{Agent, component};

const CONTENT: &[u8] = b"\0asm\x0d\0\x01\0 not much of a component";

/// Pulls `price:TAG` into a file, which must fail with this text and leave nothing.
fn refused(registry: &LyingRegistry, tag: &str, code: i32, expected: &str) -> String {
    let agent = registry.known_to(Agent::new("registry-hostile"));
    let output = agent.folder.at("out.wasm");
    let reference = registry.reference(tag);
    let pull = ["component", "pull", &reference, "--output", output.to_str().unwrap()];
    let ended = agent.execute(&pull).code(code).reports(expected);
    assert!(!output.exists());
    ended.stderr
}

#[test]
fn content_that_is_not_what_its_digest_names_is_not_kept() {
    let registry = LyingRegistry::start();
    let artifact = Artifact::new(CONTENT, CONTENT.len() as u64);
    registry.artifact("blob", &artifact, b"something else of the same length...");
    let other = [b"x".as_slice(), &CONTENT[1..]].concat();
    registry.content(&format!("blobs/{}", artifact.layer), other);
    refused(&registry, "blob", 1, "is not what its digest names");

    let pinned = format!("blob@{}", Artifact::new(b"", 0).digest);
    let named = Artifact::new(b"", 0).digest;
    registry.content(&format!("manifests/{named}"), artifact.manifest.clone());
    refused(&registry, &pinned, 1, "is not what its digest names");

    let lie = vec![format!("Docker-Content-Digest: {named}")];
    registry.set("manifests/header", Reply::Whole(200, lie, artifact.manifest));
    refused(&registry, "header", 1, "is not what its digest names");

    let short = Artifact::new(CONTENT, 5);
    registry.artifact("short", &short, CONTENT);
    refused(&registry, "short", 1, "the manifest has 5");
}

#[test]
fn floods_end_at_their_bounds() {
    let registry = LyingRegistry::start();
    let begun = Instant::now();
    registry.set("manifests/endless", Reply::Endless);
    refused(&registry, "endless", 1, "registry_manifest_bytes");
    registry.set("manifests/announced", Reply::Announced(1 << 40));
    refused(&registry, "announced", 1, "registry_manifest_bytes");

    let large = Artifact::new(CONTENT, 1 << 40);
    registry.artifact("large", &large, CONTENT);
    refused(&registry, "large", 1, "component_bytes");
    let honest = Artifact::new(CONTENT, CONTENT.len() as u64);
    registry.artifact("layer", &honest, CONTENT);
    registry.set(&format!("blobs/{}", honest.layer), Reply::Endless);
    refused(&registry, "layer", 1, "component_bytes");
    registry.set(&format!("blobs/{}", honest.layer), Reply::Announced(1 << 33));
    refused(&registry, "layer", 1, "component_bytes");
    let error = Reply::Whole(500, Vec::new(), vec![b'x'; 1 << 20]);
    registry.set("manifests/error", error);
    refused(&registry, "error", 1, "registry_answer_bytes");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn silence_ends_in_time_and_a_slow_answer_is_read() {
    let registry = LyingRegistry::start();
    let artifact = Artifact::new(CONTENT, CONTENT.len() as u64);
    registry.artifact("stalls", &artifact, CONTENT);
    registry.set(&format!("blobs/{}", artifact.layer), Reply::Announced(CONTENT.len() as u64));
    let begun = Instant::now();
    refused(&registry, "stalls", 69, "no answer within 10s");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());

    registry.set(&format!("blobs/{}", artifact.layer), Reply::Trickle(CONTENT.to_vec()));
    let agent = registry.known_to(Agent::new("registry-slow"));
    agent.execute(&["component", "pull", &registry.reference("stalls")]).code(0);
    assert_eq!(std::fs::read(agent.folder.at("price.wasm")).unwrap(), CONTENT);
}

#[test]
fn redirects_are_bounded_and_take_no_password_along() {
    let (registry, other) = (LyingRegistry::start(), LyingRegistry::start());
    let to =
        |location: String| Reply::Whole(307, vec![format!("Location: {location}")], Vec::new());
    registry.set("manifests/loop", to("/v2/price/manifests/loop".to_owned()));
    refused(&registry, "loop", 1, "registry_redirects");
    registry.set("manifests/file", to("file:///etc/passwd".to_owned()));
    refused(&registry, "file", 1, "a redirect is refused");

    // A layer that is kept elsewhere, as large registries do, behind a login.
    let artifact = Artifact::new(CONTENT, CONTENT.len() as u64);
    let manifest = Reply::Whole(200, Vec::new(), artifact.manifest.clone());
    registry.set("manifests/elsewhere", Reply::Login(Box::new(manifest)));
    let at = format!("http://127.0.0.1:{}/v2/price/layer", other.port);
    let layer = format!("blobs/{}", artifact.layer);
    registry.set(&layer, to(at));
    other.content("layer", CONTENT);
    let agent = registry.known_to(Agent::new("registry-redirected"));
    agent.execute(&["component", "pull", &registry.reference("elsewhere")]).code(0);
    let of = |requests: Vec<(String, Option<String>)>, end: &str| {
        let found = requests.into_iter().filter(|(path, _)| path.ends_with(end));
        found.map(|(_, login)| login).collect::<Vec<_>>()
    };
    // User `u` and password `p`, in Base64 and lower case, once the registry has asked for it.
    let basic = Some("basic dtpw".to_owned());
    assert_eq!(of(registry.requests(), "elsewhere"), [None, basic.clone()]);
    assert_eq!(of(registry.requests(), &layer), [basic]);
    assert_eq!(of(other.requests(), "layer"), [None]);
}

#[test]
fn a_proxy_of_the_environment_is_used_with_its_login() {
    let proxy = LyingRegistry::start();
    let artifact = Artifact::new(CONTENT, CONTENT.len() as u64);
    let base = "http://registry.invalid:5000/v2/price/";
    proxy.proxied(&format!("{base}manifests/1"), artifact.manifest.clone());
    proxy.proxied(&format!("{base}blobs/{}", artifact.layer), CONTENT);
    let variable = format!("http://u:p@127.0.0.1:{}", proxy.port);
    let file = |agent: &Agent| agent.folder.at("price.wasm");
    let pull = ["component", "pull", "oci://registry.invalid:5000/price:1"];
    let agent = Agent::new("registry-proxy")
        .set(
            "components.registries",
            serde_json::json!({"registry.invalid:5000": {"plain_http": true}}),
        )
        .variable("http_proxy", &variable);
    agent.execute(&pull).code(0);
    assert_eq!(std::fs::read(file(&agent)).unwrap(), CONTENT);
    assert!(proxy.requests().iter().all(|(_, login)| login.as_deref() == Some("basic dtpw")));
    let direct = agent.variable("no_proxy", ".invalid");
    direct.execute(&pull).code(69).reports("cannot connect to registry.invalid:5000");
}

#[test]
fn other_artifacts_are_refused_with_what_was_expected() {
    let registry = LyingRegistry::start();
    registry.content("manifests/index", r#"{"schemaVersion": 2, "manifests": []}"#);
    refused(&registry, "index", 1, "an index of several manifests");
    registry.content("manifests/html", "<html>it works</html>");
    refused(&registry, "html", 1, "not in the form of OCI");
    // An agent keeps what runs whatever a registry answers.
    let agent = registry
        .known_to(Agent::new("registry-refused"))
        .set("components.by_name.price.from", registry.reference("html"))
        .set("components.path", component("influx").parent().unwrap().to_str().unwrap())
        .everything_to(&["file:///dev/null"]);
    agent.execute(&["component", "pull"]).code(1).reports("price: ");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.stop().code(0);
}
