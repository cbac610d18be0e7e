//! The AMQP library behind the guard, with minimal brokers. `tests/hostile/broker.rs` runs the
//! whole agent against worse ones, `tests/hostile/deliveries.rs` the collector.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::connection::Broker;
use crate::frames_tests::{long, method, nested, start};
use nephometer_config::{BrokerSpec, Secret};
use nephometer_model::Bound;

/// A broker that accepts connections, runs `reply` on each, and reports when the client has closed
/// it.
pub(crate) fn broker(
    query: &str,
    reply: impl Fn(&mut TcpStream) + Send + 'static,
) -> (Broker, Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (closed, reports) = channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            reply(&mut client);
            // Until the client closes or resets.
            while client.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
            if closed.send(()).is_err() {
                break;
            }
        }
    });
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f{query}");
    let spec = BrokerSpec { urls: vec![Secret::new(url)], ..BrokerSpec::default() };
    (Broker::new(&spec, "test").unwrap(), reports)
}

/// Reads `length` bytes of the library.
fn skip(client: &mut TcpStream, length: usize) {
    client.read_exact(&mut vec![0; length]).unwrap();
}

pub(crate) fn frame_from(client: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 7];
    client.read_exact(&mut head).unwrap();
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut content = vec![0; usize::try_from(size).unwrap() + 1];
    client.read_exact(&mut content).unwrap();
    content
}

/// Replies as a broker should, up to the login.
pub(crate) fn login(client: &mut TcpStream, greeting: &[u8]) {
    skip(client, 8);
    client.write_all(greeting).unwrap();
    frame_from(client);
    client.write_all(&method(0, 10, 30, &[0, 9, 0, 2, 0, 0, 0, 60])).unwrap();
    frame_from(client);
    frame_from(client);
    client.write_all(&method(0, 10, 41, &[0])).unwrap();
}

/// Replies as a broker should, up to a channel in confirm mode.
fn welcome(client: &mut TcpStream, greeting: &[u8]) {
    login(client, greeting);
    frame_from(client);
    client.write_all(&method(1, 20, 11, &long(b""))).unwrap();
    frame_from(client);
    client.write_all(&method(1, 85, 11, &[])).unwrap();
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_with_tables_deeper_than_the_bound_is_rejected() {
    let most = Bound::TableDepth.size();
    for kind in [b'F', b'A'] {
        let greeting = start(&nested(kind, most), b"en_US");
        let (mut accepted, _) = broker("", move |client| welcome(client, &greeting));
        accepted.publishing().await.map(drop).unwrap();
        let greeting = start(&nested(kind, most + 1), b"en_US");
        let (mut refused, closed) = broker("", move |client| {
            skip(client, 8);
            client.write_all(&greeting).unwrap();
        });
        let error = refused.publishing().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("33 levels, at most 32 levels (amqp_table_depth)"), "{error}");
        closed.recv_timeout(PATIENCE).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_the_handshake_larger_than_the_bound_is_rejected() {
    let most = Bound::FrameBytes.size();
    let greeting = move |size: usize| {
        let small = start(&[], b"").len();
        start(&[], &vec![b'x'; size - small])
    };
    // The largest frame_max that a URL may set.
    let query = format!("?frame_max={most}");
    let (mut accepted, _) = broker(&query, move |client| welcome(client, &greeting(most)));
    accepted.publishing().await.map(drop).unwrap();
    let (mut refused, closed) = broker(&query, move |client| {
        skip(client, 8);
        client.write_all(&greeting(most + 1)).unwrap();
    });
    let error = refused.publishing().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("131073 bytes, at most 131072 bytes (amqp_frame_bytes)"), "{error}");
    closed.recv_timeout(PATIENCE).unwrap();
}

/// The library's thread once read on until the broker closed the connection: each attempt cost one
/// thread, one socket and 1 MB.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_leaks_no_connection() {
    let (broker, closed) = broker("", |_| {});
    let mut broker = broker.with_timeout(Duration::from_millis(100));
    for _ in 0..10 {
        let error = broker.publishing().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("no answer from the broker"), "{error}");
        closed.recv_timeout(PATIENCE).unwrap();
    }
}

/// The same after a login, where the library waits for `connection.close-ok`.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_confirms_the_close_leaks_no_connection() {
    let (broker, closed) = broker("", |client| welcome(client, &start(&[], b"en_US")));
    let mut broker = broker.with_timeout(Duration::from_secs(3));
    for _ in 0..2 {
        drop(broker.publishing().await.map_err(|error| error.to_string()).unwrap());
        closed.recv_timeout(PATIENCE).unwrap();
    }
}
