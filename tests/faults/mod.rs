//! Fault injection: whatever is killed, hangs or is cut between a poll and the broker's confirm,
//! the consumer gets every sample once and in order, after duplicates are dropped by id.

mod agent;
mod broker;
mod disk;
mod libvirt;
mod time;

use nephometer_proof::PublicKey;
use serde_json::Value;

use crate::delivery::first_deliveries;
use crate::harness::{Consumer, Ledger, sorted_by_time, verify_arrivals};

/// Waits for all samples that the ledger counts as published, and returns them. Asserts their
/// order, and that the stream verifies: no number has two messages, and each missing one is declared.
fn assert_all_delivered(
    trusted: &[PublicKey],
    consumer: &Consumer,
    ledger: &Ledger,
    label: &str,
) -> Vec<Value> {
    let publisher = ledger.publisher(label);
    assert_eq!((publisher.dropped, publisher.pending), (0, 0), "{ledger:?}");
    let wanted = usize::try_from(publisher.samples).unwrap();
    let what = format!("{wanted} samples of {label}");
    let arrivals = consumer.wait_until(&what, |all| first_deliveries(all).len() >= wanted);
    let samples = first_deliveries(&arrivals);
    assert_eq!(samples.len(), wanted, "more than was published");
    sorted_by_time(&samples);
    verify_arrivals(&consumer.all(), trusted);
    samples
}
