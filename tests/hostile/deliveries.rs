//! Malicious brokers against the collector, which consumes from each of them and from a real one. It
//! survives, stores what the real one delivers, its memory does not grow, and SIGTERM stops it.

use std::io;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use super::measure_memory;
use super::peer::{
    EVIL, Misdeed, Peer, TUNE, broker, closed, delivered, frame, long, method, short, sized_header,
    start, tables,
};
use crate::harness::{
    Agent, Collector, PATIENCE, Running, api_of, at_broker, broker as real_broker, declare,
    eventually,
};

/// Memory in KiB that the collector may use beyond a collector with as many good brokers.
const MORE: u64 = 64 << 10;
const PREFETCH: u64 = 10;
const UNASKED: &str = "1001, at most 1000 (amqp_unasked_methods)";
const MORE_MESSAGES: &str = "delivers more messages than may be unacknowledged";

/// Name, misdeed, and the reason that the collector logs for the outage.
const MISDEEDS: [(&str, Misdeed, &str); 19] = [
    ("silent", |peer| peer.hold(), "no answer from the broker within 10 s"),
    ("no-broker", |peer| peer.greet(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "frame type 72"),
    ("huge-frame", huge_frame, "2147483655 bytes, at most 131072 bytes (amqp_frame_bytes)"),
    ("tables-1200", |peer| peer.greet(&start(&tables(1_200))), "(amqp_table_depth)"),
    ("values", |peer| peer.greet(&start(&values(5_000))), "(amqp_table_values)"),
    ("many-starts", |peer| peer.greet(&start(&[]).repeat(100_000)), "connecting to the broker"),
    ("evil-login", evil_login, "EVIL"),
    ("declares", declares, "method 50.10 is not one that a broker sends"),
    ("confirms", |peer| after(peer, &method(1, (60, 80), &[0; 9])), "method 60.80 is not one"),
    ("early", early, MORE_MESSAGES),
    (
        "many",
        |peer| flood(peer, &[delivered(1, 1), sized_header(1, 0, &[])].concat()),
        MORE_MESSAGES,
    ),
    ("no-channel", no_channel, MORE_MESSAGES),
    ("deep-headers", |peer| unreadable(peer, 0, &tables(1_200)), "(amqp_table_depth)"),
    ("large-headers", large_headers, "at most 16384 bytes (frame_max of this connection)"),
    ("endless-body", |peer| unreadable(peer, u64::MAX, &[]), "(amqp_unacknowledged_bytes)"),
    ("too-many-bytes", bytes, "delivers more bytes than may be unacknowledged"),
    ("longer-body", longer_body, "malformed frame: unexpected body"),
    ("flows", |peer| flood(peer, &method(1, (20, 20), &[1])), UNASKED),
    (
        "cancels",
        |peer| flood(peer, &method(1, (60, 30), &[&*short(b"other"), &[1]].concat())),
        UNASKED,
    ),
];

fn huge_frame(peer: &mut Peer) -> io::Result<()> {
    peer.greet(&[1, 0, 0, 0x7f, 0xff, 0xff, 0xff])?;
    peer.flood(b"x")
}

/// A table with an array of this many values without content.
fn values(count: usize) -> Vec<u8> {
    [&b"\x01aA"[..], &long(&vec![b'V'; count])].concat()
}

fn evil_login(peer: &mut Peer) -> io::Result<()> {
    peer.greet(&start(&[]))?;
    peer.frame()?;
    peer.send(&closed(0, (10, 50)))
}

/// Sends this once both queues are consumed.
fn after(peer: &mut Peer, bytes: &[u8]) -> io::Result<()> {
    peer.consumed(2)?;
    peer.send(bytes)
}

/// Sends this without end once both queues are consumed, and reads nothing.
fn flood(peer: &mut Peer, bytes: &[u8]) -> io::Result<()> {
    peer.consumed(2)?;
    peer.flood(bytes)
}

fn declares(peer: &mut Peer) -> io::Result<()> {
    let arguments = [&[0, 0][..], &short(b"q"), &[0], &long(&tables(2_000))].concat();
    after(peer, &method(1, (50, 10), &arguments))
}

/// Delivers before the collector has asked for anything.
fn early(peer: &mut Peer) -> io::Result<()> {
    peer.login(&[], TUNE)?;
    peer.flood(&[delivered(1, 1), sized_header(1, 0, &[])].concat())
}

/// Delivers on channels that do not exist: the library drops these.
fn no_channel(peer: &mut Peer) -> io::Result<()> {
    flood(peer, &[delivered(9, 1), sized_header(9, 0, &[])].concat())
}

/// Sends a message whose header the collector does not accept, and waits until it is refused.
fn unreadable(peer: &mut Peer, size: u64, headers: &[u8]) -> io::Result<()> {
    after(peer, &[delivered(1, 7), sized_header(1, size, headers)].concat())?;
    peer.wait_for((60, 90))?;
    peer.flood(&frame(3, 1, &[0; 4000]))
}

fn large_headers(peer: &mut Peer) -> io::Result<()> {
    let headers = [&b"\x01aS"[..], &long(&vec![b'x'; 20_000])].concat();
    unreadable(peer, 0, &headers)
}

/// Announces bodies that are each accepted, and not both.
fn bytes(peer: &mut Peer) -> io::Result<()> {
    let large = |channel| [delivered(channel, 1), sized_header(channel, 200 << 20, &[])].concat();
    after(peer, &[large(1), large(2)].concat())
}

/// Sends more of a body than it has announced.
fn longer_body(peer: &mut Peer) -> io::Result<()> {
    peer.consumed(2)?;
    peer.send(&[delivered(1, 1), sized_header(1, 5_000, &[])].concat())?;
    peer.flood(&frame(3, 1, &[b'x'; 4_000]))
}

fn source(port: u16) -> Value {
    json!({
        "url": format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
        "queues": ["one.sample", "two.sample"],
        "prefetch": PREFETCH,
    })
}

/// A collector of these brokers and of a queue of the real one.
fn collector(name: &str, ports: impl Iterator<Item = u16>, topic: &str) -> Collector {
    let real = json!({"url": real_broker().amqp_url(), "queues": [format!("{topic}.sample")]});
    let brokers: Vec<Value> = ports.map(source).chain([real]).collect();
    Collector::new(name).set("brokers", brokers)
}

/// The reason of a broker's first outage.
fn reason(running: &Running, port: u16) -> Option<String> {
    let place = format!("127.0.0.1:{port}");
    let outages = running.logged("broker unavailable").into_iter();
    let mut own = outages.filter(|line| line["broker"].as_str().unwrap().contains(&place));
    own.next().map(|line| line["reason"].as_str().unwrap().to_owned())
}

/// Waits until more samples are stored than before.
fn wait_for_more(collector: &Collector) {
    // Without a count, none is stored yet.
    let stored = || collector.state()["counts"]["stored"].as_u64().unwrap_or(0);
    let before = stored();
    eventually("more samples", PATIENCE, || (stored() > before).then_some(()));
}

/// Stops the collector. Returns its peak resident memory in KiB.
fn end(running: Running) -> u64 {
    running.terminate();
    let (ended, resident) = measure_memory(running, Running::ended);
    let ended = ended.code(0);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    resident
}

#[test]
fn hostile_brokers_cannot_crash_or_block_the_collector() {
    let agent = Agent::new("hostile-deliveries-agent")
        .libvirt("sim://?domains=1")
        .amqp(real_broker().amqp_url())
        .everything_to(&["notifier://?topic=calm&topic=attacked"]);
    let agents = agent.run();

    let good = MISDEEDS.map(|_| broker(|peer| peer.consumed(2)).0);
    let calm = collector("hostile-deliveries-calm", good.into_iter(), "calm");
    let running = calm.run();
    eventually("all brokers are connected", PATIENCE, || {
        (running.logged("broker connected").len() > MISDEEDS.len()).then_some(())
    });
    wait_for_more(&calm);
    let idle = end(running);

    let brokers = MISDEEDS.map(|(name, misdeed, wanted)| (name, broker(misdeed).0, wanted));
    let attacked = collector("hostile-deliveries", brokers.iter().map(|one| one.1), "attacked");
    let running = attacked.run();
    for (name, port, wanted) in brokers {
        let reason = eventually(name, PATIENCE, || reason(&running, port));
        assert!(reason.contains(wanted), "{name}: {reason}");
        assert!(!reason.contains(|c: char| c.is_control() || c == '\u{202e}'), "{reason:?}");
    }
    let reduced = running.logged("prefetch reduced");
    assert_eq!(reduced.first().map(|line| line["prefetch"].clone()), Some(json!(PREFETCH / 2)));
    wait_for_more(&attacked);
    // Attempts go on, less and less often.
    std::thread::sleep(Duration::from_secs(5));
    wait_for_more(&attacked);
    let most = end(running);
    assert!(most < idle + MORE, "{most} KiB, with good brokers {idle} KiB");
    agents.stop().code(0);
}

/// A real broker passes the headers of a publisher on, however deep they are. The collector refuses
/// such a message, and takes those behind it.
#[test]
fn a_message_with_deep_headers_does_not_stop_a_queue() {
    let url = real_broker().amqp_url();
    declare(url, "deep", false).unwrap();
    at_broker(url, async |channel| {
        let mut deep = FieldTable::default();
        for _ in 0..40 {
            let mut outer = FieldTable::default();
            outer.insert("a".into(), AMQPValue::FieldTable(deep));
            deep = outer;
        }
        let bind = lapin::options::QueueBindOptions::default();
        let (queue, exchange) = ("deep.sample", "ceilometer");
        let none = FieldTable::default();
        channel.queue_bind(queue.into(), exchange.into(), queue.into(), bind, none).await?;
        for headers in [deep, FieldTable::default()] {
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let properties = BasicProperties::default().with_headers(headers);
            let body = EVIL;
            let sent =
                channel.basic_publish(exchange.into(), queue.into(), options, body, properties);
            sent.await?.await?;
        }
        Ok(())
    });
    let collector = Collector::new("hostile-deep-headers").consuming(url, &["deep"]);
    let running = collector.run();
    api_of(&running);
    // Then its store is there.
    eventually("a connection", PATIENCE, || running.logged("broker connected").pop());
    // The second message cannot be read, but it was delivered.
    eventually("the second message", PATIENCE, || {
        (collector.state()["dead_letters"] == 1).then_some(())
    });
    let reasons = running.logged("broker unavailable");
    assert_eq!(reasons.len(), 1, "it is not delivered again: {reasons:?}");
    let reason = reasons[0]["reason"].as_str().unwrap();
    assert!(reason.contains("was refused") && reason.contains("(amqp_table_depth)"), "{reason}");
    eventually("an empty queue", PATIENCE, || {
        let left = real_broker().rabbit(&["list_queues", "name", "messages"]);
        left.contains("deep.sample\t0").then_some(())
    });
    running.stop().code(0);
}
