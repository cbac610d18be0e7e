//! Delivery to the broker and other receivers: no pending envelope is lost, the order is kept, the
//! ledger adds up, and messages have the wire format of Ceilometer.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lapin::BasicProperties;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Agent, Arrival, Balance, Consumer, Lab, MESSAGE, PATIENCE, Relay, broker, closed_port, declare,
    eventually, field, keys, ndjson, scaled, sorted_by_time, text, verify,
};

/// The first delivery of every sample: delivery is at least once, and repeats have the same id.
pub(crate) fn first_deliveries(arrivals: &[Arrival]) -> Vec<Value> {
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut first = Vec::new();
    for sample in arrivals.iter().flat_map(Arrival::samples) {
        let id = text(&sample, "id").to_owned();
        match seen.get(&id) {
            Some(before) => assert_eq!(*before, sample, "two samples with the same id"),
            None => {
                seen.insert(id, sample.clone());
                first.push(sample);
            }
        }
    }
    first
}

#[test]
fn broker_outages_lose_nothing() {
    let lab = Lab::up("lab-away", &["--no-libvirt"]);
    let consumer = Consumer::new(lab.amqp_url(), "away");
    let cycles = scaled(2, 30);

    // Unavailable at the start.
    lab.stop_amqp();
    let agent = Agent::new("delivery-away")
        .libvirt("sim://?domains=3&seed=7")
        .amqp(lab.amqp_url())
        .everything_to(&["notifier://?topic=away"]);
    let mut running = agent.run();
    running.wait_for_cycles(cycles);
    assert_eq!(consumer.arrivals().len(), 0);
    lab.start_amqp();
    consumer.wait_for(consumer.arrivals().len() + cycles);

    // Stopped in order while the agent runs. The agent is suspended meanwhile: the queue is lost with
    // the broker, so everything that the broker has confirmed must be consumed before.
    running.signal(Signal::STOP);
    consumer_is_idle(&consumer);
    lab.stop_amqp();
    running.signal(Signal::CONT);
    running.wait_for_cycles(cycles);
    lab.start_amqp();
    consumer.wait_for(consumer.arrivals().len() + cycles);

    // Killed while the agent runs.
    running.signal(Signal::STOP);
    consumer_is_idle(&consumer);
    lab.kill_amqp();
    running.signal(Signal::CONT);
    running.wait_for_cycles(cycles);
    lab.start_amqp();
    consumer.wait_for(consumer.arrivals().len() + cycles);

    let ended = running.stop().code(0);
    let ledger = ended.ledger();
    let publisher = ledger.publisher("notifier");
    assert_eq!((publisher.dropped, publisher.pending), (0, 0), "{ledger:?}");
    assert_eq!(publisher.samples, ledger.polled);
    let polled = usize::try_from(ledger.polled).unwrap();
    let all_there = |arrivals: &[Arrival]| first_deliveries(arrivals).len() == polled;
    let arrivals = consumer.wait_until(&format!("{polled} samples"), all_there);
    let samples = first_deliveries(&arrivals);
    assert!(sorted_by_time(&samples) > 3);
    assert_eq!(verify(&samples, "change this for valid signing"), polled);
}

/// Waits until no message has arrived for 400 ms.
fn consumer_is_idle(consumer: &Consumer) {
    let mut before = usize::MAX;
    eventually("an idle consumer", PATIENCE, || {
        let now = consumer.arrivals().len();
        let idle = std::mem::replace(&mut before, now) == now;
        std::thread::sleep(Duration::from_millis(400));
        idle.then_some(())
    });
}

