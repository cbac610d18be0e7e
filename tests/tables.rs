//! Tables for people, and JSON for programs, of the commands that list things.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Agent, PATIENCE, closed_port, component, eventually};

fn parsed(agent: &Agent, arguments: &[&str]) -> Value {
    let ended = agent.execute(arguments).code(0);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// The header and the first row of a table.
fn table(agent: &Agent, arguments: &[&str]) -> (Vec<String>, String) {
    let text = agent.execute(arguments).code(0).stdout;
    assert!(!text.contains('\u{1b}'), "colours without a terminal: {text:?}");
    let header = text.lines().next().unwrap();
    let header = header.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    (header.map(str::to_owned).collect(), text.lines().nth(1).unwrap_or_default().to_owned())
}

#[test]
fn a_running_agent_and_its_store_are_listed() {
    let agent = Agent::new("tables-agent").set("shutdown_grace", "1s");
    let url = format!("notifier://guest:guest@127.0.0.1:{}/?topic=tables", closed_port());
    let agent =
        agent.through("[{name: rate_of_change, parameters: {target: {name: cpu_util}}}]", &[&url]);
    let mut running = agent.run();
    running.wait_for_cycles(4);
    let status = |json: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nephometer"));
        command.args(["component", "status", "--socket", "agent.sock"]);
        command.args(json.then_some("--json")).current_dir(agent.folder.path());
        agent.start(command, None).ended(PATIENCE).code(0).stdout
    };
    // A slow machine is still compiling.
    let text = eventually("a component that was called", PATIENCE, || {
        Some(status(false)).filter(|text| text.contains("out/0") && text.contains(" ms "))
    });
    let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[..4], ["PLACE", "COMPONENT", "STATE", "CALLS"]);
    let row = text.lines().nth(1).unwrap();
    assert!(row.starts_with("out/0") && row.contains(" ms ") && row.contains("MiB"), "{text}");
    let all: Value = serde_json::from_str(&status(true)).unwrap();
    assert!(all[0]["calls"].as_u64().unwrap() > 0 && all[0]["cpu_seconds"].is_number());
    assert_eq!(parsed(&agent, &["reload", "--json"]), json!({"changes": [], "problems": []}));
    running.stop().code(69);

    let (header, row) = table(&agent, &["spool", "ls"]);
    let expected = ["SPOOL", "ENVELOPES", "SAMPLES", "SIZE", "REJECTED", "OLDEST", "PUBLISHER"];
    assert_eq!(header, expected);
    let spools = parsed(&agent, &["spool", "ls", "--json"]);
    let name = spools[0]["spool"].as_str().unwrap();
    assert!(row.starts_with(name) && row.contains("KiB"), "{row}");
    let requeued = parsed(&agent, &["spool", "requeue", name, "--json"]);
    assert!(requeued["envelopes"].is_number() && requeued["samples"].is_number(), "{requeued}");

    let (header, row) = table(&agent, &["keys", "ls"]);
    assert_eq!(header, ["ID", "PUBLIC KEY", "CREATED", "REPLACED", "REVOKED"]);
    let keys = parsed(&agent, &["keys", "ls", "--json"]);
    assert!(row.starts_with(keys[0]["id"].as_str().unwrap()), "{row}");
    let rotated = parsed(&agent, &["keys", "rotate", "--json"]);
    let revoked = parsed(&agent, &["keys", "revoke", rotated["id"].as_str().unwrap(), "--json"]);
    assert!(revoked["revoked"].is_string(), "{revoked}");
}

#[test]
fn gaps_and_dead_letters_are_listed() {
    let folder = Agent::new("tables-letters");
    let components = folder.folder.at("components");
    fs::create_dir(&components).unwrap();
    fs::copy(component("misbehaving"), components.join("misbehaving.wasm")).unwrap();
    let agent = folder
        .set("components.path", json!([components]))
        .set("components.by_name.misbehaving.on_error", "drop")
        .through("[{name: misbehaving, parameters: {mode: trap-transform}}]", &["test://"]);
    assert!(agent.execute(&["dead-letters", "ls"]).code(0).stdout == "no dead letters\n");
    let running = agent.run();
    let letters = || {
        let letters = parsed(&agent, &["dead-letters", "ls", "--json"]);
        letters.as_array().is_some_and(|letters| !letters.is_empty()).then_some(letters)
    };
    let letters = eventually("a dead letter", PATIENCE, letters);
    assert_eq!((&letters[0]["number"], &letters[0]["sink"]), (&json!(1), &json!("out")));
    assert!(letters[0]["samples"].as_u64().unwrap() > 0 && letters[0]["reason"].is_string());
    let (header, row) = table(&agent, &["dead-letters", "ls"]);
    let expected = ["NUMBER", "TIME", "SINK", "PLACE", "COMPONENT", "SAMPLES", "REASON"];
    assert_eq!(header, expected);
    assert!(row.starts_with("1 ") && row.contains("misbehaving@"), "{row}");
    running.stop();
    let gaps = parsed(&agent, &["gaps", "--json"]);
    let text = agent.execute(&["gaps"]).code(0).stdout;
    let rows = text.lines().filter(|line| !line.starts_with("FROM")).count();
    assert_eq!(rows, gaps.as_array().unwrap().len().max(1), "{text}");
}

#[test]
fn meters_and_components_are_described() {
    let agent = Agent::new("tables-described");
    let meters = parsed(&agent, &["meters", "--json"]);
    let cpu = meters.as_array().unwrap().iter().find(|one| one["meter"] == "cpu").unwrap();
    assert_eq!((&cpu["unit"], &cpu["running"]), (&json!("ns"), &cpu["domains"]));
    let (header, _) = table(&agent, &["meters"]);
    assert_eq!(header, ["METER", "TYPE", "UNIT", "GIVEN", "FROM"]);
    let file = component("rate_of_change").display().to_string();
    let about = parsed(&agent, &["component", "inspect", &file, "--json"]);
    assert_eq!((&about["name"], &about["kind"]), (&json!("rate_of_change"), &json!("transformer")));
    assert!(about["options_schema"]["properties"]["target"].is_object(), "{about:#}");
    let checked = parsed(&agent, &["component", "check", &file, "--json"]);
    assert_eq!(checked["version"], about["version"]);
}
