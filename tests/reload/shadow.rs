//! Shadows: another version of a component beside the live one, which it can neither change nor delay.

use std::fs;

use serde_json::{Value, json};

use super::{
    COUNTING, agent, bytes, check_counts, command, install, logged, samples, status, variant,
};
use crate::harness::{Agent, PATIENCE, Running, eventually, number, text};

/// An agent whose component has a shadow with this content.
fn shadowed(name: &str, transformers: &str, component: &str, shadow: &[u8]) -> Agent {
    let agent = agent(&format!("shadow-{name}"), transformers);
    let file = agent.folder.write("next.wasm", shadow);
    agent.set(&format!("components.by_name.{component}.shadow"), json!(file))
}

/// What the agent answers; `Null` before it listens.
fn shadows(agent: &Agent) -> Value {
    let document = command(agent, &["component", "shadow", "--json"]).stdout;
    serde_json::from_str(&document).unwrap_or_default()
}

fn promotions(agent: &Agent) -> Value {
    let document = command(agent, &["status", "--json"]).code(0).stdout;
    serde_json::from_str::<Value>(&document).unwrap()["promoted"].clone()
}

/// Waits until the only shadow fits.
fn wait_for(agent: &Agent, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || Some(shadows(agent)[0].clone()).filter(&fits))
}

fn compared(agent: &Agent, batches: u64) -> Value {
    wait_for(agent, "compared batches", |one| one["batches"].as_u64() >= Some(batches))
}

/// Waits until the only shadow has stopped for this reason.
fn wait_for_reason(agent: &Agent, reason: &str) {
    wait_for(agent, reason, |one| {
        one["state"] == "stopped"
            && one["reason"].as_str().is_some_and(|text| text.contains(reason))
    });
}

fn digest(agent: &Agent) -> String {
    text(&status(agent, "out")["transformers"][0], "digest").to_owned()
}

/// Waits until the component has other code than before.
fn replaced(agent: &Agent, running: &mut Running, before: &str) -> String {
    let now =
        eventually("other code", PATIENCE, || Some(digest(agent)).filter(|one| one != before));
    running.wait_for_cycles(2);
    now
}

