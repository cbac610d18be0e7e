//! `udp://`, `tcp://` and `test://` against real receivers: every sample arrives, and every
//! signature is valid.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::harness::{
    Agent, MESSAGE, PATIENCE, closed_port, eventually, field, keys, ndjson, text, verify,
    verify_python2,
};

const SECRET: &str = "change this for valid signing";
/// How often a receiver checks whether it is stopped.
const STOP_CHECK: Duration = Duration::from_millis(20);
/// Size of the length before each message of a stream, in bytes.
const LENGTH_BYTES: usize = 8;

/// Converts MessagePack to JSON, which `verify.py` reads.
fn unpacked(mut bytes: &[u8]) -> Value {
    let value = rmpv::decode::read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{} bytes behind a message", bytes.len());
    json(&value)
}

fn json(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(truth) => (*truth).into(),
        rmpv::Value::Integer(whole) => match (whole.as_u64(), whole.as_i64()) {
            (Some(whole), _) => whole.into(),
            (_, whole) => whole.unwrap().into(),
        },
        rmpv::Value::F64(float) => (*float).into(),
        rmpv::Value::String(text) => text.as_str().expect("UTF-8").into(),
        rmpv::Value::Array(items) => items.iter().map(json).collect(),
        rmpv::Value::Map(entries) => {
            let entry = |(key, value): &(rmpv::Value, rmpv::Value)| {
                (key.as_str().expect("a key is text").to_owned(), json(value))
            };
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        other => panic!("unexpected MessagePack value: {other:?}"),
    }
}

/// Receives messages in a thread, until it is stopped.
struct Receiver {
    messages: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Receiver {
    fn udp(address: impl Into<SocketAddr>) -> Self {
        let socket = UdpSocket::bind(address.into()).unwrap();
        socket.set_read_timeout(Some(STOP_CHECK)).unwrap();
        Self::spawn(socket.local_addr().unwrap(), Vec::new(), move |messages, stopped| {
            let mut datagram = vec![0; 65_536];
            while !stopped.load(Relaxed) {
                let Ok(length) = socket.recv(&mut datagram) else { continue };
                messages.lock().unwrap().push(datagram[..length].to_vec());
            }
        })
    }

    /// Starts with the messages of an earlier receiver.
    fn tcp(address: impl Into<SocketAddr>, before: Vec<Vec<u8>>) -> Self {
        let address = address.into();
        // Connections of an earlier receiver may still use the port.
        let listener = eventually("the port", PATIENCE, || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).unwrap();
        Self::spawn(listener.local_addr().unwrap(), before, move |messages, stopped| {
            while !stopped.load(Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => read_messages(stream, messages, stopped),
                    Err(_) => std::thread::sleep(STOP_CHECK),
                }
            }
        })
    }

    fn spawn(
        address: SocketAddr,
        before: Vec<Vec<u8>>,
        work: impl FnOnce(&Mutex<Vec<Vec<u8>>>, &AtomicBool) + Send + 'static,
    ) -> Self {
        let (messages, stopped) = (Arc::new(Mutex::new(before)), Arc::<AtomicBool>::default());
        let (thread_messages, thread_stopped) = (Arc::clone(&messages), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || work(&thread_messages, &thread_stopped));
        Self { messages, stopped, thread: Some(thread), address }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    fn wait_for(&self, wanted: usize) {
        eventually(&format!("{wanted} messages"), PATIENCE, || {
            (self.count() >= wanted).then_some(())
        });
    }

    /// Stops the receiver. Returns the messages.
    fn stop(mut self) -> Vec<Vec<u8>> {
        self.stopped.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.messages.lock().unwrap())
    }
}

/// Reads whole messages of a stream, until it ends or the receiver is stopped. A truncated message
/// is dropped.
fn read_messages(mut stream: TcpStream, messages: &Mutex<Vec<Vec<u8>>>, stopped: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(STOP_CHECK)).unwrap();
    let (mut bytes, mut part) = (Vec::new(), [0; 10_000]);
    while !stopped.load(Relaxed) {
        match stream.read(&mut part) {
            Ok(0) => return,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        while let Some(head) = bytes.first_chunk::<LENGTH_BYTES>() {
            let end = LENGTH_BYTES + usize::try_from(u64::from_le_bytes(*head)).unwrap();
            if bytes.len() < end {
                break;
            }
            messages.lock().unwrap().push(bytes[LENGTH_BYTES..end].to_vec());
            bytes.drain(..end);
        }
    }
}

fn agent(name: &str, publisher: &str) -> Agent {
    let agent = Agent::new(&format!("sockets-{name}")).set("shutdown_grace", "20s");
    let file = format!("file://{}?json", agent.folder.at("file").display());
    agent.everything_to(&[publisher, &file])
}

fn file(agent: &Agent) -> Vec<Value> {
    ndjson(&fs::read_to_string(agent.folder.at("file")).unwrap_or_default())
}

/// Asserts that the messages equal the samples of the other publisher, value by value.
fn assert_same(messages: &[Value], samples: &[Value]) {
    assert_eq!(messages.len(), samples.len());
    for (message, sample) in messages.iter().zip(samples) {
        for name in sample.as_object().unwrap().keys() {
            assert_eq!(field(message, name), &sample[name], "{name} of {message}");
        }
    }
}

