//! Tools for authors: `nephometer component test`, `check` and `bench`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Agent, Ended, component, root, text};

fn test(agent: &Agent, component: &Path, fixture: &str, more: &[&str]) -> Ended {
    let arguments = ["component", "test", component.to_str().unwrap(), fixture];
    agent.execute(&[&arguments[..], more].concat())
}

/// Writes a fixture of `delta` into the folder of the agent: three samples and a saved state
/// between them.
fn delta(agent: &Agent, out: &Value) -> String {
    let sample = |volume: i64, time: &str| json!({"volume": volume, "timestamp": time});
    let fixture = json!({
        "about": "A delta goes on behind its state.",
        "options": {"target": {"name": "growth"}},
        "defaults": {"name": "cpu", "type": "cumulative", "unit": "ns", "resource_id": "r"},
        "steps": [
            {"batch": [sample(5, "2026-03-01T10:00:00"), sample(7, "2026-03-01T10:00:01")], "out": out,
             "log": ["debug: dropping samples with no predecessor: cpu of r"]},
            {"state": true},
            {"batch": [sample(4, "2026-03-01T10:00:00")], "out": [],
             "log": ["warn: dropping out of time order samples: cpu of r"]},
            {"flush": "2026-03-01T10:00:01", "out": []},
            {"batch": [sample(9, "2026-03-01T10:00:02")], "out": [{"name": "growth", "volume": 2}]},
        ],
    });
    let path = agent.folder.write("delta.json", fixture.to_string());
    path.to_str().unwrap().to_owned()
}

#[test]
fn rust_tariff_passes_the_fixtures_of_all_languages() {
    let agent = Agent::new("fixtures-tariff");
    let tariff = root().join("target/languages/tariff-rust.wasm");
    let fixtures = root().join("guest-examples/tariff/fixtures");
    let ended = test(&agent, &tariff, fixtures.to_str().unwrap(), &[]).code(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", ended.stdout);
    for line in lines {
        assert!(line.starts_with("ok: ") && line.contains(" calls, "), "{line}");
        // Regression: 0 calls were reported if the instance had ended before its cost was read.
        assert!(line.contains("wrong-options") || !line.contains("(0 calls"), "{line}");
    }
}

#[test]
fn differences_are_reported_per_step() {
    let agent = Agent::new("fixtures-differs");
    let good = delta(&agent, &json!([{"name": "growth", "volume": 2.0, "type": "delta"}]));
    test(&agent, &component("delta"), &good, &[]).code(0);
    let wrong = delta(&agent, &json!([{"name": "growth", "volume": 3}, {"name": "more"}]));
    let ended =
        test(&agent, &component("delta"), &wrong, &[]).code(1).reports("1 of 1 fixtures failed");
    for line in [
        "  step 1: sample 1: volume is 2, expected 3",
        "  step 1: missing sample: {\"name\":\"more\"}",
    ] {
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    }
}

#[test]
fn a_fixture_can_be_brought_up_to_date() {
    let agent = Agent::new("fixtures-update");
    let path = delta(&agent, &json!([]));
    let delta = component("delta");
    assert!(test(&agent, &delta, &path, &["--update"]).code(0).stdout.starts_with("updated: "));
    test(&agent, &delta, &path, &[]).code(0);
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("{\"name\": \"growth\", \"type\": \"delta\""), "{written}");
    assert!(written.contains("\"state\": true"), "{written}");
    assert!(test(&agent, &delta, &path, &["--update"]).code(0).stdout.starts_with("unchanged: "));
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
}

// Regression: a failing component left a half-updated fixture, and the exit code was 0.
#[test]
fn a_component_that_fails_updates_nothing() {
    let agent = Agent::new("fixtures-update-fails");
    let fixture = json!({"options": {"mode": "broken"}, "steps": [{"out": [], "batch": [
        {"name": "cpu", "type": "gauge", "unit": "x", "volume": 1, "resource_id": "r", "timestamp": "2026-03-01T10:00:00"},
    ]}]});
    let path = agent.folder.write("broken.json", fixture.to_string());
    let ended =
        test(&agent, &component("misbehaving"), path.to_str().unwrap(), &["--update"]).code(1);
    assert!(ended.stdout.starts_with("failed: "), "{}", ended.stdout);
    assert_eq!(fs::read_to_string(&path).unwrap(), fixture.to_string());
}

