//! The collector: samples of real agents over a real broker, stored once through kills and full
//! disks; files; dead letters; its API and the command line.

mod api;
mod audit_page;
mod clickhouse;
mod client;
mod closing;
mod export;
mod figures;
mod gaps;
mod keystone;
mod kills;
mod openapi;
mod page;
mod queries;
mod receivers;
mod rotation;

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::{Value, json};

use crate::harness::{
    Agent, Collector, PATIENCE, api_of, at_broker, broker, declare, eventually, request,
};

/// Stored samples by id; panics if an id is there twice.
fn stored(collector: &Collector) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for sample in collector.samples() {
        let id = sample["id"].as_str().unwrap().to_owned();
        assert!(all.insert(id.clone(), sample).is_none(), "{id} is stored twice");
    }
    all
}

/// The time of an answer, which has no zone.
fn moment(value: &Value) -> jiff::Timestamp {
    format!("{}Z", value.as_str().unwrap()).parse().unwrap()
}

fn publish(topic: &str, bodies: &[String]) {
    at_broker(broker().amqp_url(), async |channel| {
        for body in bodies {
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let key = format!("{topic}.sample");
            let sent = channel.basic_publish(
                "ceilometer".into(),
                key.as_str().into(),
                options,
                body.as_bytes(),
                BasicProperties::default(),
            );
            sent.await?.await?;
        }
        Ok(())
    });
}

/// A line of a real Ceilometer, signed with `golden-secret`, at the present time. The signature is
/// then wrong.
fn golden(number: usize) -> Value {
    let file = include_str!("../vectors/messages.ndjson");
    serde_json::from_str(file.lines().nth(number).unwrap()).unwrap()
}

fn wait_for_count(collector: &Collector, name: &str, count: u64) {
    eventually(&format!("{count} {name}"), PATIENCE, || {
        (collector.state()["counts"][name].as_u64() == Some(count)).then_some(())
    });
}

