//! `nephometer config show`: every value, where it comes from, and no secret.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Agent, PATIENCE};

fn shown(agent: &Agent, arguments: &[&str]) -> Value {
    let ended = agent.execute(&[&["config", "show", "--json"], arguments].concat()).code(0);
    assert!(!ended.stdout.contains("hunter2"), "a secret in:\n{}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn setting<'a>(document: &'a Value, key: &str) -> &'a Value {
    let found = document["settings"].as_array().unwrap().iter().find(|one| one["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {document:#}"))
}

/// An agent whose settings come from everywhere, and the arguments that it needs.
fn from_everywhere(name: &str) -> (Agent, Vec<String>) {
    let agent = Agent::new(name);
    let secret = agent.folder.write("secret", "hunter2-in-a-file\n");
    let conf = agent.folder.write(
        "ceilometer.conf",
        "[DEFAULT]\nsample_source = site\nhost = other\n[publisher]\ntelemetry_secret = hunter2\n",
    );
    let folder = agent.folder.at("more");
    fs::create_dir(&folder).unwrap();
    let agent = agent
        .amqp("amqp://metering:hunter2@broker:5672/%2F")
        .set("message.telemetry_secret_file", secret.to_str().unwrap())
        .set("components.by_name.influx.options", json!({"token": "hunter2", "tags": ["hunter2"]}))
        .set("libvirt.deadline", "90s")
        .set("libvirt.parallel", 2)
        .variable("NEPHOMETER_AMQP__QUEUES", "durable")
        .variable("NEPHOMETER_POLLING__SPREAD", "yes")
        .everything_to(&["notifier://u:hunter2@h/?topic=t", "influx://h:8086/?token=hunter2"]);
    let (conf, folder) = (conf.display().to_string(), folder.display().to_string());
    let arguments =
        ["--ceilometer-conf", &conf, "--libvirt", "sim://?domains=2", "--components", &folder];
    (agent, arguments.map(str::to_owned).to_vec())
}

fn document_of(agent: &Agent, arguments: &[String]) -> Value {
    shown(agent, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Value, origin, and whether it is changed.
fn parts(document: &Value, key: &str) -> (Value, Value, bool) {
    let one = setting(document, key);
    (one["value"].clone(), one["origin"].clone(), one["changed"] == true)
}

#[test]
fn values_of_a_file_have_their_line_and_no_secret() {
    let (agent, arguments) = from_everywhere("show-file");
    let document = document_of(&agent, &arguments);
    let path = agent.folder.at("nephometer.yaml").display().to_string();
    for (key, value, is_changed) in [
        ("host", json!("compute-1"), true),
        ("libvirt.parallel", json!(2), false),
        ("amqp.url", json!("amqp://broker:5672/%2F"), true),
        ("shutdown_grace", json!("5s"), true),
        ("components.by_name.influx.options", json!({"token": "***", "tags": ["***"]}), true),
    ] {
        let (shown, origin, changed) = parts(&document, key);
        assert_eq!((&shown, changed), (&value, is_changed), "{key}");
        assert_eq!((&origin["kind"], &origin["path"]), (&json!("file"), &json!(path)), "{key}");
        assert!(origin["line"].as_u64().unwrap() > 0 && origin["column"].as_u64().unwrap() > 0);
    }
    let (value, origin, _) = parts(&document, "message.telemetry_secret");
    let secret = agent.folder.at("secret").display().to_string();
    assert_eq!(value, "***");
    assert_eq!((&origin["kind"], &origin["path"]), (&json!("secret file"), &json!(secret)));
    assert_eq!(origin["named_by"]["path"], json!(path));
    // The pipeline polls every second, and half of that is used.
    let deadline = setting(&document, "libvirt.deadline");
    assert_eq!((&deadline["value"], deadline["note"].is_string()), (&json!("0.5s"), true));
    assert_eq!(parts(&document, "sources[0].interval").0, 1);
    assert_eq!(
        parts(&document, "sinks[0].publishers").0,
        json!(["notifier://h/?topic=t", "influx://h:8086/?token=***"])
    );
}

#[test]
fn everything_else_that_sets_a_value_is_named() {
    let (agent, arguments) = from_everywhere("show-origins");
    let document = document_of(&agent, &arguments);
    let of = |key: &str| parts(&document, key);
    let conf = json!({"kind": "ceilometer.conf", "path": arguments[1], "line": 2});
    assert_eq!(of("message.sample_source"), (json!("site"), conf, true));
    let variable = |name: &str| json!({"kind": "environment", "variable": name});
    assert_eq!(of("amqp.queues"), (json!("durable"), variable("NEPHOMETER_AMQP__QUEUES"), true));
    assert_eq!(of("polling.spread"), (json!(true), variable("NEPHOMETER_POLLING__SPREAD"), true));
    let option = |name: &str| json!({"kind": "command line", "option": name});
    assert_eq!(of("libvirt.uri"), (json!("sim://?domains=2"), option("--libvirt"), true));
    assert_eq!(of("components.path"), (json!([arguments[5]]), option("--components"), true));
    assert_eq!(of("store.age"), (json!("7d"), json!({"kind": "default"}), false));
    assert_eq!(of("host").0, "compute-1", "the file counts more than ceilometer.conf");
}

#[test]
fn text_is_a_table_and_changed_leaves_out_defaults() {
    let agent = Agent::new("show-text")
        .set("message.telemetry_secret", "hunter2")
        .set("store.age", "604800s")
        .everything_to(&["test://"]);
    let all = agent.execute(&["config", "show"]).code(0).stdout;
    let changed = agent.execute(&["config", "show", "--changed"]).code(0).stdout;
    let path = agent.folder.at("nephometer.yaml").display().to_string();
    for (text, has_defaults) in [(&all, true), (&changed, false)] {
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
        assert!(text.starts_with(&format!("nephometer.yaml: {path}\npipeline.yaml: ")), "{text}");
        let row = |key: &str| text.lines().find(|line| line.split_whitespace().next() == Some(key));
        assert!(row("KEY").is_some_and(|line| line.contains("VALUE") && line.ends_with("FROM")));
        let secret = row("message.telemetry_secret").unwrap();
        assert!(secret.contains("***") && secret.ends_with(&format!("{path}:1")), "{secret}");
        assert_eq!(
            row("amqp.exchange").is_some_and(|line| line.ends_with("default")),
            has_defaults
        );
        // The same time in another unit.
        assert_eq!(row("store.age").is_some(), has_defaults, "{text}");
    }
    let document = shown(&agent, &["--changed"]);
    let settings = document["settings"].as_array().unwrap();
    assert!(settings.iter().all(|one| one["changed"] == true));
    assert!(settings.len() < shown(&agent, &[])["settings"].as_array().unwrap().len());
}

#[test]
fn errors_of_the_pipeline_do_not_prevent_the_output() {
    let agent = Agent::new("show-errors").pipeline("sources: 5\nsinks: []\n");
    let ended = agent.execute(&["config", "show", "--json"]).code(0);
    assert!(ended.stderr.contains("nephometer check"), "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["valid"], false);
    assert_eq!(setting(&document, "host")["value"], "compute-1");
    let agent = agent.set("libvirt.deadline", "soon");
    agent.execute(&["config", "show"]).code(78).reports("`deadline` is \"soon\"");
}

/// Printing is safe while an agent runs with the same files.
#[test]
fn it_works_beside_a_running_agent() {
    let agent = Agent::new("show-beside").everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    assert_eq!(shown(&agent, &[])["valid"], true);
    running.wait_for_cycles(1);
    running.terminate();
    running.ended(PATIENCE).code(0);
}
