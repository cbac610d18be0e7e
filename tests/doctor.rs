//! `nephometer doctor`: what is wrong with a host is named with a remedy, nothing is changed, and it
//! works beside a running agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use serde_json::Value;

use crate::harness::{Agent, Ended, PATIENCE, at_broker, broker, closed_port};

/// The checks of one kind: their states, messages and remedies.
fn checks(ended: &Ended, kind: &str) -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let all = document["checks"].as_array().unwrap();
    let found = all.iter().filter(|one| one["check"] == kind);
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> =
        found.map(|one| (text(one, "state"), text(one, "message"), text(one, "remedy"))).collect();
    assert!(!found.is_empty(), "no {kind} in {document:#}");
    for (state, _, remedy) in &found {
        assert_eq!(remedy.is_empty(), state == "ok", "{found:?}");
    }
    found
}

/// The only check of a kind with this state.
fn only(ended: &Ended, kind: &str, state: &str) -> (String, String) {
    let mut found = checks(ended, kind);
    found.retain(|(of, _, _)| of == state);
    assert_eq!(found.len(), 1, "{state} of {kind}: {}", ended.stdout);
    let (_, message, remedy) = found.remove(0);
    (message, remedy)
}

/// An agent whose store fits on the disk of any test machine.
fn host(name: &str) -> Agent {
    Agent::new(name).set("store.total", "600MiB")
}

fn doctor(agent: &Agent) -> Ended {
    let ended = agent.execute(&["doctor", "--json"]);
    assert!(!ended.stdout.contains("hunter2"), "a secret in:\n{}", ended.stdout);
    ended
}

/// All files below a folder, with their times.
fn contents(folder: &Path) -> Vec<(String, std::time::SystemTime)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        found.push((path.display().to_string(), fs::metadata(&path).unwrap().modified().unwrap()));
        if path.is_dir() {
            found.extend(contents(&path));
        }
    }
    found.sort();
    found
}

const RATES: &str = "[{name: rate_of_change, parameters: {target: {name: cpu_util}}}]";

#[test]
fn a_good_host_is_ok_and_nothing_is_published_or_changed() {
    let agent = host("doctor-good")
        .amqp(broker().amqp_url())
        .set("message.telemetry_secret", "hunter2")
        .set("store.total", "512MiB")
        .through(RATES, &["notifier://?topic=doctor"]);
    let ended = doctor(&agent).code(0);
    for kind in ["configuration", "libvirt", "broker", "disk", "secrets", "components"] {
        let found = checks(&ended, kind);
        assert!(found.iter().all(|(state, _, _)| state == "ok" || kind == "secrets"), "{found:?}");
    }
    let (state, message, _) = &checks(&ended, "clock")[0];
    assert!(state == "ok" || state == "warning", "{message}");
    assert!(only(&ended, "control", "warning").0.contains("no agent runs"));
    assert!(only(&ended, "components", "ok").0.contains("1 transformers"));
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["failed"], 0);
    assert!(contents(&agent.folder.at("store")).is_empty(), "the store was created");
    assert!(contents(&agent.folder.at("cache")).is_empty(), "the cache was created");
    at_broker(broker().amqp_url(), async |channel| {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("doctor.sample".into(), passive, FieldTable::default());
        assert!(queue.await.is_err(), "a queue was declared");
        Ok(())
    });
    // The text has the same, without colours where there is no terminal.
    let text = agent.execute(&["doctor"]).code(0).stdout;
    assert!(text.contains("ok      broker") && !text.contains('\u{1b}'), "{text}");
    agent.execute(&["doctor", "--strict"]).code(1);
}

