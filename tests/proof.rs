//! Streams as a receiver verifies them: through kills, drops, reloads, rotated keys, on a broker and
//! in a file.

use std::collections::BTreeMap;
use std::time::Duration;

use nephometer_proof::{
    Digest, ProjectContent, ProvedSample, ProvedValue, PublicKey, Record, SignedRecord, Statement,
    digest_samples,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Agent, Arrival, Consumer, Lab, PATIENCE, StreamMessage, broker, component, eventually,
    public_keys, scaled, verify_arrivals, verify_stream,
};

fn statements(records: &[Record]) -> Vec<&Statement> {
    let mut statements = Vec::new();
    for record in records {
        if let Record::Statement(statement) = record {
            statements.push(&**statement);
        }
    }
    statements
}

fn is_checkpoint(record: &Record) -> bool {
    matches!(record, Record::Checkpoint(_))
}

/// The contents of checkpoints, computed anew from the samples as they arrived.
fn assert_contents(messages: &[Arrival], keys: &[PublicKey]) {
    let (mut samples, mut checked): (BTreeMap<String, Vec<Value>>, _) = (BTreeMap::new(), 0);
    for message in messages {
        for sample in message.samples() {
            let project = sample["project_id"].as_str().unwrap_or_default().to_owned();
            samples.entry(project).or_default().push(sample);
        }
        let Some(Record::Checkpoint(checkpoint)) = record_of(message, keys) else { continue };
        let content = |(project, samples): (String, Vec<Value>)| ProjectContent {
            project: Digest::of_project(&project),
            samples: samples.len() as u64,
            digest: digest_samples(&mut samples.iter().map(proved).collect::<Vec<_>>()),
        };
        let contents: Vec<_> = std::mem::take(&mut samples).into_iter().map(content).collect();
        assert_eq!(checkpoint.batch.unwrap().contents, contents);
        checked += contents.len();
    }
    assert!(checked > 1 && samples.is_empty(), "{checked} contents, {samples:?} left");
}

fn record_of(message: &Arrival, keys: &[PublicKey]) -> Option<Record> {
    let signed = message.notification().get("nephometer")?.clone();
    Some(serde_json::from_value::<SignedRecord>(signed).unwrap().verify(keys).unwrap())
}

fn proved(sample: &Value) -> ProvedSample<'_> {
    let text = |key: &str| sample[key].as_str().unwrap();
    let time = text("timestamp").parse::<jiff::civil::DateTime>().unwrap();
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let volume = &sample["counter_volume"];
    ProvedSample {
        id: text("message_id"),
        meter: text("counter_name"),
        unit: text("counter_unit"),
        kind: text("counter_type"),
        resource: text("resource_id"),
        time: time.as_microsecond(),
        value: match volume.as_i64() {
            Some(whole) => ProvedValue::integer(whole.into()),
            None => ProvedValue::Double(volume.as_f64().unwrap()),
        },
    }
}

#[test]
fn kills_never_make_two_messages_of_one_number() {
    let consumer = Consumer::new(broker().amqp_url(), "proved");
    let agent = Agent::new("proof-kills")
        .libvirt("sim://?domains=5&seed=3")
        .amqp(broker().amqp_url())
        .everything_to(&["notifier://?topic=proved"]);
    let kills = scaled(4, 100);
    for round in 0..kills {
        let mut running = agent.run();
        running.wait_for_cycles(1);
        // Before, at and after the time at which envelopes are written.
        std::thread::sleep(Duration::from_millis(70 * round as u64 % 400));
        running.signal(Signal::KILL);
        running.ended(PATIENCE);
    }
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ended = running.stop().code(0);
    let wanted = usize::try_from(ended.ledger().publisher("notifier").samples).unwrap();
    let all = |arrivals: &[Arrival]| crate::delivery::first_deliveries(arrivals).len() >= wanted;
    consumer.wait_until("all samples", all);
    let verified = verify_arrivals(&consumer.all(), &public_keys(&agent));
    assert!(
        verified.last > u64::try_from(kills).unwrap() << 20,
        "numbers are skipped: {verified:?}"
    );
    let statements = statements(&verified.records);
    assert!(!statements.is_empty() && verified.count(is_checkpoint) > 1, "{verified:?}");
    let statement = statements[0];
    assert_eq!((&*statement.host, &*statement.sink), ("compute-1", "out"));
    assert_eq!((statement.sources[0].interval, &*statement.sources[0].name), (1.0, "everything"));
    assert!(verified.drops().iter().all(|(reason, _)| reason == "unclean_stop"), "{verified:?}");
}

#[test]
fn clean_restarts_continue_the_chain_without_a_hole() {
    let consumer = Consumer::new(broker().amqp_url(), "restarted");
    let agent = Agent::new("proof-restarts")
        .amqp(broker().amqp_url())
        .everything_to(&["notifier://?topic=restarted"]);
    for _ in 0..3 {
        let mut running = agent.run();
        running.wait_for_cycles(2);
        running.stop().code(0).reports("0 pending");
    }
    let messages = eventually("the last checkpoint", PATIENCE, || {
        let all = consumer.all();
        all.last().is_some_and(Arrival::is_record).then_some(all)
    });
    let verified = verify_arrivals(&messages, &public_keys(&agent));
    assert_eq!(verified.last, messages.len() as u64, "no number is missing");
    assert_eq!(statements(&verified.records).len(), 3, "one per start");
    assert_contents(&messages, &public_keys(&agent));
    assert_eq!(verified.drops(), []);
}

