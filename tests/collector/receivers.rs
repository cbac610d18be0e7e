//! The receivers for `udp://` and `tcp://`: messages of the real agent, and of others.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use super::{stored, wait_for_count};
use crate::harness::{
    Agent, Collector, PATIENCE, Running, api_of, closed_port, eventually, ndjson, request, text,
};

/// An agent that sends to a URL, and writes the same samples to a file.
fn agent(name: &str, url: &str) -> Agent {
    let agent = Agent::new(name).libvirt("sim://?domains=5&seed=17").set("shutdown_grace", "20s");
    let file = format!("file://{}?json", agent.folder.at("file").display());
    agent.everything_to(&[url, &file])
}

fn sent(agent: &Agent) -> BTreeMap<String, Value> {
    let file = std::fs::read_to_string(agent.folder.at("file")).unwrap();
    ndjson(&file).into_iter().map(|sample| (text(&sample, "id").to_owned(), sample)).collect()
}

fn assert_same(found: &BTreeMap<String, Value>, sent: &BTreeMap<String, Value>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), sent.keys().collect::<Vec<_>>());
    for (id, sample) in found {
        let sent = &sent[id];
        assert_eq!(sample["meter"], sent["name"], "{id}");
        assert_eq!(sample["unit"], sent["unit"], "{id}");
        assert_eq!(sample["timestamp"], sent["timestamp"], "{id}");
        assert_eq!(sample["volume"].as_f64(), sent["volume"].as_f64(), "{id}");
    }
}

/// The receivers of a collector, by scheme.
fn receivers(running: &Running) -> BTreeMap<String, String> {
    api_of(running);
    let lines = running.logged("receiver listening").into_iter();
    let urls = lines.map(|line| line["receiver"].as_str().unwrap().to_owned());
    urls.map(|url| {
        let (scheme, address) = url.split_once("://").unwrap();
        (scheme.to_owned(), address.to_owned())
    })
    .collect()
}

