//! `nephometer spool` on pending and rejected envelopes.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use crate::delivery::first_deliveries;
use crate::harness::{
    Agent, Arrival, Consumer, PATIENCE, broker, closed_port, eventually, ndjson, text,
};
use crate::hostile::emissions::multiplies;

fn spools(agent: &Agent) -> Vec<Value> {
    let ended = agent.execute(&["spool", "ls", "--json"]).code(0);
    serde_json::from_str::<Value>(&ended.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn pending_envelopes_are_listed_checked_exported_and_requeued() {
    let url = broker().amqp_url();
    let away = format!("notifier://guest:hush@127.0.0.1:{}/?topic=spooled", closed_port());
    let agent = Agent::new("spool").set("shutdown_grace", "1s").amqp(url);
    agent.execute(&["spool", "ls"]).code(69).reports("there is no store at");
    let agent = agent.everything_to(&[&away]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let [spool] = &spools(&agent)[..] else { panic!("one spool") };
    assert!(spool["held"].as_u64().unwrap() >= 2 && spool["publisher"] == true, "{spool}");
    let name = text(spool, "spool").to_owned();
    assert!(name.starts_with("out/notifier://127.0.0.1:") && !name.contains("hush"), "{name}");
    agent.execute(&["spool", "check"]).code(0).reports("ok: all envelopes are readable");
    let ledger = running.stop().code(69).ledger();
    let pending = ledger.publisher("notifier").pending;

    // The same without an agent: this time from the disk.
    let [spool] = &spools(&agent)[..] else { panic!("one spool") };
    assert_eq!(
        (spool["held"].as_u64(), spool["samples"].as_u64()),
        (Some(pending), Some(ledger.polled))
    );
    agent.execute(&["spool", "check"]).code(0);
    let exported = ndjson(&agent.execute(&["spool", "export", &name]).code(0).stdout);
    assert_eq!(exported.len() as u64, pending);
    let ids: HashSet<&str> = exported.iter().map(|envelope| text(envelope, "id")).collect();
    assert_eq!(ids.len(), exported.len());
    // Records of the stream stay with it.
    let with_samples = exported.iter().filter(|one| one["samples"] != 0);
    let samples: HashSet<&str> = with_samples.map(|one| text(one, "id")).collect();
    assert!(!samples.is_empty() && samples.len() < ids.len());
    for envelope in &exported {
        let body: Value = serde_json::from_str(envelope["body"].as_str().unwrap()).unwrap();
        let inner: Value = serde_json::from_str(body["oslo.message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["message_id"], envelope["id"]);
        assert_eq!(text(envelope, "digest").len(), 64);
        assert_eq!(
            inner["payload"].as_array().unwrap().len() as u64,
            envelope["samples"].as_u64().unwrap()
        );
    }
    agent.execute(&["spool", "export", "nobody's"]).code(64).reports("unknown spool nobody's");

    // With another broker the old spool is orphaned, logged, and requeued to the new one.
    let agent = agent.everything_to(&["notifier://?topic=spooled"]);
    let consumer = Consumer::new(url, "spooled");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let logged =
        running.logged("orphaned spool, `nephometer spool requeue` moves it to another publisher");
    assert_eq!((logged.len(), logged[0]["envelopes"].as_u64()), (1, Some(pending)));
    let to = "out/notifier://?topic=spooled";
    agent
        .execute(&["spool", "requeue", to, "--to", &name])
        .code(64)
        .reports("is in use by a publisher");
    agent
        .execute(&["spool", "requeue", &name, "--to", to])
        .code(0)
        .reports(&format!("{} envelopes", samples.len()));
    let ended = running.stop().code(0).ledger();
    consumer.wait_until("all samples", |all| first_deliveries(all).len() as u64 == ended.polled);
    let id = |one: &Arrival| text(&one.notification(), "message_id").to_owned();
    let arrived: HashSet<String> = consumer.arrivals().iter().map(id).collect();
    assert!(samples.iter().all(|id| arrived.contains(*id)));
    assert!(spools(&agent).iter().all(|spool| spool["held"] == 0));
}

#[test]
fn rejected_envelopes_are_kept_and_can_be_sent_again() {
    // A datagram has at most 65,507 bytes: the system refuses one with metadata of this length.
    let agent = Agent::new("spool-refused").libvirt("sim://?domains=1&seed=1");
    let components = agent.folder.at("large");
    fs::create_dir(&components).unwrap();
    fs::write(components.join("large.wasm"), multiplies(1, 70_000)).unwrap();
    let agent = agent.set("components.path", serde_json::json!([components])).pipeline(
        "sources: [{name: s, interval: 1, meters: [cpu], sinks: [out]}]\n\
         sinks: [{name: out, transformers: [{name: large, parameters: {}}], publishers: ['udp://127.0.0.1:9']}]\n",
    );
    let mut running = agent.run();
    running.wait_for_cycles(1);
    eventually("a rejected envelope", PATIENCE, || {
        spools(&agent).first().filter(|spool| spool["set_aside"].as_u64() > Some(0)).map(drop)
    });
    let ended = running.stop().code(0);
    let publisher = ended.ledger().publisher("udp").clone();
    assert!(publisher.dropped > 0 && publisher.reasons.contains_key("permanent"), "{publisher:?}");
    let export =
        ndjson(&agent.execute(&["spool", "export", "out/udp://127.0.0.1:9"]).code(0).stdout);
    assert_eq!(export.len() as u64, publisher.dropped);
    assert!(export.iter().all(|one| one["refused"].is_string() && one["body_hex"].is_string()));
    agent.execute(&["spool", "requeue", "out/udp://127.0.0.1:9"]).code(0);
    let [spool] = &spools(&agent)[..] else { panic!("one spool") };
    assert_eq!((&spool["set_aside"], spool["held"].as_u64()), (&0.into(), Some(publisher.dropped)));
}
