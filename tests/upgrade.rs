//! Stores of earlier versions, with data in flight: what was pending is sent once, with its ids, what
//! waited is processed once, components continue from their states, and the collector migrates.
//! `tests/stores` has them; `scripts/package-test` upgrades installed packages, and goes back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::delivery::first_deliveries;
use crate::harness::{
    Agent, Collector, Consumer, PATIENCE, api_of, broker, eventually, ndjson, root, text,
};

/// Unpacks a file of `tests/stores`.
fn unpacked(name: &str) -> Vec<u8> {
    let file = root().join("tests/stores").join(name);
    let output = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", file.display());
    output.stdout
}

/// Unpacks an archive of `tests/stores` into a folder, which must not exist.
fn unpack(name: &str, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let archive = root().join("tests/stores").join(name);
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder).status();
    assert!(status.unwrap().success());
}

fn ids(samples: &[Value]) -> Vec<String> {
    samples.iter().map(|sample| text(sample, "id").to_owned()).collect()
}

/// `tests/stores/1` was written before spools existed: 24 polling cycles of two domains. The broker was
/// unavailable and has none of them; the file has all that the accumulator had flushed.
#[test]
fn store_of_the_previous_format_is_upgraded() {
    let agent = Agent::new("spool-upgrade")
        // Includes compiling components, on a machine that may be busy.
        .set("shutdown_grace", "60s")
        .amqp(broker().amqp_url())
        .libvirt("sim://?domains=2&seed=1");
    let (store, out) = (agent.folder.at("store"), agent.folder.at("out"));
    fs::create_dir(&store).unwrap();
    let host = root().join("tests/stores/1/host-generation");
    fs::copy(host, store.join("host-generation")).unwrap();
    fs::write(store.join("agent.redb"), unpacked("1/agent.redb.gz")).unwrap();
    let rate = "{name: rate_of_change, parameters: {target: {name: cpu_util, unit: \"%\", type: gauge, scale: \"100.0 / (10**9 * (resource_metadata.cpu_number or 1))\"}}}";
    let agent = agent.pipeline(&format!(
        "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [file, broker]}}]\n\
         sinks:\n\
         - {{name: file, transformers: [{{name: accumulator, parameters: {{size: 5}}}}], publishers: ['file://{}?json']}}\n\
         - {{name: broker, transformers: [{rate}], publishers: ['notifier://?topic=upgrade']}}\n",
        out.display()
    ));
    let consumer = Consumer::new(broker().amqp_url(), "upgrade");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    assert!(ended.logged("damaged store moved aside").is_empty());
    // Two domains, from the second polling cycle on.
    let cycles = usize::try_from(ended.ledger().polled / 2).unwrap();
    let arrivals =
        consumer.wait_until("all rates", |all| first_deliveries(all).len() >= 2 * (23 + cycles));
    let samples = first_deliveries(&arrivals);
    assert_eq!(samples.len(), 2 * (23 + cycles), "{:?}", ended.ledger());
}

/// The configuration with which `tests/stores/2` was written; no broker was there.
fn in_flight(name: &str) -> Agent {
    let rate = "{name: rate_of_change, parameters: {target: {name: rate, unit: x, type: gauge, scale: '1'}}}";
    let agent = Agent::new(name)
        // Includes compiling components, on a machine that may be busy.
        .set("shutdown_grace", "60s")
        .libvirt("sim://?domains=2&seed=1")
        .pipeline(&format!(
            "sources: [{{name: s, interval: 1, meters: [cpu], sinks: [raw, rates, parts]}}]\n\
             sinks:\n\
             - {{name: raw, publishers: ['notifier://?topic=before-raw']}}\n\
             - {{name: rates, transformers: [{rate}], publishers: ['notifier://?topic=before-rates']}}\n\
             - {{name: parts, transformers: [{{name: accumulator, parameters: {{size: 7}}}}], publishers: ['notifier://?topic=before-parts']}}\n",
        ));
    unpack("2/store.tar.gz", &agent.folder.at("store"));
    agent.amqp(broker().amqp_url())
}

/// `tests/stores/2` was written by an earlier commit (`scripts/package-before` names it), which was
/// killed after 30 polling cycles: envelopes in three spools, and states of two components.
#[test]
fn data_in_flight_is_taken_up_once() {
    let agent = in_flight("upgrade-flight");
    // What that version itself listed as pending, by topic.
    let pending: Value = serde_json::from_slice(&unpacked("2/pending.json.gz")).unwrap();
    let topics = ["before-raw", "before-rates", "before-parts"];
    let [raw, rates, parts] = topics.map(|topic| Consumer::new(broker().amqp_url(), topic));
    let polled_before = pending["before-raw"].as_array().unwrap().len();
    assert_eq!(polled_before, 60);

    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    assert!(ended.logged("damaged store moved aside").is_empty());
    let total = |topic: &str, consumer: &Consumer| {
        let before: BTreeSet<&str> =
            pending[topic].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let arrived = eventually(topic, PATIENCE, || {
            let arrived = ids(&consumer.samples());
            let known: BTreeSet<&str> = arrived.iter().map(String::as_str).collect();
            before.is_subset(&known).then_some(arrived)
        });
        let once: BTreeSet<&String> = arrived.iter().collect();
        assert_eq!(once.len(), arrived.len(), "{topic}: a sample came twice");
        arrived.len()
    };
    // The agent has ended without anything pending: all of it has arrived.
    let raw = total("before-raw", &raw);
    assert!(raw >= polled_before + 4, "{raw}");
    // A rate of all but the first sample of each domain: the components continue from their states.
    assert_eq!(total("before-rates", &rates), raw - 2);
    assert_eq!(total("before-parts", &parts), raw / 8 * 8);
}

/// `tests/stores/collector-1` has files of the first schema, as an earlier commit has written them, and
/// what that commit answered.
#[test]
fn files_of_the_earlier_collector_are_migrated() {
    let collector = Collector::new("upgrade-collector").set("store.window", "40000d");
    let store = collector.folder.at("store");
    unpack("collector-1/store.tar.gz", &store);
    // A command that only reads leaves the files alone, and names the remedy.
    collector
        .execute(&["query", "samples"])
        .code(69)
        .reports("start the collector, which migrates it");
    let expected = ndjson(std::str::from_utf8(&unpacked("collector-1/samples.ndjson.gz")).unwrap());
    assert!(expected.len() > 20);
    let running = collector.run();
    api_of(&running);
    assert_eq!(collector.samples(), expected);
    let state = collector.state();
    assert_eq!(
        (&state["dead_letters"], &state["counts"]["stored"]),
        (&json!(1), &json!(expected.len()))
    );
    // The sums are counted again from the same samples.
    let sums = collector.query(&["statistics", "--meter", "cpu"]);
    let of_cpu = expected.iter().filter(|sample| sample["meter"] == "cpu").count();
    assert_eq!(sums[0]["count"], of_cpu);
    running.stop().code(0);
    // What comes once more is found as stored.
    let file = collector.folder.write("again.ndjson", unpacked("collector-1/messages.ndjson.gz"));
    collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0);
    let state = collector.state();
    let counts = &state["counts"];
    assert_eq!(
        (&counts["stored"], &counts["duplicate"]),
        (&json!(expected.len()), &json!(expected.len()))
    );
}
