//! The state of the agent as the page shows it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::admin::AdminService;
use super::agent_metrics::running_components;
use super::health::Health;
use super::ledger_json::{drops, number};
use super::plan::short_digest;
use super::process::ProcessNumbers;
use nephometer_config::SourceSpec;
use nephometer_model::Timestamp;
use nephometer_pipeline::transform::Identity;
use nephometer_pipeline::{SinkHandle, SinkStatus};
use nephometer_telemetry::{IntervalStats, LedgerSink, PublisherCount};
use nephometer_view::View;
use nephometer_wasm::ListedComponent;

/// Domains without values that each state has; `/v1/domains` has all.
const UNHEALTHY: usize = 50;

/// The state now. Reads counters and the summaries of spools.
pub(super) async fn state(admin: &AdminService, view: &View) -> Value {
    // A store that cannot be read is a line of the health check.
    let spools = admin.resources.spools.list().await.unwrap_or_default();
    let spools = spools.iter().map(|one| {
        json!({
            "name": one.name,
            "pending": one.pending,
            "bytes": one.bytes,
            "oldest": one.oldest.map(|time| Timestamp::from_nanos(time).iso()),
            "rejected": one.rejected,
        })
    });
    let numbers = ProcessNumbers::read();
    let time = admin.clock.now().wall;
    let reloads = admin.reloads.all();
    let reloads = reloads.iter().map(|one| {
        json!({
            "at": one.at.iso(),
            "cause": one.cause,
            "changes": one.report.changes,
            "problems": one.report.problems,
        })
    });
    json!({
        "time": seconds(time),
        "started": seconds(time) - admin.started.elapsed().as_secs_f64(),
        "host": admin.host,
        "version": env!("CARGO_PKG_VERSION"),
        "health": Health::of(admin).json(),
        "process": {
            "cpu_seconds": numbers.cpu.as_secs_f64(),
            "resident_bytes": numbers.resident_bytes,
        },
        "cycles": cycles(admin),
        "sources": sources(admin),
        "sinks": sinks(admin),
        "spools": spools.collect::<Vec<_>>(),
        "reloads": reloads.collect::<Vec<_>>(),
        "domains": view.summary(UNHEALTHY),
    })
}

fn cycles(admin: &AdminService) -> Vec<Value> {
    let intervals = admin.ledger.polling.intervals();
    let cycle = |(interval, stats): (&Duration, &IntervalStats)| {
        json!({
            "interval": interval.as_secs_f64(),
            "cycles": stats.cycles,
            "seconds": stats.seconds,
            "age": stats.last.elapsed().as_secs_f64(),
        })
    };
    intervals.iter().map(cycle).collect()
}

fn sources(admin: &AdminService) -> Vec<Value> {
    let counts = admin.ledger.polling.sources();
    let spec = Arc::clone(&admin.resources.spec.borrow());
    let source = |spec: &SourceSpec| {
        let count = counts.get(&*spec.name);
        json!({
            "name": *spec.name,
            "interval": spec.interval.as_secs_f64(),
            "meters": spec.meters.texts(),
            "sinks": spec.sinks.iter().map(|sink| json!(**sink)).collect::<Vec<_>>(),
            "samples": count.map_or(0, |count| count.samples),
            "gaps": count.map(|count| json!(count.gaps)),
        })
    };
    spec.pipeline.sources.iter().map(source).collect()
}

fn sinks(admin: &AdminService) -> Vec<Value> {
    let components = running_components(&admin.components);
    let ledger = admin.ledger.sinks();
    let sink = |(name, handle): &(Arc<str>, SinkHandle)| {
        let counted = ledger.iter().find(|sink| sink.name == *name);
        let status = handle.status();
        json!({
            "name": **name,
            "state": status.state.as_str(),
            "reason": status.state.reason(),
            "entered": counted.map(|sink| number(&sink.count.entered)),
            "processed": counted.map(|sink| number(&sink.count.processed)),
            "pending": counted.map_or(0, |sink| number(&sink.count.pending)),
            "dropped": counted.map(|sink| drops(&sink.count.dropped)),
            "reloads": status.reloads,
            "rollbacks": status.rollbacks,
            "transformers": transformers(name, &status, &components),
            "publishers": counted.map(publishers).unwrap_or_default(),
        })
    };
    admin.sinks.iter().map(sink).collect()
}

/// The transformers of a sink in their order, with what their components have done.
fn transformers(sink: &str, status: &SinkStatus, components: &[ListedComponent]) -> Vec<Value> {
    let transformer = |(at, one): (usize, &Identity)| {
        let mut entry = json!({
            "component": *one.component,
            "digest": short_digest(&one.digest),
        });
        let place = format!("{sink}/{at}");
        let running = components.iter().find(|listed| *listed.location == *place);
        if let Some(stats) = running.map(|listed| listed.counters.stats()) {
            entry["calls"] = json!(stats.calls);
            entry["cpu_seconds"] = json!(Duration::from_nanos(stats.cpu_nanos).as_secs_f64());
            entry["memory_bytes"] = json!(stats.memory);
            entry["samples_in"] = json!(stats.samples_in);
            entry["samples_out"] = json!(stats.samples_out);
            entry["failures"] = json!(stats.failed);
            entry["restarts"] = json!(stats.restarts);
            entry["last_failure"] = json!(stats.last_failure.as_deref());
        }
        entry
    };
    status.transformers.iter().enumerate().map(transformer).collect()
}

fn publishers(sink: &LedgerSink) -> Vec<Value> {
    let publisher = |(label, count): &(Arc<str>, Arc<PublisherCount>)| {
        let sent = count.deliveries.snapshot();
        json!({
            "name": **label,
            "encoded": number(&count.encoded),
            "samples": number(&count.samples),
            "confirmed": number(&count.confirmed),
            "pending": number(&count.pending),
            "in_flight": sent.in_flight,
            "retries": sent.failed,
            "dropped": drops(&count.dropped),
        })
    };
    sink.publishers.iter().map(publisher).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are enough for a page")]
fn seconds(time: Timestamp) -> f64 {
    (time.as_nanos() / 1_000_000) as f64 / 1e3
}
