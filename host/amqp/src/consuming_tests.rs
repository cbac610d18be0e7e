//! Consuming through the AMQP library, from minimal brokers.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::consuming::{BrokerDelivery, QueueConsumer};
use crate::error::AmqpError;
use crate::frames_consuming_tests::{delivered, message};
use crate::frames_tests::{header, long, method, nested, short, start};
use crate::hostile_tests::{PATIENCE, broker, frame_from, login};

const PREFETCH: u16 = 2;

/// Replies as a broker should, until a queue is consumed on channel 1.
fn serve(client: &mut TcpStream) {
    serve_and(client, &[]);
}

/// The same, with these bytes in one write with the last reply.
fn serve_and(client: &mut TcpStream, bytes: &[u8]) {
    login(client, &start(&[], b"en_US"));
    let declared = [short("q"), vec![0; 8]].concat();
    for (class, number, arguments) in [
        (20, 11, long(b"")),
        (40, 11, Vec::new()),
        (50, 11, declared),
        (50, 21, Vec::new()),
        (60, 11, Vec::new()),
    ] {
        frame_from(client);
        client.write_all(&method(1, class, number, &arguments)).unwrap();
    }
    frame_from(client);
    client.write_all(&[&*method(1, 60, 21, &short("consumer")), bytes].concat()).unwrap();
}

fn assert_refused(error: &AmqpError) {
    let error = error.to_string();
    assert!(error.contains("was refused") && error.contains("(amqp_table_depth)"), "{error}");
}

/// Reads until a method arrives; returns its arguments, and the end byte.
fn wait_for(client: &mut TcpStream, wanted: [u8; 4]) -> Vec<u8> {
    loop {
        let content = frame_from(client);
        if let Some(arguments) = content.strip_prefix(&wanted[..]) {
            return arguments.to_vec();
        }
    }
}

fn queues() -> [String; 1] {
    ["metering.sample".to_owned()]
}

async fn next(consumer: &mut QueueConsumer) -> Result<BrokerDelivery, AmqpError> {
    tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_makes_room_for_another_message() {
    let headers = [&*short("stream"), &b"S"[..], &long(b"abc")].concat();
    let (mut broker, _) = broker("", move |client| {
        serve(client);
        let first = [delivered(1, 1), header(1, 0, &headers)].concat();
        client.write_all(&[first, message(1, 2, 500)].concat()).unwrap();
        let acknowledged = wait_for(client, [0, 60, 0, 80]);
        assert_eq!(acknowledged[..8], 1_u64.to_be_bytes());
        client.write_all(&message(1, 3, 7)).unwrap();
    });
    let (consumption, mut consumers) = broker.consume(&queues(), PREFETCH).await.unwrap();
    let consumer = &mut consumers[0];
    assert_eq!(consumer.queue(), "metering.sample");
    let first = next(consumer).await.unwrap();
    assert_eq!((first.body.len(), first.headers.text("stream")), (0, Some("abc")));
    assert_eq!((first.headers.number("stream"), first.headers.text("other")), (None, None));
    assert_eq!(next(consumer).await.unwrap().body.len(), 500);
    first.receipt.acknowledge().await.unwrap();
    assert_eq!(next(consumer).await.unwrap().body.len(), 7);
    assert!(!consumption.is_too_large());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_delivers_more_than_may_be_unacknowledged_is_left() {
    let (mut broker, closed) = broker("", |client| {
        serve(client);
        let messages: Vec<u8> = (1..=3).flat_map(|tag| message(1, tag, 10)).collect();
        client.write_all(&messages).unwrap();
    });
    let (consumption, mut consumers) = broker.consume(&queues(), PREFETCH).await.unwrap();
    let consumer = &mut consumers[0];
    let error = loop {
        match next(consumer).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("more messages than may be unacknowledged"), "{error}");
    drop((consumption, consumers));
    closed.recv_timeout(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_deep_headers_is_refused_without_requeuing() {
    let (refusals, refused) = channel();
    let (broker, closed) = broker("", move |client| {
        serve(client);
        let deep = header(1, 5, &nested(b'F', 1_200));
        client.write_all(&[delivered(1, 9), deep].concat()).unwrap();
        refusals.send(wait_for(client, [0, 60, 0, 90])).unwrap();
    });
    let mut broker = broker.with_timeout(Duration::from_secs(3));
    let (consumption, consumers) = broker.consume(&queues(), PREFETCH).await.unwrap();
    let refusing = tokio::time::timeout(PATIENCE, consumption.refuse_unreadable());
    assert_refused(&refusing.await.unwrap());
    let refusal = refused.recv_timeout(PATIENCE).unwrap();
    assert_eq!(refusal[..9], [&9_u64.to_be_bytes()[..], &[0]].concat());
    drop((consumption, consumers));
    closed.recv_timeout(PATIENCE).unwrap();
}

/// The reply to `basic.consume` and the message arrive together. With another queue, it is refused
/// while that is opened.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_of_a_queue_is_refused_too() {
    for queues in [1, 2] {
        let (refusals, refused) = channel();
        let (broker, _) = broker("", move |client| {
            let deep = header(1, 0, &nested(b'F', 40));
            serve_and(client, &[delivered(1, 9), deep, message(1, 10, 0)].concat());
            refusals.send(wait_for(client, [0, 60, 0, 90])).unwrap();
        });
        let mut broker = broker.with_timeout(Duration::from_secs(30));
        let queues = vec!["metering.sample".to_owned(); queues];
        let consuming = async {
            match broker.consume(&queues, PREFETCH).await {
                Ok((consumption, _)) => consumption.refuse_unreadable().await,
                Err(error) => error,
            }
        };
        let within = Duration::from_secs(20);
        assert_refused(&tokio::time::timeout(within, consuming).await.unwrap());
        let refusal = refused.recv_timeout(PATIENCE).unwrap();
        assert_eq!(refusal[..9], [&9_u64.to_be_bytes()[..], &[0]].concat());
    }
}
