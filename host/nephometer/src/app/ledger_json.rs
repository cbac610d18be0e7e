//! The ledger as JSON numbers, for the control socket.
//!
//! Its form is part of the control protocol; docs/reference/control.md describes it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use nephometer_telemetry::{DropCounts, Ledger, LedgerSink};

/// All counters of a ledger, and the violations of the delivery law.
pub(super) fn ledger_json(ledger: &Ledger) -> Value {
    json!({
        "polled": number(&ledger.polled),
        "cycles_skipped": number(&ledger.cycles_skipped),
        "missing": number(&ledger.missing),
        "absent": number(&ledger.absent),
        "sinks": ledger.sinks().iter().map(sink).collect::<Vec<_>>(),
        "breaches": ledger.breaches(),
    })
}

fn sink(sink: &LedgerSink) -> Value {
    let LedgerSink { name, count, transformers, publishers } = sink;
    let transformers = transformers.iter().map(|(component, count)| {
        json!({
            "component": **component,
            "samples_in": number(&count.samples_in),
            "passed": number(&count.passed),
            "absorbed": number(&count.absorbed),
            "created": number(&count.created),
            "dropped": drops(&count.dropped),
        })
    });
    let publishers = publishers.iter().map(|(label, count)| {
        json!({
            "publisher": **label,
            "encoded": number(&count.encoded),
            "samples": number(&count.samples),
            "confirmed": number(&count.confirmed),
            "pending": number(&count.pending),
            "failed_attempts": count.deliveries.snapshot().failed,
            "dropped": drops(&count.dropped),
        })
    });
    json!({
        "sink": **name,
        "entered": number(&count.entered),
        "processed": number(&count.processed),
        "pending": number(&count.pending),
        "dropped": drops(&count.dropped),
        "transformers": transformers.collect::<Vec<_>>(),
        "publishers": publishers.collect::<Vec<_>>(),
    })
}

fn number(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Drops by reason, zeros included, so that every key is always present.
pub(super) fn drops(counts: &DropCounts) -> Value {
    let reasons = counts.by_reason().map(|(reason, count)| (reason.to_owned(), count.into()));
    Value::Object(reasons.collect::<Map<_, _>>())
}