#[test]
fn every_sample_is_sent_as_a_datagram() {
    let receiver = Receiver::udp(([127, 0, 0, 1], 0));
    let agent = agent("udp", &format!("udp://127.0.0.1:{}", receiver.port()));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let ledger = running.stop().code(0).ledger();
    let polled = usize::try_from(ledger.polled).unwrap();
    receiver.wait_for(polled);
    let count = ledger.publisher("/udp://");
    assert_eq!((count.samples, count.pending, count.dropped), (ledger.polled, 0, 0));
    let messages: Vec<Value> = receiver.stop().iter().map(|bytes| unpacked(bytes)).collect();
    assert_same(&messages, &file(&agent));
    assert!(messages.iter().all(|message| keys(message) == MESSAGE));
    assert_eq!(verify(&messages, SECRET), polled);
}

#[test]
fn liberty_datagrams_equal_those_of_its_packer() {
    let receiver = Receiver::udp((Ipv6Addr::LOCALHOST, 0));
    let agent = agent("liberty", &format!("udp://[::1]:{}", receiver.port()))
        .set("compatibility", "liberty");
    let mut running = agent.run();
    running.wait_for_cycles(1);
    let ledger = running.stop().code(0).ledger();
    let polled = usize::try_from(ledger.polled).unwrap();
    receiver.wait_for(polled);
    let datagrams = receiver.stop();
    let messages: Vec<Value> = datagrams.iter().map(|bytes| unpacked(bytes)).collect();
    assert_eq!(verify_python2(&messages, SECRET), polled);
    for (datagram, message) in datagrams.iter().zip(&messages) {
        assert_eq!(datagram[0], 0x8c, "{message}");
        let id = [b"\xda\x00\x24", text(message, "id").as_bytes()].concat();
        assert!(datagram.windows(id.len()).any(|part| part == id), "{message}");
    }
}

#[test]
fn samples_for_a_closed_port_stay_pending() {
    let port = closed_port();
    let agent = agent("closed", &format!("udp://localhost:{port}"));
    let mut running = agent.run();
    running.wait_for_cycles(2);
    eventually("the failure", PATIENCE, || {
        (!running.logged("publisher unavailable").is_empty()).then_some(())
    });
    let receiver = Receiver::udp(([127, 0, 0, 1], port));
    eventually("the recovery", PATIENCE, || {
        (!running.logged("publisher available again").is_empty()).then_some(())
    });
    let ledger = running.stop().code(0).ledger();
    let count = ledger.publisher("/udp://");
    assert_eq!((count.pending, count.dropped), (0, 0), "{count:?}");
    assert!(receiver.count() > 0);
}

#[test]
fn a_restarted_receiver_misses_nothing_of_a_stream() {
    let port = closed_port();
    let address = ([127, 0, 0, 1], port);
    let agent = agent("tcp", &format!("tcp://127.0.0.1:{port}"));
    let mut running = agent.run();
    // The receiver is down at the start, and is stopped three times at any point of the stream.
    running.wait_for_cycles(1);
    let mut messages = Vec::new();
    for _ in 0..3 {
        let receiver = Receiver::tcp(address, messages);
        receiver.wait_for(receiver.count() + 30);
        messages = receiver.stop();
        running.wait_for_cycles(1);
    }
    let receiver = Receiver::tcp(address, messages);
    receiver.wait_for(receiver.count() + 1);
    let ledger = running.stop().code(0).ledger();
    let count = ledger.publisher("/tcp://");
    assert_eq!((count.samples, count.pending, count.dropped), (ledger.polled, 0, 0), "{count:?}");
    let messages = receiver.stop();

    let mut first = Vec::new();
    let mut seen = BTreeMap::new();
    for bytes in &messages {
        let message = unpacked(bytes);
        let id = text(&message, "id").to_owned();
        let before = seen.entry(id).or_insert_with(|| {
            first.push(message);
            bytes
        });
        assert_eq!(*before, bytes, "one id, two messages");
    }
    assert_same(&first, &file(&agent));
    assert_eq!(verify(&first, SECRET), first.len());
    let mut expected = MESSAGE.to_vec();
    expected.insert(expected.len() - 1, "publisher_id");
    for message in &first {
        assert_eq!(keys(message), expected);
        assert_eq!(message["publisher_id"], "compute-1");
    }
}

#[test]
fn once_publishes_over_sockets_too() {
    let (datagrams, stream) =
        (Receiver::udp(([127, 0, 0, 1], 0)), Receiver::tcp(([127, 0, 0, 1], 0), Vec::new()));
    let publishers = [
        &format!("udp://127.0.0.1:{}", datagrams.port()),
        &format!("tcp://127.0.0.1:{}", stream.port()),
        "test://",
    ];
    let agent = Agent::new("sockets-once").everything_to(&publishers);
    agent.execute(&["check"]).code(0);
    let ended = agent.execute(&["once", "--format", "ndjson", "--publish"]).code(0);
    let printed = ndjson(&ended.stdout);
    assert!(!printed.is_empty());
    for receiver in [datagrams, stream] {
        receiver.wait_for(printed.len());
        let messages: Vec<Value> = receiver.stop().iter().map(|bytes| unpacked(bytes)).collect();
        assert_same(&messages, &printed);
        assert_eq!(verify(&messages, SECRET), printed.len());
    }
}

#[test]
fn a_test_publisher_only_counts() {
    let agent = Agent::new("sockets-test").everything_to(&["test://"]);
    let mut running = agent.run();
    running.wait_for_cycles(2);
    let mut status = Command::new(env!("CARGO_BIN_EXE_nephometer"));
    status.args(["status", "--socket", "agent.sock"]).current_dir(agent.folder.path());
    let status = agent.start(status, None).ended(PATIENCE).code(0);
    assert!(status.stdout.contains("test://"), "{}", status.stdout);
    let ledger = running.stop().code(0).ledger();
    let count = ledger.publisher("/test://");
    assert_eq!((count.samples, count.left), (ledger.polled, count.entered), "{count:?}");
}
