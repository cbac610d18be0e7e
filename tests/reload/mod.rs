//! Components replaced while the agent runs: takeover with the state, rejection, rollback and
//! repair. A component that cannot take over leaves the running one in place.

mod consistency;
mod dead_letters;
mod guard;
mod plan;
mod shadow;
mod usage;

pub(crate) use plan::write_unnoticed;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Agent, Ended, PATIENCE, Running, component, eventually, number, text};

/// An agent with one source, a sink `out` with these transformers, and a sink `raw` without any,
/// each to a file.
fn agent(name: &str, transformers: &str) -> Agent {
    let agent = Agent::new(&format!("reload-{name}")).set("shutdown_grace", "60s");
    fs::create_dir(agent.folder.at("components")).unwrap();
    let folder = agent.folder.at("components");
    let agent = agent.set("components.path", json!([folder]));
    pipeline(&agent, transformers);
    agent
}

fn pipeline(agent: &Agent, transformers: &str) {
    let (out, raw) = (agent.folder.at("out"), agent.folder.at("raw"));
    agent.folder.write(
        "pipeline.yaml",
        format!(
            "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [out, raw]}}]\n\
             sinks:\n\
             - {{name: out, transformers: {transformers}, publishers: ['file://{}?json']}}\n\
             - {{name: raw, publishers: ['file://{}?json']}}\n",
            out.display(),
            raw.display()
        ),
    );
}

/// Installs a component by a rename.
fn install(agent: &Agent, name: &str, bytes: &[u8]) {
    let beside = agent.folder.write(&format!("components/.{name}.new"), bytes);
    fs::rename(beside, agent.folder.at(&format!("components/{name}.wasm"))).unwrap();
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(component(name)).unwrap()
}

/// The same component with other bytes: a custom section that nobody reads.
pub(crate) fn variant(bytes: &[u8], number: usize) -> Vec<u8> {
    let content = format!("\u{4}note{number:06}");
    let mut other = bytes.to_vec();
    other.extend([0, u8::try_from(content.len()).unwrap()]);
    other.extend(content.as_bytes());
    other
}