#[test]
fn it_works_beside_a_running_agent() {
    let agent = host("doctor-beside")
        .set("message.telemetry_secret", "hunter2")
        .through(RATES, &["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let pid = running.pid().as_raw_nonzero().to_string();
    let ended = doctor(&agent).code(0);
    let disk = checks(&ended, "disk");
    assert!(disk.iter().any(|(_, what, _)| what.ends_with(&format!("pid {pid}"))), "{disk:?}");
    assert!(only(&ended, "control", "ok").0.ends_with(&format!("pid {pid}")));
    assert!(only(&ended, "broker", "ok").0.contains("no publisher needs one"));
    running.wait_for_cycles(1);
    running.terminate();
    let ended = running.ended(PATIENCE).code(0);
    assert!(ended.logged("store write failed").is_empty());
}

#[test]
fn what_is_not_there_is_named_with_a_remedy() {
    let socket = "qemu:///system?socket=/nonexistent/libvirt-sock";
    let agent = host("doctor-absent")
        .libvirt(socket)
        .amqp(&format!("amqp://metering:hunter2@127.0.0.1:{}/%2f", closed_port()))
        .through("[{name: rate_of_chnage, parameters: {}}]", &["notifier://"]);
    let ended = doctor(&agent).code(1);
    let (message, remedy) = only(&ended, "libvirt", "failed");
    assert!(
        message.contains("/nonexistent/libvirt-sock") && remedy.contains("systemctl"),
        "{message}"
    );
    let (message, remedy) = only(&ended, "broker", "failed");
    assert!(message.starts_with("amqp://127.0.0.1:") && remedy.contains("amqp.url"), "{message}");
    assert!(only(&ended, "components", "failed").0.contains("rate_of_chnage"));
    // The default secret, and a file with a password that all may read.
    let secrets = checks(&ended, "secrets");
    let has = |words: &str| {
        secrets.iter().any(|(state, what, _)| state == "warning" && what.contains(words))
    };
    assert!(has("default secret"), "{secrets:?}");
}

#[test]
fn a_wrong_password_is_not_printed() {
    let url = broker().amqp_url().replace("guest:guest@", "metering:hunter2@");
    assert_ne!(url, broker().amqp_url());
    let agent = host("doctor-login").amqp(&url).everything_to(&["notifier://"]);
    let (_, remedy) = only(&doctor(&agent).code(1), "broker", "failed");
    assert!(remedy.contains("password"), "{remedy}");
}

#[test]
fn one_node_of_a_cluster_is_enough() {
    let (_, node) = broker().amqp_url().split_once("://").unwrap();
    let url = format!("amqp://guest:guest@127.0.0.1:{},{node}", closed_port());
    let agent = host("doctor-cluster").amqp(&url).everything_to(&["notifier://"]);
    let ended = doctor(&agent).code(0);
    assert_eq!(checks(&ended, "broker").len(), 2);
    only(&ended, "broker", "warning");
    only(&ended, "broker", "ok");
}

#[test]
fn modes_of_the_store_and_of_secrets_are_checked() {
    let agent = host("doctor-modes");
    let (store, secret) = (agent.folder.at("store"), agent.folder.at("secret"));
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(&store).unwrap();
    fs::write(&secret, "hunter2").unwrap();
    let agent = agent
        .set("message.telemetry_secret_file", secret.to_str().unwrap())
        .everything_to(&["test://"]);
    set(&secret, 0o600);
    set(&store, 0o777);
    let ended = doctor(&agent).code(1);
    let (message, remedy) = only(&ended, "disk", "failed");
    assert!(message.contains("mode 0777") && remedy.contains("chmod go-w"), "{message}");
    set(&store, 0o755);
    assert!(only(&doctor(&agent).code(0), "disk", "warning").1.contains("chmod 0700"));
    set(&store, 0o700);
    let ended = doctor(&agent).code(0);
    assert!(checks(&ended, "disk")[0].1.ends_with("mode 0700"));
    let secrets = checks(&ended, "secrets");
    assert!(secrets.iter().any(|(_, what, _)| what.contains("mode 0600")), "{secrets:?}");
    fs::remove_dir(&store).unwrap();
    fs::write(&store, "").unwrap();
    assert!(only(&doctor(&agent).code(1), "disk", "failed").0.contains("not a folder"));
}

/// A disk of its own, full to the last byte.
#[test]
fn a_full_disk_is_found() {
    let agent = host("doctor-full").everything_to(&["test://"]);
    let disk = agent.folder.at("disk");
    fs::create_dir(&disk).unwrap();
    let agent = agent.set("store.path", disk.join("store").to_str().unwrap());
    let script = format!(
        "mount -t tmpfs -o size=1M none '{0}'; mkdir -m 700 '{0}/store'; \
         head -c 2M /dev/zero > '{0}/ballast' || true; exec \"$@\"",
        disk.display()
    );
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount", "--propagation", "private"]
    } else {
        &["unshare", "--mount", "--map-root-user", "--propagation", "private"]
    };
    let command = agent.within(wrapper, &script, &["doctor", "--json"]);
    let ended = agent.start(command, None).ended(PATIENCE).code(1);
    let failed: Vec<_> =
        checks(&ended, "disk").into_iter().filter(|one| one.0 == "failed").collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[0].1.contains("the disk is full, 0 MiB are free"), "{failed:?}");
    assert!(failed[1].1.contains("cannot be made durable"), "{failed:?}");
}

#[test]
fn errors_of_the_files_have_their_own_exit_code() {
    let agent = host("doctor-config").set("libvirt.deadline", "soon").everything_to(&["test://"]);
    let ended = doctor(&agent).code(78);
    let (message, _) = only(&ended, "configuration", "failed");
    assert!(message.contains("`deadline` is \"soon\""), "{message}");
}