#[test]
fn drops_are_declared_when_the_receiver_is_back() {
    let lab = Lab::up("lab-declared", &["--no-libvirt"]);
    let consumer = Consumer::new(lab.amqp_url(), "declared");
    lab.stop_amqp();
    let agent = Agent::new("proof-drops")
        .amqp(lab.amqp_url())
        .everything_to(&["notifier://?topic=declared&policy=queue&max_queue_length=4"]);
    let mut running = agent.run();
    running.wait_for_cycles(6);
    lab.start_amqp();
    let declares = |arrivals: &[Arrival]| {
        arrivals.iter().any(|one| one.notification()["event_type"] == "nephometer.drops")
    };
    eventually("a declaration", PATIENCE, || declares(&consumer.all()).then_some(()));
    let ended = running.stop().code(0);
    let dropped = ended.ledger().publisher("notifier").dropped;
    let verified = verify_arrivals(&consumer.all(), &public_keys(&agent));
    let drops = verified.drops();
    assert!(dropped > 0 && drops.iter().all(|(reason, _)| reason == "policy"), "{drops:?}");
    assert!(drops.iter().any(|(_, samples)| *samples > 0), "{drops:?}");
}

#[test]
fn a_new_statement_precedes_what_another_component_has_made() {
    let consumer = Consumer::new(broker().amqp_url(), "stated");
    let agent = Agent::new("proof-reload").amqp(broker().amqp_url());
    let agent = agent.through("[]", &["notifier://?topic=stated"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let agent = agent.through(
        "[{name: unit_conversion, parameters: {target: {name: cpu2}}}]",
        &["notifier://?topic=stated"],
    );
    agent.execute(&["reload"]).code(0);
    running.wait_for_cycles(2);
    // The key is rotated while the agent runs, and revoked while it does not.
    agent.execute(&["keys", "rotate"]).code(0).reports("ok: key ");
    running.wait_for_cycles(2);
    running.stop().code(0);
    let keys = public_keys(&agent);
    let first = keys[0].id().to_string();
    agent.execute(&["keys", "revoke", &first]).code(0).reports("is revoked since");
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    let verified = verify_arrivals(&consumer.all(), &public_keys(&agent));
    let statements = statements(&verified.records);
    let components: Vec<usize> = statements.iter().map(|one| one.transformers.len()).collect();
    assert_eq!(components, [0, 1, 1, 1], "start, reload, rotation, start");
    let file = std::fs::read(component("unit_conversion")).unwrap();
    assert_eq!(statements[1].transformers[0].digest, Digest::of(&file));
    let counts: Vec<usize> = statements.iter().map(|one| one.keys.len()).collect();
    assert_eq!(counts, [1, 1, 2, 2]);
    assert!(statements[2].keys[0].replaced.is_some() && statements[2].keys[0].revoked.is_none());
    assert!(statements[3].keys[0].revoked.is_some());
    let unknown = agent.execute(&["keys", "revoke", "0123"]).code(64);
    assert!(unknown.stderr.contains("unknown key 0123; known keys: "), "{}", unknown.stderr);
}

/// A file has no headers: links and records are lines of their own.
#[test]
fn a_file_can_be_verified() {
    let agent = Agent::new("proof-file");
    let path = agent.folder.at("samples.ndjson");
    let url = format!("file://{}?json&provable", path.display());
    let agent = agent.everything_to(&[&url]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    running.stop().code(0);
    let mut messages: Vec<StreamMessage> = Vec::new();
    let (mut body, mut samples) = (String::new(), 0);
    for line in std::fs::read_to_string(&path).unwrap().split_inclusive('\n') {
        let value: Value = serde_json::from_str(line).unwrap();
        let link = &value["nephometer"]["link"];
        if link.is_null() {
            body.push_str(line);
            continue;
        }
        let text = |name: &str| link[name].as_str().unwrap().to_owned();
        assert_eq!(link["bytes"], body.len());
        let first: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
        let record = first.get("nephometer").cloned();
        samples += if record.is_some() { 0 } else { body.lines().count() };
        messages.push(StreamMessage {
            stream: text("stream"),
            sequence: link["sequence"].as_u64().unwrap(),
            previous: text("previous"),
            digest: text("digest"),
            body: std::mem::take(&mut body).into_bytes(),
            record: record.map(|one| serde_json::from_value::<SignedRecord>(one).unwrap()),
        });
    }
    let verified = verify_stream(&messages, &public_keys(&agent));
    assert_eq!(verified.last, messages.len() as u64);
    assert!(samples > 60 && verified.count(is_checkpoint) >= 3, "{samples}, {verified:?}");
    // Without the option the file has samples only.
    let plain = agent.folder.at("plain.ndjson");
    let agent = agent.everything_to(&[&format!("file://{}?json", plain.display())]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.stop().code(0);
    assert!(!std::fs::read_to_string(plain).unwrap().contains("nephometer"));
}
