//! Secrets of the collector are replaced while it runs: SIGHUP, as `systemctl reload` sends it.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::stored;
use crate::harness::{
    Agent, Collector, PATIENCE, Running, api_of, broker, declare, eventually, text,
};
use crate::rotation::connection;

/// Sends SIGHUP, and waits until the reload is done. Returns its changes.
fn reload(running: &Running) -> String {
    let before = running.logged("reload applied").len();
    running.signal(Signal::HUP);
    eventually("a reload", PATIENCE, || {
        let done = running.logged("reload applied");
        (done.len() > before).then(|| text(&done[before], "changes").to_owned())
    })
}

/// Waits until two more samples are stored.
fn wait_for_more(collector: &Collector) {
    let before = stored(collector).len();
    eventually("more samples", PATIENCE, || (stored(collector).len() >= before + 2).then_some(()));
}

#[test]
fn a_new_secret_is_verified_and_a_new_password_connects_without_a_restart() {
    let (lab, user) = (broker(), "collecting");
    lab.rabbit(&["add_user", user, "first-password"]);
    lab.rabbit(&["set_permissions", user, ".*", ".*", ".*"]);
    let url =
        |password: &str| format!("amqp://{user}:{password}@127.0.0.1:{}/%2f\n", lab.amqp_port());
    declare(lab.amqp_url(), "collected-anew", false).unwrap();
    let agent = Agent::new("collector-rotation-agent").amqp(lab.amqp_url());
    let secret = agent.folder.write("secret", "old-secret\n");
    let agent = agent
        .set("message.telemetry_secret_file", secret.display().to_string())
        .everything_to(&["notifier://?topic=collected-anew"]);
    let collector = Collector::new("collector-rotation");
    let (amqp, old, new) = (
        collector.folder.write("amqp-url", url("first-password")),
        collector.folder.write("old", "old-secret\n"),
        collector.folder.write("new", "not known yet\n"),
    );
    let collector = collector
        .set("brokers", json!([{"url_file": amqp, "queues": ["collected-anew.sample"]}]))
        .set(
            "secrets",
            json!([{"name": "old", "secret_file": old}, {"name": "new", "secret_file": new}]),
        );
    let running = collector.run();
    api_of(&running);
    let agents = agent.run();
    wait_for_more(&collector);
    let before = connection(lab, user, |_| true);

    // The receiver first, then the sender.
    fs::write(&new, "new-secret\n").unwrap();
    assert_eq!(reload(&running), "secrets: verifies with old, new");
    assert_eq!(connection(lab, user, |_| true), before, "the broker has not changed");
    fs::write(&secret, "new-secret\n").unwrap();
    eventually("the agent's reload", PATIENCE, || agents.logged("reload applied").pop());
    wait_for_more(&collector);
    wait_for_more(&collector);

    lab.rabbit(&["change_password", user, "other-password"]);
    fs::write(&amqp, url("other-password")).unwrap();
    let changes = reload(&running);
    assert!(changes.ends_with("new credentials for the broker, connects again"), "{changes}");
    connection(lab, user, |line| line != before);
    wait_for_more(&collector);

    // A file that cannot be used leaves everything in place.
    fs::write(&amqp, "http://wrong\n").unwrap();
    running.signal(Signal::HUP);
    eventually("a refusal", PATIENCE, || running.logged("reload refused").pop());
    // Queries read it as well.
    fs::write(&amqp, url("other-password")).unwrap();
    wait_for_more(&collector);

    let sent = agents.stop().code(0).ledger().publisher("notifier").samples;
    eventually("all samples", PATIENCE, || (stored(&collector).len() as u64 >= sent).then_some(()));
    assert_eq!(stored(&collector).len() as u64, sent);
    let log = running.stderr();
    for hidden in ["first-password", "other-password", "old-secret", "new-secret"] {
        assert!(!log.contains(hidden), "the log has {hidden}");
    }
    let state = collector.state();
    assert_eq!(state["counts"]["wrong_signature"].as_u64().unwrap_or(0), 0, "{state}");
    running.stop().code(0);
    lab.rabbit(&["delete_user", user]);
}