fn both(name: &str) -> Collector {
    Collector::new(name).set("receivers", json!(["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]))
}

/// The collector is away at the start and ends three times at any moment of the stream.
#[test]
fn a_restarted_collector_misses_nothing_of_a_stream() {
    let port = closed_port();
    let url = format!("tcp://127.0.0.1:{port}");
    let agent = agent("collector-tcp-agent", &url);
    let collector = Collector::new("collector-tcp").set("receivers", json!([url]));
    let mut agents = agent.run();
    agents.wait_for_cycles(1);
    for round in 1..=3 {
        let running = collector.run();
        api_of(&running);
        let before = if round == 1 { 0 } else { collector.samples().len() };
        eventually("more samples", PATIENCE, || (collector.samples().len() > before).then_some(()));
        running.stop().code(0);
        agents.wait_for_cycles(1);
    }
    let running = collector.run();
    let ledger = agents.stop().code(0).ledger();
    let count = ledger.publisher("/tcp://");
    assert_eq!((count.samples, count.pending, count.dropped), (ledger.polled, 0, 0), "{count:?}");
    let sent = sent(&agent);
    assert!(sent.len() >= 100, "{}", sent.len());
    let found = eventually("all samples", PATIENCE, || {
        let found = stored(&collector);
        (found.len() >= sent.len()).then_some(found)
    });
    assert_same(&found, &sent);
    running.stop().code(0);
    let state = collector.state();
    assert_eq!(state["dead_letters"], 0, "{state}");
    assert_eq!(state["counts"]["wrong_signature"], Value::Null, "{state}");
    // The same samples by another way are known.
    let file = agent.folder.at("file");
    let again = collector.execute(&["import", "--unsigned", file.to_str().unwrap()]).code(0);
    let expected = format!("ok: 0 stored, {} duplicates", sent.len());
    assert!(again.stdout.contains(&expected), "{}", again.stdout);
}

/// Messages of all releases, whose strings are encoded differently.
#[test]
fn datagrams_are_stored_once_with_their_signatures_checked() {
    for release in ["liberty", "current"] {
        let collector = both(&format!("collector-udp-{release}"));
        let running = collector.run();
        let receivers = receivers(&running);
        let url = format!("udp://{}", receivers["udp"]);
        let agent = agent(&format!("collector-udp-agent-{release}"), &url);
        let agent = agent.set("compatibility", release);
        let mut agents = agent.run();
        agents.wait_for_cycles(2);
        let ended = agents.stop().code(0);
        let polled = usize::try_from(ended.ledger().polled).unwrap();
        let found = eventually("all samples", PATIENCE, || {
            let found = stored(&collector);
            (found.len() >= polled).then_some(found)
        });
        assert_eq!(found.len(), polled);
        let metrics = request(&api_of(&running), "GET", "/metrics", &[], "").body;
        let expected = format!("receiver_messages_total{{receiver=\"{url}\"}} {polled}");
        assert!(metrics.as_str().unwrap().contains(&expected), "{metrics}");
        running.stop().code(0);
        assert_eq!(collector.state()["dead_letters"], 0);
    }
}

/// A message in a frame.
fn frame(message: &[u8]) -> Vec<u8> {
    [&u64::try_from(message.len()).unwrap().to_le_bytes()[..], message].concat()
}

/// A real datagram, signed with `golden-secret`; the second one was altered.
fn golden() -> [Vec<u8>; 2] {
    let file = include_str!("../vectors/datagrams.current.hex");
    let digits = file.lines().next().unwrap().as_bytes().chunks(2);
    let digits = digits.map(|pair| std::str::from_utf8(pair).unwrap());
    let good: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let altered = replaced(&good, b"openstack", b"openstick");
    [good, altered]
}

/// The first occurrence of some bytes becomes others of the same length.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn bad_messages_are_set_aside_and_the_others_stored() {
    let collector = both("collector-receivers-bad")
        .set("store.window", "40000d")
        .set("secrets", json!([{"name": "golden", "secret": "golden-secret"}]));
    let running = collector.run();
    let receivers = receivers(&running);
    let [good, altered] = golden();
    let unsigned = replaced(&good, b"message_signature", b"message_signaturo");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unreadable = [&b"\xc1"[..], &good[..20], b"\x81\xa1a\x01", b""];
    for datagram in [&unreadable[..], &[&altered[..], &unsigned, &good, &good]].concat() {
        sender.send_to(datagram, &receivers["udp"]).unwrap();
    }
    wait_for_count(&collector, "stored", 1);
    wait_for_count(&collector, "duplicate", 1);
    wait_for_count(&collector, "wrong_signature", 1);
    wait_for_count(&collector, "unsigned", 1);
    eventually("dead letters", PATIENCE, || (collector.state()["dead_letters"] == 4).then_some(()));
    // The same over a stream: what is too long is skipped, and the connection goes on.
    let mut stream = TcpStream::connect(&receivers["tcp"]).unwrap();
    let long = vec![0xc0; (512 << 10) + 1];
    for message in [&b"\xc1"[..], &good[..30], &long, &altered, &good] {
        stream.write_all(&frame(message)).unwrap();
    }
    wait_for_count(&collector, "too_large", 1);
    wait_for_count(&collector, "wrong_signature", 2);
    wait_for_count(&collector, "duplicate", 2);
    // One more letter: the other has come as a datagram.
    eventually("dead letters", PATIENCE, || (collector.state()["dead_letters"] == 5).then_some(()));
    let listed = collector.execute(&["dead-letters", "ls"]).code(0);
    assert!(listed.stdout.contains("MessagePack ends within a value"), "{}", listed.stdout);
    assert!(listed.stdout.contains(&format!("udp://{}", receivers["udp"])), "{}", listed.stdout);
    let retried = collector.execute(&["dead-letters", "retry"]).code(0);
    assert!(retried.stdout.contains("5 still cannot be read"), "{}", retried.stdout);
    // What is no stream of messages ends its connection.
    let mut other = TcpStream::connect(&receivers["tcp"]).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(is_closed(&mut other));
    assert!(stream.write_all(&frame(&good)).is_ok());
    wait_for_count(&collector, "duplicate", 3);
    running.stop().code(0);
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// More connections than the bound are closed, and those that are open keep working.
#[test]
fn connections_are_bounded() {
    let collector = both("collector-receivers-many")
        .set("store.window", "40000d")
        .set("secrets", json!([{"name": "golden", "secret": "golden-secret"}]));
    let running = collector.run();
    let address = receivers(&running)["tcp"].clone();
    let mut open: Vec<TcpStream> =
        (0..256).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut more = TcpStream::connect(&address).unwrap();
    more.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_closed(&mut more));
    eventually("the log", PATIENCE, || (running.logged("receiver full").len() == 1).then_some(()));
    let [good, _] = golden();
    open[7].write_all(&frame(&good)).unwrap();
    wait_for_count(&collector, "stored", 1);
    // A connection that ends makes room.
    open.truncate(8);
    eventually("room", PATIENCE, || {
        let mut next = TcpStream::connect(&address).unwrap();
        next.write_all(&frame(&good)).ok()?;
        next.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        (!is_closed(&mut next)).then_some(())
    });
    wait_for_count(&collector, "duplicate", 1);
    running.stop().code(0);
}