#[test]
fn an_equal_shadow_begins_from_the_live_state_and_publishes_nothing() {
    let agent = shadowed("equal", COUNTING, "counting", &variant(&bytes("counting"), 1));
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    let found = compared(&agent, 3);
    assert_eq!(
        (&found["state"], &found["complete"]),
        (&json!("comparing"), &json!(true)),
        "{found}"
    );
    assert_eq!((&found["differing"], &found["first"]), (&json!(0), &Value::Null), "{found}");
    // The count depends on the state: its sums are equal, and so are those of what passed.
    let meters = found["meters"].as_array().unwrap();
    let names: Vec<&str> = meters.iter().map(|one| text(one, "meter")).collect();
    assert_eq!(names, ["count", "cpu"]);
    for meter in meters {
        assert!(meter["live"].as_f64() > Some(0.0) && meter["difference"] == 0, "{meter}");
    }
    for side in ["live", "shadow"] {
        let cost = &found["cost"][side];
        assert!(cost["cpu_microseconds_per_sample"].as_f64() > Some(0.0), "{found}");
        assert!(cost["memory_peak_bytes"].as_u64() > Some(0), "{found}");
    }
    command(&agent, &["component", "shadow", "counting"]).code(0).reports("0 differ");
    command(&agent, &["status"]).code(0).reports("shadow of counting@");
    command(&agent, &["component", "shadow", "other"]).code(64);
    // Another content of the file is another shadow.
    let before = found["digest"].clone();
    fs::write(agent.folder.at("next.wasm"), variant(&bytes("counting"), 2)).unwrap();
    wait_for(&agent, "another shadow", |one| {
        one["digest"] != before && one["batches"].as_u64() > Some(0)
    });
    // So is the live component itself, which is not compared with itself.
    fs::write(agent.folder.at("next.wasm"), bytes("counting")).unwrap();
    let same = wait_for(&agent, "the same", |one| one["state"] == "stopped");
    assert!(text(&same, "reason").contains("same as the live component"), "{same}");
    running.wait_for_cycles(1);
    assert_eq!(status(&agent, "out")["reloads"], 1, "shadows replaced nothing");
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_differing_shadow_shows_the_first_sample_and_the_sums() {
    let convert = "[{name: unit_conversion, parameters: {target: {name: x, unit: y, type: gauge, scale: 2.0}}}]";
    let agent = shadowed("differs", convert, "unit_conversion", &bytes("rate_of_change"));
    install(&agent, "unit_conversion", &bytes("unit_conversion"));
    let mut running = agent.run();
    compared(&agent, 4);
    let shown = command(&agent, &["component", "shadow"]).code(1);
    shown.reports("first difference (missing): x of").reports("DIFFERENCE");
    let found = shadows(&agent)[0].clone();
    running.wait_for_cycles(1);
    running.stop().code(0);
    assert_eq!(
        (&found["state"], &found["complete"]),
        (&json!("comparing"), &json!(true)),
        "{found}"
    );
    assert_eq!(found["differing"], found["samples"], "a rate is no scaled counter");
    assert!(found["missing"].as_u64() > Some(0) && found["extra"] == 0, "{found}");
    // The first sample of a rate is absorbed: it is one of those that were published.
    let first = &found["first"];
    let published = samples(&agent, "out");
    let same = |one: &&Value| {
        text(one, "resource_id") == text(first, "resource")
            && text(first, "time").starts_with(text(one, "timestamp"))
    };
    let published = published.iter().find(same).expect("the first difference was published");
    assert_eq!(first["live"].as_f64(), Some(number(published)), "{first}");
    assert_eq!(first["shadow"], Value::Null);
    let meter = &found["meters"][0];
    let sum = |key: &str| meter[key].as_f64().unwrap();
    let off = (sum("shadow") - sum("live") - sum("difference")).abs();
    assert!(off <= sum("live") * 1e-12 && sum("shadow") > 0.0, "{meter}");
    assert_eq!(meter["differing"], found["differing"]);
}

#[test]
fn a_shadow_that_traps_or_loops_leaves_the_live_component_alone() {
    let looping = "[{name: counting, parameters: {mode: loop-transform}}]";
    for (name, transformers, shadow, reason) in [
        ("traps", COUNTING, "counting-crash", "this version traps at this batch"),
        ("loops", looping, "misbehaving", "(components.by_name.counting.shadow_limits.cpu)"),
    ] {
        let agent = shadowed(name, transformers, "counting", &bytes(shadow))
            .set("components.by_name.counting.shadow_limits.cpu", "300ms");
        install(&agent, "counting", &bytes("counting"));
        let mut running = agent.run();
        let found = wait_for(&agent, "a failure", |one| one["failures"].as_u64() > Some(0));
        assert!(text(&found, "last_failure").contains(reason), "{found}");
        // It begins again from the live state, and what it missed is counted.
        let again = wait_for(&agent, "another start", |one| one["starts"].as_u64() > Some(1));
        assert!(again["missed_batches"].as_u64() > Some(0), "{again}");
        assert_eq!(again["complete"], false, "{again}");
        command(&agent, &["component", "shadow"]).code(1).reports("incomplete: ");
        running.wait_for_cycles(2);
        let ended = command(&agent, &["component", "status", "--json"]).code(0);
        let all: Value = serde_json::from_str(&ended.stdout).unwrap();
        let live =
            all.as_array().unwrap().iter().find(|one| one["component"] == "counting").unwrap();
        for count in ["failures", "limits_hit", "restarts"] {
            assert_eq!(live[count], 0, "{live}");
        }
        // 300 ms in one call of the shadow are nothing of the live component's time.
        assert!(live["cpu_seconds"].as_f64() < Some(0.3), "{live}");
        let out = status(&agent, "out");
        assert_eq!((&out["state"], &out["rollbacks"]), (&json!("running"), &json!(0)), "{out}");
        assert!(running.logged("polling cycle skipped").is_empty());
        running.stop().code(0);
        check_counts(&agent);
    }
}

#[test]
fn a_shadow_that_cannot_begin_reports_the_reason() {
    let agent = shadowed("refuses", COUNTING, "counting", &bytes("counting-v3"))
        .set("components.by_name.counting.shadow_limits.memory", "64MiB");
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    // Version 3 does not read the state of version 1.
    let found = wait_for(&agent, "a refusal", |one| one["state"] == "stopped");
    assert!(text(&found, "reason").contains("refuses the state of the live component"), "{found}");
    fs::write(agent.folder.at("next.wasm"), b"no wasm").unwrap();
    // A warning: the live component works without it.
    agent.execute(&["check"]).code(0).reports("not a WebAssembly component");
    agent.execute(&["check", "--strict"]).code(78);
    wait_for_reason(&agent, "not a WebAssembly component");
    let refused = command(&agent, &["component", "promote", "counting"]).code(78);
    refused.reports("refused: the shadow of counting does not run");
    fs::write(agent.folder.at("next.wasm"), bytes("counting-bad")).unwrap();
    wait_for_reason(&agent, "traps in configure");
    fs::remove_file(agent.folder.at("next.wasm")).unwrap();
    wait_for_reason(&agent, "No such file");
    assert!(logged(&running, "component shadow stopped", 4).len() >= 4);
    command(&agent, &["component", "promote", "other"]).code(78).reports("has no shadow");
    running.wait_for_cycles(1);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn promotion_keeps_the_state_and_holds_until_the_configuration_has_another_version() {
    let agent = shadowed("promote", COUNTING, "counting", &bytes("counting-v2"));
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    compared(&agent, 2);
    let configured = digest(&agent);
    command(&agent, &["component", "promote", "counting", "--undo"])
        .code(78)
        .reports("not promoted");
    let shadow = text(&shadows(&agent)[0], "digest").to_owned();
    let promoted = command(&agent, &["component", "promote", "counting"]).code(0);
    promoted.reports("state kept").reports("is promoted, also after a restart");
    logged(&running, "transformers replaced", 2);
    running.wait_for_cycles(2);
    assert_eq!(digest(&agent), shadow);
    assert_eq!(shadows(&agent)[0]["state"], "stopped", "it is the live component now");
    // The file may go: the agent has a copy.
    fs::remove_file(agent.folder.at("next.wasm")).unwrap();
    command(&agent, &["reload"]).code(0);
    running.wait_for_cycles(1);
    running.stop().code(0);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    assert_eq!(digest(&agent), shadow, "after a restart");
    let promoted = json!([{"component": "counting", "digest": shadow, "replaces": configured}]);
    assert_eq!(promotions(&agent), promoted);
    // Version 1 does not read the state of version 2: the promotion cannot be undone, and stays.
    command(&agent, &["component", "promote", "counting", "--undo"])
        .code(78)
        .reports("stays promoted");
    command(&agent, &["reload"]).code(0).reports("nothing has changed");
    assert_eq!(digest(&agent), shadow);
    install(&agent, "counting", &variant(&bytes("counting-v2"), 7));
    let now = replaced(&agent, &mut running, &shadow);
    assert!(now != configured && now != shadow);
    assert_eq!(promotions(&agent), json!([]));
    running.stop().code(0);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    assert_eq!(digest(&agent), now, "the configuration wins after a restart, too");
    running.stop().code(0);
    check_counts(&agent);
}
