//! Audits of what a real agent has sent: an honest store, a kill, the API, and changed files.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Agent, Collector, Ended, Lab, PATIENCE, api_of, eventually, request};

/// A file of a real agent, with its messages.
pub(crate) struct Recorded {
    agent: Agent,
    /// The lines of each message, with its link.
    pub(crate) messages: Vec<String>,
}

/// Runs an agent for some cycles, as often as there are numbers, and kills it between.
pub(crate) fn recorded(name: &str, cycles: &[usize]) -> Recorded {
    let agent = Agent::new(name).libvirt("sim://?domains=3&seed=5");
    let path = agent.folder.at("samples.ndjson");
    let agent = agent.everything_to(&[&format!("file://{}?json&provable", path.display())]);
    for (at, count) in cycles.iter().enumerate() {
        let mut running = agent.run();
        running.wait_for_cycles(*count);
        if at + 1 < cycles.len() {
            running.signal(Signal::KILL);
            running.ended(PATIENCE);
        } else {
            running.stop().code(0);
        }
    }
    let (mut messages, mut lines) = (Vec::new(), String::new());
    for line in std::fs::read_to_string(&path).unwrap().split_inclusive('\n') {
        lines.push_str(line);
        let value: Value = serde_json::from_str(line).unwrap();
        if value["nephometer"]["link"].is_object() {
            messages.push(std::mem::take(&mut lines));
        }
    }
    Recorded { agent, messages }
}

/// The record of a message, if it is one of this kind.
fn record(message: &str, kind: &str) -> Option<Value> {
    let first: Value = serde_json::from_str(message.lines().next()?).ok()?;
    let record: Value = serde_json::from_str(first["nephometer"]["record"].as_str()?).ok()?;
    (record["kind"] == kind).then_some(record)
}

impl Recorded {
    pub(crate) fn project(&self) -> String {
        let samples = self.messages.iter().filter(|one| one.contains("\"project_id\": \""));
        let line = samples.flat_map(|one| one.lines()).next().expect("a sample with a project");
        let sample: Value = serde_json::from_str(line).unwrap();
        sample["project_id"].as_str().unwrap().to_owned()
    }

    /// From the second to the last but one cycle.
    pub(crate) fn times(&self) -> [String; 2] {
        let cycles = self.messages.iter().filter_map(|one| record(one, "checkpoint"));
        let mut times: Vec<String> =
            cycles.map(|one| one["time"].as_str().unwrap().to_owned()).collect();
        times.sort();
        times.dedup();
        assert!(times.len() >= 4, "{times:?}");
        [times[1].clone(), times[times.len() - 2].clone()]
    }

    /// A collector that has imported these messages, and trusts the agent's keys.
    pub(crate) fn collector(&self, name: &str, messages: &[String]) -> Collector {
        let collector = Collector::new(name);
        let lines = self.agent.execute(&["keys", "ls", "--trusted"]).code(0).stdout;
        assert!(lines.starts_with("compute-1 "), "{lines}");
        let keys = collector.folder.write("agents.pub", lines);
        let collector = collector.set("audit.keys", keys.to_str().unwrap());
        let file = collector.folder.write("messages", messages.concat());
        collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0);
        collector
    }
}

/// Runs an audit of the project.
fn audit(collector: &Collector, recorded: &Recorded, more: &[&str]) -> Ended {
    let (project, [from, to]) = (recorded.project(), recorded.times());
    let asked = ["audit", "--project", &project, "--from", &from, "--to", &to];
    collector.execute(&[&asked[..], more].concat())
}

pub(crate) fn verified(collector: &Collector, file: &Path, more: &[&str]) -> Ended {
    let keys = collector.folder.at("agents.pub");
    let (file, keys) = (file.to_str().unwrap(), keys.to_str().unwrap());
    collector.execute(&[&["audit", "verify", file, "--keys", keys][..], more].concat())
}