#[test]
fn pending_envelopes_are_reported_at_the_end() {
    let agent = Agent::new("delivery-held")
        .set("shutdown_grace", "1s")
        .everything_to(&["notifier://?topic=held"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let ended = running.stop().code(69);
    let ledger = ended.ledger();
    let publisher = ledger.publisher("notifier");
    assert!(publisher.entered >= 3, "{ledger:?}");
    assert_eq!((publisher.left, publisher.dropped), (0, 0), "{ledger:?}");
    assert_eq!(publisher.pending, publisher.entered);
    assert_eq!(publisher.samples, ledger.polled);
}

#[test]
fn second_signal_ends_at_once() {
    let agent = Agent::new("delivery-second-signal")
        .set("shutdown_grace", "600s")
        .everything_to(&["notifier://?topic=second"]);
    let mut running = agent.run();
    running.wait_for_cycles(1);
    running.signal(Signal::INT);
    // Polling stops while the agent drains, which shows that the signal has arrived.
    let mut before = usize::MAX;
    eventually("an end of polling", PATIENCE, || {
        let cycles = running.cycles();
        let over = std::mem::replace(&mut before, cycles) == cycles;
        std::thread::sleep(Duration::from_millis(1500));
        over.then_some(())
    });
    running.signal(Signal::TERM);
    let ledger = running.ended(PATIENCE).code(69).ledger();
    assert!(ledger.publisher("notifier").pending > 0, "{ledger:?}");
}

#[test]
fn messages_match_the_wire_format_of_ceilometer() {
    let url = broker().amqp_url();
    let agent = Agent::new("delivery-wire")
        .amqp(url)
        .set("host", "compute-wire")
        .set("message.telemetry_secret", "another secret")
        .everything_to(&["notifier://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    running.stop().code(0);
    // There was no consumer until now: messages are in the queue that the agent has declared.
    let consumer = Consumer::new(url, "metering");
    let arrivals = consumer.wait_for(2);
    let mut ids = HashSet::new();
    let numbers: Vec<i64> = consumer.all().iter().map(|arrival| arrival.number().1).collect();
    assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<_>>());
    for arrival in &arrivals {
        assert_eq!(arrival.exchange, "ceilometer");
        assert_eq!(arrival.routing_key, "metering.sample");
        let expected = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            // Only the headers about the stream are not Ceilometer's.
            .with_headers(arrival.properties.headers().clone().unwrap())
            .with_delivery_mode(2)
            .with_priority(0);
        assert_eq!(arrival.properties, expected);
        assert_eq!(arrival.properties.headers().as_ref().unwrap().inner().len(), 4);
        assert_eq!(keys(&arrival.body), ["oslo.version", "oslo.message"]);
        assert_eq!(arrival.body["oslo.version"], "2.0");
        let notification = arrival.notification();
        assert_notification(&notification);
        assert!(
            ids.insert(notification["message_id"].to_string()),
            "two messages with the same id"
        );
        assert!(
            ids.insert(notification["_unique_id"].to_string()),
            "two messages with the same id"
        );
    }
    let samples = first_deliveries(&arrivals);
    for sample in &samples {
        assert_eq!(keys(sample), MESSAGE);
        matches(field(sample, "timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?$");
        matches(field(sample, "id"), "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$");
    }
    assert_eq!(verify(&samples, "another secret"), samples.len());
    // The broker accepts the queue with these properties and no others.
    declare(url, "metering", false).unwrap();
    assert!(declare(url, "metering", true).is_err(), "durable");
}

/// The envelope of oslo.messaging around the samples.
fn assert_notification(notification: &Value) {
    assert_eq!(
        keys(notification),
        [
            "message_id",
            "publisher_id",
            "event_type",
            "priority",
            "payload",
            "timestamp",
            "_unique_id"
        ]
    );
    assert_eq!(notification["publisher_id"], "telemetry.publisher.compute-wire");
    assert_eq!(notification["event_type"], "metering");
    assert_eq!(notification["priority"], "SAMPLE");
    matches(&notification["message_id"], "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$");
    matches(&notification["timestamp"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$");
    matches(&notification["_unique_id"], "^[0-9a-f]{32}$");
}

fn matches(value: &Value, pattern: &str) {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    assert!(regex::Regex::new(pattern).unwrap().is_match(text), "{text} against {pattern}");
}

#[test]
fn topics_and_meters_can_be_chosen() {
    let url = broker().amqp_url();
    let publisher = "notifier://?topic=custom&topic=second&per_meter_topic=1";
    let agent = Agent::new("delivery-topic").amqp(url).everything_to(&[publisher]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(0).ledger();
    for topic in ["custom", "second"] {
        let consumer = Consumer::new(url, topic);
        let of_type = |arrivals: &[Arrival], metering: bool| {
            let matches_type =
                |a: &&Arrival| (a.notification()["event_type"] == "metering") == metering;
            arrivals.iter().filter(matches_type).flat_map(Arrival::samples).collect::<Vec<_>>()
        };
        let polled = usize::try_from(ledger.polled).unwrap();
        let arrivals = consumer.wait_until("every sample, twice", |arrivals| {
            of_type(arrivals, true).len() == polled && of_type(arrivals, false).len() == polled
        });
        for arrival in &arrivals {
            assert_eq!(arrival.routing_key, format!("{topic}.sample"));
            let event = arrival.notification()["event_type"].as_str().unwrap().to_owned();
            if let Some(meter) = event.strip_prefix("metering.") {
                assert!(arrival.samples().iter().all(|s| text(s, "name") == meter), "{event}");
            }
        }
        let ids = |metering: bool| -> HashSet<String> {
            of_type(&arrivals, metering).iter().map(|s| text(s, "id").to_owned()).collect()
        };
        assert_eq!(ids(true), ids(false));
    }
}

#[test]
fn credentials_are_percent_decoded_and_never_shown() {
    let lab = broker();
    let (user, password) = ("me@ü/x", "p:a%? #&s");
    lab.rabbit(&["add_user", user, password]);
    lab.rabbit(&["add_vhost", "a/b"]);
    lab.rabbit(&["set_permissions", "-p", "a/b", user, ".*", ".*", ".*"]);
    let place = format!("127.0.0.1:{}/a%2Fb", lab.amqp_port());
    let encoded = "p%3Aa%25%3F%20%23%26s";
    let url = format!("amqp://me%40%C3%BC%2Fx:{encoded}@{place}");

    // Both ways to configure a broker.
    let agent =
        Agent::new("delivery-credentials").amqp(&url).everything_to(&["notifier://?topic=decoded"]);
    let consumer = Consumer::new(&url, "decoded");
    let running = agent.run();
    consumer.wait_for(1);
    let ended = running.stop().code(0);
    shows_nothing(&ended.stderr, &[password, encoded]);
    let own = format!("notifier://me%40%C3%BC%2Fx:{encoded}@{place}?topic=own");
    let agent = Agent::new("delivery-own-credentials").everything_to(&[&own]);
    let consumer = Consumer::new(&url, "own");
    let running = agent.run();
    consumer.wait_for(1);
    let ended = running.stop().code(0);
    shows_nothing(&ended.stderr, &[password, encoded]);

    // A wrong password is handled as an outage.
    let agent = Agent::new("delivery-wrong-password")
        .amqp(&format!("amqp://me%40%C3%BC%2Fx:wrong-hush@{place}"))
        .set("shutdown_grace", "1s")
        .log("trace")
        .everything_to(&["notifier://?topic=refused"]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    eventually("a warning", PATIENCE, || {
        running.stderr().lines().any(|line| line.contains("\"WARN\"")).then_some(())
    });
    let ended = running.stop().code(69);
    assert!(ended.ledger().publisher("notifier").pending >= 3);
    shows_nothing(&ended.stderr, &["wrong-hush"]);
}

fn shows_nothing(output: &str, secrets: &[&str]) {
    for secret in secrets {
        for line in output.lines() {
            assert!(!line.contains(secret), "{secret} is in: {line}");
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    // In every setting with a secret, for commands that succeed, fail and are refused.
    let port = closed_port();
    let agent = |pipeline_error: bool| {
        let agent = Agent::new("delivery-secrets")
            .amqp(&format!("amqp://user:hush-one@127.0.0.1:{port}/%2f"))
            .set("message.telemetry_secret", "hush-two")
            .set("shutdown_grace", "1s")
            .log("trace");
        let publishers = [
            "notifier://",
            &format!("notifier://user:hush-three@127.0.0.1:{port}?topic=x"),
            if pipeline_error {
                "notifier://user:hush-four@127.0.0.1:badport"
            } else {
                "file:///dev/null"
            },
        ];
        agent.everything_to(&publishers)
    };
    let valid = agent(false);
    let mut running = valid.run();
    running.wait_for_cycles(2);
    let mut outputs = vec![running.stop().code(69)];
    outputs.push(valid.execute(&["once", "--log", "trace"]).code(0));
    outputs.push(valid.execute(&["once", "--log", "trace", "--publish"]).code(69));
    outputs.push(valid.execute(&["check"]).code(0));
    let invalid = agent(true);
    outputs.push(invalid.execute(&["check"]).code(78));
    outputs.push(invalid.execute(&["run", "--log", "trace"]).code(78));
    let typo =
        agent(false).set("amqp.url", "amqp//user:hush-one@127.0.0.1").set("amqp.ulr", "hush-five");
    outputs.push(typo.execute(&["check"]).code(78));
    for ended in &outputs {
        let secrets = ["hush-one", "hush-two", "hush-three", "hush-four", "hush-five"];
        shows_nothing(&ended.stdout, &secrets);
        shows_nothing(&ended.stderr, &secrets);
    }
}

#[test]
fn failing_publisher_does_not_stop_the_others() {
    let agent = Agent::new("delivery-others").set("shutdown_grace", "1s");
    let file = agent.folder.at("samples");
    let agent = agent.everything_to(&["notifier://", &format!("file://{}?json", file.display())]);
    let mut running = agent.run();
    running.wait_for_cycles(3);
    let ledger = running.stop().code(69).ledger();
    let written = ndjson(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(written.len() as u64, ledger.polled);
    let (dead, live) = (ledger.publisher("notifier"), ledger.publisher("file"));
    assert_eq!((dead.samples, dead.left), (ledger.polled, 0), "{ledger:?}");
    assert_eq!((live.samples, live.pending), (ledger.polled, 0), "{ledger:?}");
}

#[test]
fn policies_bound_pending_envelopes() {
    let publishers =
        ["notifier://?topic=q&policy=queue&max_queue_length=2", "notifier://?topic=d&policy=drop"];
    let agent =
        Agent::new("delivery-policy").set("shutdown_grace", "1s").everything_to(&publishers);
    let mut running = agent.run();
    running.wait_for_cycles(5);
    let ledger = running.stop().code(69).ledger();
    let queue = ledger.publisher("topic=q");
    assert_eq!((queue.pending, queue.left), (2, 0), "{ledger:?}");
    assert!(queue.dropped >= 3, "{ledger:?}");
    let Balance { left, pending, dropped, .. } = ledger.publisher("topic=d");
    assert_eq!((*left, *pending), (0, 0), "{ledger:?}");
    assert!(*dropped >= 5, "{ledger:?}");
}

#[test]
fn ipv6_literals_are_accepted() {
    let lab = broker();
    let relay = Relay::to(lab.amqp_port());
    let consumer = Consumer::new(lab.amqp_url(), "ipv6");
    let own = format!("notifier://guest:guest@[::1]:{}/%2f?topic=ipv6", relay.port());
    let agent = Agent::new("delivery-ipv6").everything_to(&[&own]);
    let running = agent.run();
    consumer.wait_for(2);
    let ledger = running.stop().code(0).ledger();
    assert_eq!(ledger.publisher("notifier").pending, 0);
}

#[test]
fn once_publishes_only_with_the_option() {
    let url = broker().amqp_url();
    // Few enough samples for one message.
    let agent = Agent::new("delivery-once").libvirt("sim://?domains=1").amqp(url);
    let agent = agent.everything_to(&["notifier://?topic=once"]);
    let consumer = Consumer::new(url, "once");
    let printed =
        ndjson(&agent.execute(&["once", "--format", "ndjson", "--publish"]).code(0).stdout);
    let arrivals = consumer.wait_for(1);
    let sent = first_deliveries(&arrivals);
    let ids = |samples: &[Value]| -> Vec<String> {
        samples.iter().map(|sample| text(sample, "id").to_owned()).collect()
    };
    assert_eq!(ids(&sent), ids(&printed));
    assert!(!agent.folder.at("store").exists(), "once leaves no trace");

    agent.execute(&["once", "--format", "ndjson"]).code(0);
    let after = agent.execute(&["once", "--format", "ndjson", "--publish"]).code(0);
    let arrivals = consumer.wait_for(2);
    assert_eq!(arrivals.len(), 2, "only published samples arrive");
    assert_eq!(ids(&first_deliveries(&arrivals[1..])), ids(&ndjson(&after.stdout)));
}
