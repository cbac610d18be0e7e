//! Guarded changes: the version before runs on for a while, and takes over again if the output of the new
//! one goes too far from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    COUNTING, agent, bytes, check_counts, command, install, logged, samples, status, variant,
};
use crate::harness::{Agent, PATIENCE, eventually, number, text};

/// Options of `unit_conversion`, which `rate_of_change` and `counting` accept, too.
const DOUBLE: &str =
    "[{name: change, parameters: {target: {name: x, unit: y, type: gauge, scale: 2.0}}}]";

/// An agent that guards all changes, for so many cycles.
fn guarded(name: &str, transformers: &str, cycles: u32) -> Agent {
    agent(&format!("guard-{name}"), transformers)
        .set("components.guard", json!({"enabled": true, "cycles": cycles}))
}

fn guards(agent: &Agent) -> Value {
    let document = command(agent, &["component", "guard", "--json"]).stdout;
    serde_json::from_str(&document).unwrap_or_default()
}

fn digest(agent: &Agent) -> String {
    // A sink that compiles has no transformers yet.
    eventually("a transformer", PATIENCE, || {
        let sink = status(agent, "out");
        sink["transformers"][0]["digest"].as_str().map(str::to_owned)
    })
}

fn promoted(agent: &Agent) -> Value {
    let document = command(agent, &["status", "--json"]).code(0).stdout;
    serde_json::from_str::<Value>(&document).unwrap()["promoted"].clone()
}

/// What identifies a sample besides its meter: the resource, and the time in milliseconds.
fn at(sample: &Value) -> (String, String) {
    (text(sample, "resource_id").to_owned(), milliseconds(text(sample, "timestamp")))
}

fn milliseconds(time: &str) -> String {
    time.get(..23).unwrap_or(time).to_owned()
}

#[test]
fn an_equal_version_passes_and_the_one_before_is_forgotten() {
    let agent = guarded("passes", COUNTING, 4);
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    command(&agent, &["component", "guard"]).code(0).reports("no change was guarded");
    // Another form of the state: the version before goes on with its own.
    install(&agent, "counting", &bytes("counting-v2"));
    logged(&running, "reload guard begun", 1);
    // A further change: it is compared with the version that has passed, not with one that has not.
    running.wait_for_cycles(1);
    install(&agent, "counting", &variant(&bytes("counting-v2"), 1));
    logged(&running, "reload guard begun", 2);
    logged(&running, "reload guard passed", 1);
    let found = guards(&agent)[0].clone();
    assert_eq!((&found["state"], &found["differing"]), (&json!("passed"), &json!(0)), "{found}");
    assert!(found["cycles"].as_u64() >= Some(4) && found["samples"].as_u64() > Some(8), "{found}");
    assert_eq!((&found["correction"], &found["uncompared"]), (&Value::Null, &json!(0)), "{found}");
    for meter in found["meters"].as_array().unwrap() {
        assert!(meter["published"].as_f64() > Some(0.0), "{meter}");
        assert_eq!(meter["published"], meter["before"], "{meter}");
    }
    command(&agent, &["component", "guard"]).code(0).reports("passed");
    assert_eq!(
        (promoted(&agent), status(&agent, "out")["rollbacks"].clone()),
        (json!([]), json!(0))
    );
    running.wait_for_cycles(1);
    running.stop().code(0);
    check_counts(&agent);
}