/// The samples of a file. A line that a kill has truncated is skipped.
fn samples(agent: &Agent, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(agent.folder.at(file)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn counts(agent: &Agent) -> Vec<f64> {
    let all = samples(agent, "out");
    all.iter().filter(|sample| text(sample, "name") == "count").map(number).collect()
}

/// Waits for `wanted` log lines with this message, and returns them.
fn logged(running: &Running, message: &str, wanted: usize) -> Vec<Value> {
    eventually(&format!("{wanted} times {message:?}"), PATIENCE, || {
        let lines = running.logged(message);
        (lines.len() >= wanted).then_some(lines)
    })
}

/// Runs a command against the running agent.
pub(crate) fn command(agent: &Agent, arguments: &[&str]) -> Ended {
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
    process.args(arguments).args(["--socket", "agent.sock"]).current_dir(agent.folder.path());
    agent.start(process, None).ended(PATIENCE)
}

fn status(agent: &Agent, sink: &str) -> Value {
    let ended = command(agent, &["status", "--json"]).code(0);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|one| one["sink"] == sink).unwrap().clone()
}

/// Asserts that no sample is missing or duplicated, and no state lost: after each polling cycle the
/// count is the number of all samples so far.
fn check_counts(agent: &Agent) {
    let counts = counts(agent);
    let published = samples(agent, "raw").len();
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    assert_eq!(counts.last().map(|count| count.round().to_string()), Some(published.to_string()));
    let out = samples(agent, "out").len() - counts.len();
    assert_eq!(out, published, "every sample passed once");
}

const COUNTING: &str = "[{name: counting, parameters: {}}]";

#[test]
fn a_component_is_replaced_and_keeps_its_state_however_its_file_changes() {
    let agent = agent("ways", COUNTING);
    let file = agent.folder.at("components/counting.wasm");
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    logged(&running, "transformers replaced", 1);

    // In place.
    fs::write(&file, bytes("counting-v2")).unwrap();
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(1);
    // By a rename, as package managers and `install` do.
    install(&agent, "counting", &variant(&bytes("counting-v2"), 1));
    logged(&running, "transformers replaced", 3);
    running.wait_for_cycles(1);
    // By another link.
    let elsewhere = agent.folder.write("elsewhere.wasm", variant(&bytes("counting-v2"), 2));
    let link = agent.folder.at("components/.link");
    symlink(&elsewhere, &link).unwrap();
    fs::rename(&link, &file).unwrap();
    logged(&running, "transformers replaced", 4);
    running.wait_for_cycles(1);
    // The target of the link: only scanning notices that.
    fs::write(&elsewhere, variant(&bytes("counting-v2"), 3)).unwrap();
    logged(&running, "transformers replaced", 5);
    running.wait_for_cycles(2);
    assert_eq!(status(&agent, "out")["reloads"], 5);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_component_that_cannot_take_over_is_rejected_with_the_reason() {
    let agent = agent("refused", COUNTING);
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    // Until a state is saved. Before that a component that reads no state can process all batches.
    running.wait_for_cycles(12);
    let good = bytes("counting");
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("not a component", b"no wasm".to_vec(), "not a WebAssembly component"),
        ("a truncated one", good[..good.len() / 2].to_vec(), "cannot be compiled"),
        ("a trap in configure", bytes("counting-bad"), "this version traps in configure"),
        ("another state", bytes("counting-v3"), "on_state_mismatch: reset"),
        ("another world", bytes("statsd"), "is a publisher"),
    ];
    for (nth, (what, bytes, reason)) in (1..).zip(&cases) {
        install(&agent, "counting", bytes);
        let lines = logged(&running, "reload refused", nth);
        let logged = lines.last().unwrap()["reason"].as_str().unwrap().to_owned();
        assert!(logged.contains(reason), "{what}: {logged}");
        let status = command(&agent, &["status"]).code(0);
        assert!(status.stdout.contains(reason), "{what}: {}", status.stdout);
    }
    running.wait_for_cycles(1);
    let one = status(&agent, "out");
    assert_eq!((&one["state"], &one["reloads"]), (&json!("running"), &json!(1)), "{one}");
    // Asked for, it is tried again, and refused again with an exit code.
    command(&agent, &["reload"]).code(78).reports("refused: ");
    install(&agent, "counting", &bytes("counting-v2"));
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn with_reset_a_component_that_rejects_the_state_starts_without_one() {
    let agent =
        agent("reset", COUNTING).set("components.by_name.counting.on_state_mismatch", "reset");
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    // A state is saved, which the new component rejects.
    running.wait_for_cycles(11);
    install(&agent, "counting", &bytes("counting-v3"));
    logged(&running, "transformer state reset", 1);
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    let counts = counts(&agent);
    assert!(
        counts.windows(2).any(|pair| pair[0] > pair[1]),
        "it did not start from zero: {counts:?}"
    );
}

#[test]
fn a_new_component_that_traps_is_rolled_back() {
    let agent = agent("rollback", COUNTING);
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    install(&agent, "counting", &bytes("counting-crash"));
    logged(&running, "transformers replaced", 2);
    let back = logged(&running, "transformers rolled back", 1);
    assert!(back[0]["reason"].as_str().unwrap().contains("this version traps at this batch"));
    running.wait_for_cycles(3);
    let one = status(&agent, "out");
    assert_eq!((&one["state"], &one["rollbacks"]), (&json!("running"), &json!(1)), "{one}");
    // The failed component is not tried again, a different one is.
    assert_eq!(running.logged("transformers replaced").len(), 2);
    install(&agent, "counting", &bytes("counting-v2"));
    logged(&running, "transformers replaced", 3);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_new_component_repairs_a_failing_sink() {
    let agent = agent("repair", COUNTING);
    // Running from the start, so that there is no rollback candidate.
    install(&agent, "counting", &bytes("counting-crash"));
    let mut running = agent.run();
    logged(&running, "component failed twice on a batch", 1);
    assert_eq!(status(&agent, "out")["state"], "failing");
    install(&agent, "counting", &bytes("counting"));
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn polling_starts_before_components_are_compiled() {
    let agent = agent("cold", COUNTING);
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(1);
    logged(&running, "component loaded", 1);
    let at = |message: &str| {
        let time = running.logged(message)[0]["timestamp"].as_str().unwrap().to_owned();
        assert!(!time.is_empty());
        time
    };
    assert!(
        at("polling cycle finished") < at("component loaded"),
        "polling waited for the compiler"
    );
    assert_eq!(running.logged("component loaded")[0]["cached"], false);
    running.stop().code(0);
    check_counts(&agent);
    // Warm: nothing is compiled.
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let loaded = ended.logged("component loaded");
    assert!(!loaded.is_empty() && loaded.iter().all(|line| line["cached"] == true), "{loaded:?}");
    check_counts(&agent);
}