#[test]
fn rejections_failures_and_invalid_fixtures_are_reported() {
    let agent = Agent::new("fixtures-refusals");
    let sample = "{name: cpu, type: gauge, unit: x, volume: 1, resource_id: r, timestamp: '2026-03-01T10:00:00'}";
    let fixture =
        |text: &str| agent.folder.write("fixture.yaml", text).to_str().unwrap().to_owned();
    let misbehaving = component("misbehaving");
    let refused = fixture(&format!(
        "options: {{mode: reject}}\nsteps: [{{batch: [{sample}], refusal: this mode rejects}}]\n"
    ));
    test(&agent, &misbehaving, &refused, &[]).code(0);
    let taken =
        fixture(&format!("options: {{mode: reject}}\nsteps: [{{batch: [{sample}], out: []}}]\n"));
    let ended = test(&agent, &misbehaving, &taken, &[]).code(1);
    assert!(
        ended.stdout.contains("step 1: the batch was refused: this mode rejects"),
        "{}",
        ended.stdout
    );

    let options =
        fixture("options: {target: {scale: 'volume +'}}\nerrors: [[/target/scale, nonsense]]\n");
    let ended = test(&agent, &component("unit_conversion"), &options, &[]).code(1);
    assert!(ended.stdout.contains("missing error: /target/scale: nonsense"), "{}", ended.stdout);
    assert!(ended.stdout.contains("unexpected error: /target/scale: "), "{}", ended.stdout);

    let unknown = fixture("steps: [{batch: [], otu: []}]\n");
    test(&agent, &misbehaving, &unknown, &[]).code(64).reports("unknown field `otu`");
    let two = fixture("steps: [{batch: [], flush: '2026-03-01T10:00:00'}]\n");
    test(&agent, &misbehaving, &two, &[]).code(64).reports("step 1: requires exactly one of");
    test(&agent, &misbehaving, &two, &["--update"]).code(64);
}

#[test]
fn check_reports_the_same_as_the_agent() {
    let agent = Agent::new("fixtures-check");
    let check = |name: &str, more: &[&str]| {
        let path = component(name);
        agent.execute(&[&["component", "check", path.to_str().unwrap()], more].concat())
    };
    let well =
        check("rate_of_change", &["--options", "{\"target\": {\"scale\": \"1 / 2\"}}"]).code(0);
    assert!(well.stdout.starts_with("ok: transformer rate_of_change "), "{}", well.stdout);
    check("rate_of_change", &["--options", "{\"target\": {\"scale\": \"1 /\"}}"])
        .code(78)
        .reports("/target/scale");
    let well = check("http", &[]).code(0);
    assert!(well.stdout.starts_with("ok: publisher http "), "{}", well.stdout);
    let nothing = agent.folder.write("nothing.wasm", b"no wasm");
    let nothing = ["component", "check", nothing.to_str().unwrap()];
    agent.execute(&nothing).code(78).reports("not a WebAssembly component");
}

#[test]
fn bench_prints_the_cost_per_row() {
    let agent = Agent::new("fixtures-bench");
    let path = component("rate_of_change");
    let arguments =
        ["component", "bench", path.to_str().unwrap(), "--rows", "1,40", "--time", "50ms"];
    let ended = agent.execute(&arguments).code(0);
    let row: Vec<&str> = ended
        .stdout
        .lines()
        .rfind(|line| line.trim().starts_with("40 "))
        .unwrap()
        .split_whitespace()
        .collect();
    let [rows, nanos, batches, out] = row[..] else { panic!("{}", ended.stdout) };
    assert_eq!((rows, out), ("40", "40"), "every series has a predecessor");
    assert!(nanos.parse::<f64>().unwrap() > 0.0 && batches.parse::<usize>().unwrap() >= 3);
    assert!(ended.stdout.contains("peak memory: "), "{}", ended.stdout);
}

#[test]
fn profile_names_the_functions_of_the_component() {
    let agent = Agent::new("fixtures-profile");
    let path = component("rate_of_change");
    let run = |more: &[&str]| {
        let fixed = ["component", "profile", path.to_str().unwrap()];
        agent.execute(&[&fixed, more].concat())
    };
    let done = run(&["--time", "1s", "--output", "a.json", "--json"]).code(0);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let functions = found["functions"].as_array().unwrap();
    assert!(found["stacks"].as_u64().unwrap() > 20, "{found}");
    let share = |one: &Value, name: &str| one[name].as_f64().unwrap();
    let of = |function: &&Value| text(function, "function").contains("RateOfChange as ");
    let transform = functions.iter().find(of).unwrap();
    assert!(share(transform, "total") > 0.1, "{found}");
    let own: f64 = functions.iter().map(|one| share(one, "self")).sum();
    assert!((own - 1.0).abs() < 1e-9, "{own}");
    // In the format that the Firefox Profiler reads.
    let file: Value =
        serde_json::from_slice(&std::fs::read(agent.folder.at("a.json")).unwrap()).unwrap();
    let stacks = file["threads"][0]["samples"]["stack"].as_array().unwrap();
    assert_eq!(stacks.len() as u64, found["stacks"]);
    run(&["--time", "1ms", "--rows", "1"]).code(70).reports("did not run long enough");
    run(&["--time", "200ms", "--output", "/proc/none"]).code(70).reports("/proc/none");
}