#[test]
fn an_honest_store_is_proved_with_the_file_alone() {
    let recorded = recorded("audit-honest", &[6]);
    let collector = recorded.collector("audit-honest-collector", &recorded.messages);
    let file = collector.folder.at("evidence");
    let found = audit(&collector, &recorded, &["--format", "json"]).code(0);
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["faults"], json!([]), "{found:#}");
    let series = found["series"].as_array().unwrap();
    assert!(series.len() > 10, "{found:#}");
    assert!(series.iter().all(|one| one["unproved"] == 0), "{found:#}");
    let written = audit(&collector, &recorded, &["--output", file.to_str().unwrap()]).code(0);
    assert!(written.stdout.contains("ok: complete"), "{}", written.stdout);
    audit(&collector, &recorded, &["--output", file.to_str().unwrap()])
        .code(69)
        .reports("name a new file");
    // What people get wrong: an id, a time, no keys.
    let [from, to] = recorded.times();
    let of = |project: &str, from: &str| {
        collector.execute(&["audit", "--project", project, "--from", from, "--to", &to])
    };
    let nobody = of("nobody", &from).code(0).stdout;
    assert!(nobody.contains("no sample of this project in this time; check its id"), "{nobody}");
    of(&recorded.project(), "yesterday").code(64).reports("--from: \"yesterday\" is not a time");
    assert!(written.stdout.contains("all hosts with a trusted key"), "{}", written.stdout);
    // Neither the store nor the collector's settings are needed.
    std::fs::remove_dir_all(collector.folder.at("store")).unwrap();
    let alone = verified(&collector, &file, &["--format", "json"]).code(0);
    let alone: Value = serde_json::from_str(alone.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(alone["result"], found["result"]);
    assert_eq!(alone["series"], found["series"]);
    // With another key, or a changed byte, nothing is proved.
    let mut text = std::fs::read_to_string(&file).unwrap();
    let wrong = collector.folder.write("evidence-altered", text.replacen("null", "none", 1));
    verified(&collector, &wrong, &[]).code(1);
    text.truncate(text.len() - 20);
    let cut = collector.folder.write("evidence-cut", text);
    verified(&collector, &cut, &[]).code(1).reports("make the file anew");
    let lost = collector.folder.at("nothing");
    let lost = verified(&collector, &lost, &[]);
    assert!(lost.stderr.contains("nothing: No such file"), "{}", lost.stderr);
    let key = "00".repeat(32);
    verified(&collector, &file, &["--collector-key", &key]).code(1).reports("another key");
    collector.folder.write("agents.pub", format!("compute-1 {key}\n"));
    verified(&collector, &file, &[]).code(1).reports("unknown_key");
}

#[test]
fn a_killed_agent_leaves_a_declared_gap() {
    let recorded = recorded("audit-kill", &[3, 3]);
    let collector = recorded.collector("audit-kill-collector", &recorded.messages);
    let found = audit(&collector, &recorded, &["--format", "json"]).code(0);
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["result"], "complete_with_declared_gaps", "{found:#}");
    let gaps = found["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap["reason"] == "unclean_stop"), "{found:#}");
}

/// Waits until the collector has stored nothing for a while.
fn wait_until_idle(collector: &Collector) {
    let messages = || collector.state()["files"].to_string();
    let mut before = messages();
    eventually("the collector is idle", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        let (now, last) = (messages(), before.clone());
        before.clone_from(&now);
        (now == last && now.contains("samples")).then_some(())
    });
}