#[test]
fn a_sum_beyond_the_bound_rolls_back_and_the_correction_is_exact() {
    let agent = guarded("sums", DOUBLE, 10)
        .set("components.by_name.change.guard", json!({"samples": 1_000_000, "absent": 1000}));
    install(&agent, "change", &bytes("unit_conversion"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let before = digest(&agent);
    install(&agent, "change", &bytes("rate_of_change"));
    let back = logged(&running, "transformers rolled back", 1);
    let reason = text(&back[0], "reason").to_owned();
    assert!(reason.starts_with("the sum of x is ") && reason.ends_with("(guard.sums)"), "{reason}");
    running.wait_for_cycles(2);
    assert_eq!(digest(&agent), before);
    command(&agent, &["component", "guard"]).code(1).reports("rolled_back");
    command(&agent, &["status"]).code(0).reports("is held by its guard").reports("correction: ");
    let found = guards(&agent)[0].clone();
    running.stop().code(0);
    let path = text(&found, "correction");
    let correction: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((text(&correction, "sink"), text(&correction, "reason")), ("out", &*reason));
    let version = &correction["versions"][0];
    assert_eq!((&version["samples_omitted"], &version["uncompared"]), (&json!(0), &json!(0)));

    // What was published, corrected, is what the version before makes of all polled samples.
    let mut corrected: BTreeMap<_, f64> =
        samples(&agent, "out").iter().map(|one| (at(one), number(one))).collect();
    let ids: BTreeSet<String> =
        samples(&agent, "out").iter().map(|one| text(one, "id").to_owned()).collect();
    let list = version["samples"].as_array().unwrap();
    assert!(list.iter().any(|one| one["what"] == "volume"));
    for one in list {
        let key = (text(one, "resource").to_owned(), milliseconds(text(one, "time")));
        if let Some(id) = one["id"].as_str() {
            assert!(ids.contains(id), "{one}");
            assert_eq!(corrected.get(&key).copied(), one["published"].as_f64(), "{one}");
        }
        match one["correct"].as_f64() {
            Some(volume) => corrected.insert(key, volume),
            None => corrected.remove(&key),
        };
    }
    let expected: BTreeMap<_, f64> =
        samples(&agent, "raw").iter().map(|one| (at(one), 2.0 * number(one))).collect();
    assert_eq!(corrected, expected);
    // The sums of each series say the same.
    for series in version["series"].as_array().unwrap() {
        let of_series = |one: &&Value| one["resource"] == series["resource"];
        let count = list.iter().filter(of_series).count();
        assert_eq!(series["differing"], count, "{series}");
        let missing = |one: &&Value| of_series(one) && one["what"] == "missing";
        let missing = list.iter().filter(missing).count() as u64;
        let samples = |key: &str| series[key].as_u64().unwrap();
        assert_eq!(samples("correct_samples"), samples("published_samples") + missing, "{series}");
    }
}

#[test]
fn absent_series_roll_back_to_the_state_before_and_the_version_does_not_come_back() {
    let agent = guarded("absent", DOUBLE, 10)
        .set("components.by_name.change.guard", json!({"samples": 1_000_000, "sums": 1_000_000}))
        .set("components.by_name.change.on_state_mismatch", "reset");
    install(&agent, "change", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let before = digest(&agent);
    // It renames all samples and does not count them.
    install(&agent, "change", &bytes("unit_conversion"));
    let back = logged(&running, "transformers rolled back", 1);
    let reason = text(&back[0], "reason").to_owned();
    assert!(reason.contains("series are absent, such as ") && reason.contains("(guard.absent)"));
    running.wait_for_cycles(2);
    command(&agent, &["reload"]).code(0).reports("nothing has changed");
    assert_eq!(digest(&agent), before);
    let held = promoted(&agent);
    assert_eq!((&held[0]["digest"], &held[0]["guard"]), (&json!(before), &json!(reason)));
    running.stop().code(0);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    assert_eq!(digest(&agent), before, "after a restart");
    // Another version ends that, and is guarded in turn.
    install(&agent, "change", &variant(&bytes("counting"), 1));
    logged(&running, "reload guard begun", 1);
    running.wait_for_cycles(1);
    assert_eq!(promoted(&agent), json!([]));
    running.stop().code(0);

    // The count goes on as if it had counted all samples: the version before has.
    let (raw, out) = (samples(&agent, "raw"), samples(&agent, "out"));
    let named = |name: &str| out.iter().filter(|one| text(one, "name") == name).collect::<Vec<_>>();
    let counts: Vec<f64> = named("count").into_iter().map(number).collect();
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    assert_eq!(counts.last().map(|last| last.round().to_string()), Some(raw.len().to_string()));
    // Every polled sample was published once, by one of both.
    let published: Vec<_> = named("cpu").into_iter().chain(named("x")).map(at).collect();
    let distinct: BTreeSet<_> = published.iter().cloned().collect();
    assert_eq!((published.len(), distinct), (raw.len(), raw.iter().map(at).collect()));
    assert!(!named("x").is_empty());
}

#[test]
fn a_kill_ends_the_guard_and_loses_nothing() {
    let agent = guarded("kill", COUNTING, 1000);
    install(&agent, "counting", &bytes("counting"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    install(&agent, "counting", &variant(&bytes("counting"), 1));
    logged(&running, "reload guard begun", 1);
    running.wait_for_cycles(3);
    let now = digest(&agent);
    running.signal(Signal::KILL);
    running.ended(PATIENCE);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    assert_eq!((digest(&agent), guards(&agent)), (now, json!([])), "the new version stays");
    running.stop().code(0);
    let distinct = |file: &str| -> BTreeMap<String, Value> {
        let all = samples(&agent, file).into_iter();
        all.map(|one| (text(&one, "id").to_owned(), one)).collect()
    };
    let (raw, out) = (distinct("raw"), distinct("out"));
    let passed: BTreeSet<_> =
        out.values().filter(|one| text(one, "name") == "cpu").map(at).collect();
    assert_eq!(passed, raw.values().map(at).collect());
    let counts = out.values().filter(|one| text(one, "name") == "count").map(number);
    let last = counts.fold(0.0, f64::max);
    assert_eq!(last.round().to_string(), raw.len().to_string());
}
