//! Fault injection: whatever is killed, hangs or is cut between a poll and the broker's confirm,
//! the consumer gets every sample once and in order, after duplicates are dropped by id.

mod agent;
mod broker;
mod disk;
mod libvirt;
mod time;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::delivery::first_deliveries;
use crate::harness::{Arrival, Consumer, Ledger, sorted_by_time};

/// Waits for all samples that the ledger counts as published, and returns them. Asserts their
/// order, and sequence numbers that are consecutive and unique.
fn assert_all_delivered(consumer: &Consumer, ledger: &Ledger, label: &str) -> Vec<Value> {
    let publisher = ledger.publisher(label);
    assert_eq!((publisher.dropped, publisher.pending), (0, 0), "{ledger:?}");
    let wanted = usize::try_from(publisher.samples).unwrap();
    let what = format!("{wanted} samples of {label}");
    let arrivals = consumer.wait_until(&what, |all| first_deliveries(all).len() >= wanted);
    let samples = first_deliveries(&arrivals);
    assert_eq!(samples.len(), wanted, "more than was published");
    sorted_by_time(&samples);
    let streams = numbers(&arrivals);
    assert_eq!(streams.len(), 1, "one publisher, one stream");
    for (stream, numbers) in &streams {
        let all: Vec<i64> = numbers.keys().copied().collect();
        assert_eq!(all, (1..).take(all.len()).collect::<Vec<_>>(), "{stream}");
        assert_eq!(all.len() as u64, publisher.entered, "{stream}");
    }
    samples
}

/// Message ids by stream and sequence number.
fn numbers(arrivals: &[Arrival]) -> BTreeMap<String, BTreeMap<i64, String>> {
    let mut streams: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for arrival in arrivals {
        let (stream, number) = arrival.number();
        let id = arrival.notification()["message_id"].to_string();
        let known = streams.entry(stream).or_default().entry(number).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "two messages have the number {number}");
    }
    streams
}
