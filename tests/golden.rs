//! Against recorded messages of Ceilometer's own agent: the same fields, types and order of keys,
//! meter by meter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::harness::{Agent, Arrival, Consumer, broker, keys, ndjson, number, root, text, verify};

const SECRET: &str = "golden-secret";

struct Golden {
    messages: Vec<Value>,
    samples: Vec<Value>,
}

fn golden() -> Golden {
    let text = fs::read_to_string(root().join("tests/golden/messages.json")).unwrap();
    let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
    let samples = messages
        .iter()
        .flat_map(|message| message["oslo.message"]["payload"]["samples"].as_array().unwrap())
        .cloned()
        .collect();
    Golden { messages, samples }
}

/// An agent that reads the recording of the same host at the same time.
fn replay(name: &str) -> Agent {
    let folder = root().join("tests/golden").canonicalize().unwrap();
    Agent::new(name)
        .libvirt(&format!("replay://{}", folder.display()))
        .set("host", "compute-1")
        .set("message.telemetry_secret", SECRET)
        // As Ceilometer: only what is Nova's.
        .set("libvirt.unowned", false)
}

#[test]
fn messages_are_like_ceilometers() {
    let url = broker().amqp_url();
    let golden = golden();
    assert_eq!(verify(&golden.samples, SECRET), golden.samples.len());
    let agent = replay("golden-messages").amqp(url).everything_to(&["notifier://?topic=golden"]);
    let consumer = Consumer::new(url, "golden");
    let ledger = agent.does(&["run"]).code(0).ledger();
    let polled = usize::try_from(ledger.polled).unwrap();
    let arrivals = consumer.wait_until("all samples", |arrivals| {
        arrivals.iter().map(|arrival| arrival.samples().len()).sum::<usize>() >= polled
    });
    let theirs = &golden.messages[0];
    for arrival in &arrivals {
        assert_eq!(keys(&arrival.notification()), keys(&theirs["oslo.message"]));
        assert_eq!(arrival.exchange, theirs["exchange"]);
    }
    let ours: Vec<Value> = arrivals.iter().flat_map(Arrival::samples).collect();
    assert_eq!(verify(&ours, SECRET), polled);
    compare(&golden.samples, &ours);
}

#[test]
fn once_prints_what_ceilometer_sends() {
    let golden = golden();
    let agent = replay("golden-once").everything_to(&["notifier://"]);
    let ended = agent.does(&["once", "--raw", "--format", "ndjson", "--samples", "2"]).code(0);
    // Both ticks of the recording, in the keys of a sample instead of a message.
    let ours = ndjson(&ended.stdout);
    let series = by_series(&ours);
    assert_eq!(
        by_series(&golden.samples).keys().collect::<Vec<_>>(),
        series.keys().collect::<Vec<_>>()
    );
    // The time of a sample is the recording's, to the microsecond.
    let times: BTreeSet<&str> = ours.iter().map(|sample| text(sample, "timestamp")).collect();
    assert_eq!(times, BTreeSet::from(["2026-11-22T20:53:23.895156", "2026-11-22T20:53:26.223407"]));
    ended.says("instance-200001");
}

type Series<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Value>>;

fn by_series(samples: &[Value]) -> Series<'_> {
    let mut series = Series::new();
    for sample in samples {
        series.entry((text(sample, "name"), text(sample, "resource_id"))).or_default().push(sample);
    }
    series
}

/// Insists that we have the same series, and in each of them the same fields in the same order
/// with the same contents, values between those of our ticks before and after.
fn compare(theirs: &[Value], ours: &[Value]) {
    let (theirs, ours) = (by_series(theirs), by_series(ours));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (series, golden) in &theirs {
        let golden = golden[0];
        let [before, after] = ours[series][..] else { panic!("{series:?} not in both ticks") };
        for sample in [before, after] {
            same_shape(golden, sample, &format!("{series:?}"));
            for key in
                ["source", "counter_name", "counter_type", "counter_unit", "user_id", "project_id"]
            {
                assert_eq!(golden[key], sample[key], "{key} of {series:?}");
            }
            same_metadata(&golden["resource_metadata"], &sample["resource_metadata"]);
        }
        let slack = if series.0.starts_with("memory.") { 1.0 } else { 0.0 };
        let (low, high) = (number(before), number(after));
        let (low, high) = (low.min(high) - slack, high.max(low) + slack);
        assert!((low..=high).contains(&number(golden)), "{series:?}: {low} <= {golden} <= {high}");
    }
}

fn same_metadata(theirs: &Value, ours: &Value) {
    let mut theirs = theirs.clone();
    // Upstream asked Nova for this one; the XML of these domains does not have it.
    if theirs["flavor"]["id"] == "1" {
        theirs["flavor"]["id"] = theirs["flavor"]["name"].clone();
    }
    assert_eq!(theirs, *ours);
}

/// The same keys in the same order and the same types, at all levels.
fn same_shape(theirs: &Value, ours: &Value, place: &str) {
    match (theirs, ours) {
        (Value::Object(map), Value::Object(_)) => {
            assert_eq!(keys(theirs), keys(ours), "{place}");
            for (key, value) in map {
                same_shape(value, &ours[key], &format!("{place}.{key}"));
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            assert_eq!(theirs.len(), ours.len(), "{place}");
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                same_shape(theirs, ours, &format!("{place}.{index}"));
            }
        }
        _ => assert_eq!(kind(theirs), kind(ours), "{place}: {theirs} and {ours}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