/// The broker is away and the queue of the publisher is full: what was dropped is declared.
#[test]
fn a_full_queue_leaves_a_declared_gap() {
    let lab = Lab::up("lab-audited", &["--no-libvirt"]);
    let agent = Agent::new("audit-drops")
        .libvirt("sim://?domains=3&seed=5")
        .amqp(lab.amqp_url())
        .everything_to(&["notifier://?topic=audited&policy=queue&max_queue_length=4"]);
    let collector = Collector::new("audit-drops-collector").consuming(lab.amqp_url(), &["audited"]);
    let consuming = collector.run();
    let mut running = agent.run();
    running.wait_for_cycles(3);
    // Messages that wait in a queue end with the broker.
    running.signal(Signal::STOP);
    wait_until_idle(&collector);
    lab.stop_amqp();
    running.signal(Signal::CONT);
    running.wait_for_cycles(6);
    lab.start_amqp();
    eventually("the collector is connected again", PATIENCE, || {
        (consuming.logged("broker connected").len() > 1).then_some(())
    });
    running.wait_for_cycles(6);
    running.stop().code(0);
    wait_until_idle(&collector);
    consuming.stop().code(0);
    let keys = agent.execute(&["keys", "ls", "--trusted"]).code(0).stdout;
    let keys = collector.folder.write("agents.pub", keys);
    let collector = collector.set("audit.keys", keys.to_str().unwrap());
    let samples = collector.samples();
    let text = |sample: &Value, key: &str| sample[key].as_str().unwrap().to_owned();
    let project = text(&samples[0], "project_id");
    // Newest first: up to the start of the last cycles.
    let same = |one: &&Value| {
        one["meter"] == samples[0]["meter"] && one["resource_id"] == samples[0]["resource_id"]
    };
    let times: Vec<String> =
        samples.iter().filter(same).map(|one| text(one, "timestamp")).collect();
    let (from, to) = (&times[times.len() - 1], &times[2]);
    let asked = ["audit", "--project", &project, "--from", from, "--to", to];
    let found = collector.execute(&[&asked[..], &["--format", "json"]].concat()).code(0);
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["result"], "complete_with_declared_gaps", "{found:#}");
    let gaps = found["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap["reason"] == "policy"), "{found:#}");
}

#[test]
fn the_api_audits_for_the_project_itself() {
    let recorded = recorded("audit-api", &[5]);
    let collector = recorded.collector("audit-api-collector", &recorded.messages);
    let running = collector.run();
    let address = api_of(&running);
    let (project, [from, to]) = (recorded.project(), recorded.times());
    let path = format!("/v1/audit?project={project}&from={from}&to={to}");
    let found = request(&address, "GET", &path, &[], "");
    assert_eq!((found.status, &found.body["faults"]), (200, &json!([])), "{found:?}");
    let other = request(&address, "GET", &format!("{path}&host=compute-9"), &[], "");
    assert_eq!(other.body["result"], "not_provable", "{other:?}");
    let wrong = request(&address, "GET", "/v1/audit?project=p&from=x&to=2026", &[], "");
    assert_eq!(wrong.status, 400);
    let behind = format!("/v1/audit?project=p&from={to}&to={from}");
    assert_eq!(request(&address, "GET", &behind, &[], "").status, 400);
    running.stop().code(0);
    // A token of another project.
    let collector = collector.set("api.access", "tokens");
    let token = collector.execute(&["token", "--project", "other"]).code(0).stdout;
    let part = |name: &str| {
        let line = token.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let tokens = collector.folder.write("tokens", part("line:"));
    let collector = collector.set("api.tokens", tokens.to_str().unwrap());
    let running = collector.run();
    let header = format!("X-Auth-Token: {}", part("token:"));
    assert_eq!(request(&api_of(&running), "GET", &path, &[&header], "").status, 401);
    let own = format!("/v1/audit?from={from}&to={to}");
    let own = request(&api_of(&running), "GET", &own, &[&header], "");
    assert_eq!((own.status, &own.body["series"]), (200, &json!([])), "{own:?}");
    running.stop().code(0);
}

#[test]
fn keys_are_checked_with_place_and_remedy() {
    let collector = Collector::new("audit-keys");
    let asked = ["audit", "--project", "p", "--from", "2026-11-01", "--to", "2026-11-02"];
    collector.execute(&asked).code(64).reports("audit.keys names no file of trusted keys");
    let keys = collector.folder.write("agents.pub", "compute-1 12\n");
    let collector = collector.set("audit.keys", keys.to_str().unwrap());
    let wrong = collector.execute(&["check"]).code(78);
    assert_eq!(wrong.stderr.matches("agents.pub: line 1: \"12\" is not 64").count(), 1, "once");
    assert!(wrong.stderr.contains("nephometer keys ls --trusted"), "{}", wrong.stderr);
    let collector = collector.set("audit.keys", "/nowhere/agents.pub");
    collector.execute(&["check"]).code(78).reports("nephometer keys ls --trusted");
    let key = collector.execute(&["audit", "key"]).code(0).stdout;
    assert_eq!((key.trim().len(), collector.execute(&["audit", "key"]).code(0).stdout), (64, key));
}

/// Messages of the real agent are changed on their way.
#[test]
fn changed_messages_are_never_complete() {
    let recorded = recorded("audit-changed", &[7]);
    let messages = &recorded.messages;
    let is_sample = |at: &usize| {
        messages[*at].lines().next().is_some_and(|line| !line.contains("\"nephometer\""))
    };
    let middle = (messages.len() / 2..messages.len()).find(is_sample).unwrap();
    let statement = messages.iter().position(|one| record(one, "statement").is_some()).unwrap();
    let checkpoint =
        (middle..messages.len()).find(|at| record(&messages[*at], "checkpoint").is_some()).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = messages.clone();
        change(&mut changed);
        changed
    };
    let attacks = [
        ("removed", changed(&|all| _ = all.remove(middle)), "hole_undeclared"),
        ("a batch removed", changed(&|all| _ = all.drain(middle..=checkpoint)), "hole_undeclared"),
        ("no statement", changed(&|all| _ = all.remove(statement)), "no_statement"),
        ("the end removed", changed(&|all| all.truncate(middle)), "stream_end_missing"),
        (
            "altered",
            changed(&|all| {
                let altered =
                    all[middle].replacen("\"resource_id\": \"", "\"resource_id\": \"x", 1);
                assert_ne!(altered, all[middle]);
                all[middle] = altered;
            }),
            "chain_broken",
        ),
    ];
    for (name, messages, expected) in attacks {
        let collector = recorded.collector("audit-changed-collector", &messages);
        let found = audit(&collector, &recorded, &[]);
        let found = found.code(1);
        assert!(found.stderr.contains("not provable because"), "{name}: {}", found.stderr);
        assert!(found.stderr.contains(expected), "{name}: {}", found.stderr);
    }
}
