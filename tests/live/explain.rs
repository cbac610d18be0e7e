//! `nephometer explain` with simulations: values that are there, transformed or dropped, and reasons why
//! one is not. `gaps.rs` has the reasons of gaps.

use serde_json::{Value, json};

use super::{RATE, agent};
use crate::harness::{Agent, PATIENCE, eventually, ndjson, text};

/// What `explain --json` prints.
pub(super) fn explain(agent: &Agent, meter: &str, resource: &str) -> Value {
    let ended = agent.execute(&["explain", meter, resource, "--json"]).code(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Waits for a status.
pub(super) fn becomes(agent: &Agent, (meter, resource): (&str, &str), status: &str) -> Value {
    eventually(&format!("{meter} of {resource} is {status}"), PATIENCE, || {
        let explained = explain(agent, meter, resource);
        (explained["status"] == status).then_some(explained)
    })
}

pub(super) fn reasons(explained: &Value) -> Vec<&str> {
    list(&explained["reasons"]).iter().map(|one| text(one, "reason")).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// UUID and name of an instance whose samples have, or have not, a project.
pub(super) fn instance(agent: &Agent, owned: bool) -> (String, String) {
    let arguments = ["once", "--raw", "--format", "ndjson", "--samples", "1"];
    let samples = ndjson(&agent.execute(&arguments).code(0).stdout);
    let found = samples.iter().find(|sample| sample["project_id"].is_string() == owned).unwrap();
    let metadata = &found["resource_metadata"];
    (text(metadata, "instance_id").to_owned(), text(metadata, "display_name").to_owned())
}

#[test]
fn a_value_that_is_published_is_explained_with_its_way() {
    let agent = agent("explain-present");
    let (uuid, name) = instance(&agent, true);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let explained = becomes(&agent, ("memory", &uuid), "present");
    assert_eq!(reasons(&explained), [""; 0]);
    let meter = &explained["meter"];
    assert_eq!((text(meter, "origin"), text(meter, "fields")), ("libvirt", "balloon.current"));
    assert_eq!(meter["groups"][1], "VIR_DOMAIN_STATS_BALLOON");
    assert_eq!(meter["unit_steps"][0]["from"], "KiB");
    let sources = list(&explained["sources"]);
    assert_eq!((&sources[0]["selects"], &sources[1]["selects"]), (&true.into(), &false.into()));
    let polled = &sources[0]["values"][0];
    assert_eq!((text(polled, "meter"), text(polled, "resource")), ("memory", &*uuid));
    let raw = &list(&explained["sinks"])[0];
    assert_eq!((text(raw, "sink"), text(&raw["output"][0], "meter")), ("raw", "memory"));
    assert_eq!(text(&raw["publishers"][0], "publisher"), "test://");
    let all = becomes(&agent, ("disk.device.read.bytes", &name), "present");
    let disk = text(&all["sources"][0]["values"][0], "resource").to_owned();
    assert!(disk.starts_with(&uuid), "{disk}");
    let one = becomes(&agent, ("disk.device.read.bytes", &disk), "present");
    assert_eq!(list(&one["sources"][0]["values"]).len(), 1, "{one}");

    let shown = agent.execute(&["explain", "memory", &name]).code(0).stdout;
    for expected in [
        "the last value has been published",
        "unit: KiB / 1024 = MiB",
        "source all: every 1 s, meters *",
        "polled memory = ",
        "published memory = ",
        "publisher test://: ",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let waited = agent.execute(&["explain", "memory", &name, "--wait", "--json"]).code(0).stdout;
    let waited: Value = serde_json::from_str(&waited).unwrap();
    assert!(waited["waited_seconds"].as_f64().unwrap() <= 5.0, "{waited}");
    assert_eq!(waited["status"], "present");
    running.stop().code(0);
}

#[test]
fn a_transformed_value_has_what_it_was_made_of() {
    let agent = agent("explain-rate");
    let (uuid, _) = instance(&agent, true);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let cpu = becomes(&agent, ("cpu_util", &uuid), "present");
    let rates = &list(&cpu["sinks"])[1];
    let step = &rates["transformers"][0]["steps"][0];
    assert_eq!(text(step, "did"), "transformed");
    assert_eq!(text(&step["took"][0], "meter"), "cpu");
    assert_eq!(text(&step["made"][0], "meter"), "cpu_util");
    let digest = text(&rates["transformers"][0], "digest");
    let status = agent.execute(&["status"]).code(0).stdout;
    assert!(status.contains(&format!("rate_of_change@{digest}")), "{status}");
    // Of the same sample, from its other end: `raw` publishes it as it is, `rates` the rate.
    let explained = explain(&agent, "cpu", &uuid);
    assert_eq!(text(&explained, "status"), "present");
    let made = &list(&explained["sinks"])[1]["output"];
    assert_eq!(text(&made[0], "meter"), "cpu_util");
    running.stop().code(0);

    let only = Agent::new("explain-rate-only").pipeline(&format!(
        "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [k]}}]\n\
         sinks: [{{name: k, transformers: [{RATE}], publishers: ['test://']}}]\n"
    ));
    let mut running = only.run();
    running.wait_for_cycles(1);
    let (uuid, _) = instance(&only, true);
    let explained = becomes(&only, ("cpu", &uuid), "transformed");
    assert_eq!(reasons(&explained), [""; 0]);
    let shown = only.execute(&["explain", "cpu", &uuid]).code(0).stdout;
    assert!(shown.contains("published as another meter") && shown.contains("  made cpu_util = "));
    running.stop().code(0);
}

#[test]
fn a_dropped_value_has_the_transformer_that_failed() {
    let agent = Agent::new("explain-dropped")
        .set("components.by_name.misbehaving.on_error", "drop")
        .pipeline(
            "sources: [{name: s, interval: 1, meters: [cpu], sinks: [k, held]}]\n\
             sinks:\n\
             - {name: k, transformers: [{name: misbehaving, parameters: {mode: trap-transform}}], publishers: ['test://']}\n\
             - {name: held, publishers: ['test://']}\n",
        );
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let (uuid, _) = instance(&agent, true);
    // The other sink has published it.
    let explained = eventually("a dropped sample", PATIENCE, || {
        let explained = explain(&agent, "cpu", &uuid);
        let steps = &explained["sinks"][0]["transformers"][0]["steps"];
        (steps[0]["did"] == "dropped").then_some(explained)
    });
    assert_eq!(text(&explained, "status"), "present");
    running.stop().code(0);

    let agent = Agent::new("explain-dropped-only")
        .set("components.by_name.misbehaving.on_error", "drop")
        .through("[{name: misbehaving, parameters: {mode: trap-transform}}]", &["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let (uuid, _) = instance(&agent, true);
    let explained = becomes(&agent, ("cpu", &uuid), "dropped");
    assert!(reasons(&explained).contains(&"dropped_by_transformer"), "{explained:#}");
    eventually("the same as text", PATIENCE, || {
        let shown = agent.execute(&["explain", "cpu", &uuid]).code(0).stdout;
        let expected = ["transformer 0 misbehaving@", "dropped_by_transformer", "on_error: drop"];
        expected.iter().all(|text| shown.contains(text)).then_some(())
    });
    running.stop().code(0);

    // With the default, the batches wait.
    let agent = Agent::new("explain-waiting")
        .set("shutdown_grace", "1s")
        .through("[{name: misbehaving, parameters: {mode: trap-transform}}]", &["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let explained = becomes(&agent, ("cpu", &uuid), "waiting");
    assert_eq!(reasons(&explained), ["sink_not_running"], "{explained:#}");
    running.stop().code(69);
}

#[test]
fn a_missing_value_has_its_reason() {
    let agent = Agent::new("explain-missing")
        .libvirt("sim://?domains=10&seed=1")
        .set("libvirt.unowned", false)
        .pipeline(
            "sources: [{name: s, interval: 1, meters: ['cpu', 'memory*', 'instance*'], sinks: [k]}]\n\
             sinks: [{name: k, publishers: ['test://']}]\n",
        );
    let (uuid, name) = instance(&agent, true);
    // The simulation is the same for every agent.
    let (unowned, _) = instance(
        &Agent::new("explain-unowned")
            .libvirt("sim://?domains=10&seed=1")
            .everything_to(&["test://"]),
        false,
    );
    let mut running = agent.run();
    running.wait_for_cycles(2);
    for (meter, resource, reason, hint) in [
        ("vcpus", &*uuid, "not_selected", "s has cpu memory* instance*"),
        ("instance", &uuid, "other_release", "liberty"),
        ("memory_usage", &uuid, "unknown_meter", "no transformers"),
        ("cpu", "a75c2fa5-6c03-45a8-bbf7-b993cfcdec27", "no_domain", &name),
        ("cpu", "no-such-name", "no_domain", &name),
        ("cpu", &unowned, "not_metered", "libvirt.unowned"),
        ("cpu", &format!("{uuid}-vdz"), "no_device", "vda"),
        ("libvirt.vcpu.delay", &uuid, "not_selected", "s has"),
    ] {
        let explained = explain(&agent, meter, resource);
        assert_eq!(text(&explained, "status"), "missing", "{meter}");
        assert_eq!(reasons(&explained).first(), Some(&reason), "{explained:#}");
        let why = text(&explained["reasons"][0], "text");
        assert!(why.contains(hint), "{hint}: {why}");
        let shown = agent.execute(&["explain", meter, resource]).code(0).stdout;
        assert!(shown.contains("there is no value") && shown.contains(reason), "{shown}");
    }
    assert_eq!(explain(&agent, "memory_usage", &uuid)["meter"]["similar"][0], "memory.usage");
    agent.execute(&["explain", "disk.*", &uuid]).code(64).reports("not the name of a meter");
    // A reload is known at once.
    agent.folder.write(
        "pipeline.yaml",
        "sources: [{name: s, interval: 1, meters: [vcpus], sinks: [k]}]\n\
         sinks: [{name: k, publishers: ['test://']}]\n",
    );
    agent.execute(&["reload"]).code(0);
    becomes(&agent, ("vcpus", &uuid), "present");
    assert_eq!(reasons(&explain(&agent, "cpu", &uuid)), ["not_selected"]);
    running.stop().code(0);

    // Nothing was polled so far: the first cycle waits for its place within the interval.
    let agent = agent.set("polling", json!({"spread": true})).pipeline(
        "sources: [{name: s, interval: 3600, meters: ['*'], sinks: [k]}]\n\
         sinks: [{name: k, publishers: ['test://']}]\n",
    );
    let running = agent.run();
    let explained = eventually("an answer", PATIENCE, || {
        let ended = agent.execute(&["explain", "cpu", &uuid, "--json"]);
        ended.status.success().then(|| serde_json::from_str::<Value>(&ended.stdout).unwrap())
    });
    assert_eq!(reasons(&explained), ["no_cycle"], "{explained:#}");
    running.stop().code(0);
}