/// The real collector requeues such messages for ever.
#[test]
fn bad_samples_cost_themselves_and_bad_messages_are_dead_letters() {
    let url = broker().amqp_url();
    declare(url, "spoiled", false).unwrap();
    // Golden messages are from 2026-11: the window is wide enough for them.
    let collector = Collector::new("collector-bad")
        .consuming(url, &["spoiled"])
        .set("store.window", "40000d")
        .set(
            "secrets",
            json!([
                {"name": "new", "secret": "not used yet"},
                {"name": "golden", "secret": "golden-secret"},
            ]),
        );
    let running = collector.run();
    let (good, mut altered, mut unsigned) = (golden(0), golden(1), golden(2));
    altered["counter_volume"] = json!(7);
    unsigned.as_object_mut().unwrap().shift_remove("message_signature");
    let notification = json!({"event_type": "metering", "payload": [good, altered, unsigned, 5]});
    let enveloped =
        json!({"oslo.version": "2.0", "oslo.message": notification.to_string()}).to_string();
    let polling = json!({"event_type": "telemetry.polling", "payload": {"samples": [golden(3)]}});
    let object = json!({"event_type": "metering", "payload": golden(4)}).to_string();
    let bodies = ["{".to_owned(), object.clone(), enveloped, polling.to_string(), object];
    eventually("the queue exists", PATIENCE, || {
        (!running.logged("broker connected").is_empty()).then_some(())
    });
    publish("spoiled", &bodies);
    wait_for_count(&collector, "stored", 2);
    wait_for_count(&collector, "wrong_signature", 1);
    let state = collector.state();
    let counts = &state["counts"];
    assert_eq!((&counts["unsigned"], &counts["invalid"]), (&json!(1), &json!(1)), "{state}");
    eventually("dead letters", PATIENCE, || (collector.state()["dead_letters"] == 2).then_some(()));
    let listed = collector.execute(&["dead-letters", "ls"]).code(0);
    for reason in ["the body is not JSON", "the payload is an object without `samples`"] {
        assert!(listed.stdout.contains(reason), "{}", listed.stdout);
    }
    let file = collector.folder.at("letter");
    collector.execute(&["dead-letters", "export", "1", file.to_str().unwrap()]).code(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
    let retried = collector.execute(&["dead-letters", "retry"]).code(0);
    assert!(retried.stdout.contains("ok: 0 read, 0 samples stored, 2 still cannot be read"));
    collector.execute(&["dead-letters", "rm", "1", "2"]).code(0);
    assert_eq!(collector.state()["dead_letters"], 0);
    let missing = collector.execute(&["dead-letters", "export", "9", "x"]).code(64);
    assert!(missing.stderr.contains("no dead letter 9"), "{}", missing.stderr);
    let api = api_of(&running);
    let metrics = request(&api, "GET", "/metrics", &[], "");
    let metrics = metrics.body.as_str().unwrap();
    assert!(metrics.contains("samples_refused_total{reason=\"wrong_signature\"} 1"), "{metrics}");
    running.stop().code(0);
}

/// Files of the agent, with links of streams and without; the same file again is found by its ids.
#[test]
fn files_of_the_agent_are_imported_once() {
    let agent = Agent::new("collector-file-agent").libvirt("sim://?domains=3&seed=5");
    let paths = ["plain.ndjson", "proved.ndjson"].map(|name| agent.folder.at(name));
    let urls = [
        format!("file://{}", paths[0].display()),
        format!("file://{}?json&provable", paths[1].display()),
    ];
    let agent = agent.everything_to(&[&urls[0], &urls[1]]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    let lines = std::fs::read_to_string(&paths[0]).unwrap().lines().count();
    assert!(lines > 20, "{lines}");
    let [plain, proved] = paths.each_ref().map(|path| path.to_str().unwrap());
    let collector = Collector::new("collector-import");
    let refused = collector.execute(&["import", plain]).code(0);
    assert!(refused.stderr.contains(&format!("refused: {lines} unsigned; --unsigned accepts")));
    let first = collector.execute(&["import", "--unsigned", proved]).code(0);
    assert!(
        first.stdout.contains(&format!("ok: {lines} stored, 0 duplicates")),
        "{}",
        first.stdout
    );
    let again = collector.execute(&["import", "--unsigned", plain, proved]).code(0);
    let expected = format!("ok: 0 stored, {} duplicates", 2 * lines);
    assert!(again.stdout.contains(&expected), "{}", again.stdout);
    let messages = collector.state()["files"][0]["messages"].as_u64().unwrap();
    assert!(messages >= 4, "records of the stream are kept: {messages}");

    // A backup is the store, and a restored one knows what it has.
    let target = collector.folder.at("backup");
    collector.execute(&["backup", target.to_str().unwrap()]).code(0);
    let restored = collector.folder.at("restored");
    let collector = collector.set("store.path", restored.to_str().unwrap());
    collector.execute(&["restore", target.to_str().unwrap()]).code(0).reports("ok: ");
    let again = collector.execute(&["import", "--unsigned", plain]).code(0);
    assert!(
        again.stdout.contains(&format!("ok: 0 stored, {lines} duplicates")),
        "{}",
        again.stdout
    );
    collector
        .execute(&["restore", target.to_str().unwrap()])
        .code(69)
        .reports("already has a store");
}

#[test]
fn problems_of_the_configuration_have_place_and_remedy() {
    let collector = Collector::new("collector-config").set("store.windows", "1d");
    let wrong = collector.execute(&["check"]).code(78);
    assert!(wrong.stderr.contains("the key \"windows\" is unknown; did you mean `window`?"));
    let collector = Collector::new("collector-config").set("api.access", "tokens");
    let collector = collector.set("api.tokens", "/nowhere/tokens");
    let missing = collector.execute(&["run"]).code(78);
    assert!(missing.stderr.contains("nephometer-collector token"), "{}", missing.stderr);
    let collector = Collector::new("collector-config").set("api.listen", "off");
    collector
        .execute(&["check"])
        .code(0)
        .reports("ok: 0 brokers, 0 receivers, 1 retention classes");
}
