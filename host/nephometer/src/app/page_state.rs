//! The state of the agent as the page shows it: what `status`, `component status` and `spool ls` have, with
//! what only the page needs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admin::AdminService;
use super::health::Health;
use super::process::ProcessNumbers;
use super::queries;
use nephometer_config::SourceSpec;
use nephometer_model::Timestamp;
use nephometer_view::View;

/// Domains without values that each state has; `/v1/domains` has all.
const UNHEALTHY: usize = 50;

/// The state now. Reads counters and the summaries of spools.
pub(super) async fn state(admin: &AdminService, view: &View) -> Value {
    // A store that cannot be read is a line of the health check.
    let spools = queries::list(&admin.resources.spools).await.unwrap_or_default();
    let numbers = ProcessNumbers::read();
    let time = seconds(admin.clock.now().wall);
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
        "time": time,
        "started": time - admin.started.elapsed().as_secs_f64(),
        "host": admin.host,
        "health": Health::of(admin).json(),
        "process": {
            "cpu_seconds": numbers.cpu.as_secs_f64(),
            "resident_bytes": numbers.resident_bytes,
        },
        "sources": sources(admin),
        "status": admin.status(),
        "components": admin.component_status(),
        "spools": spools,
        "reloads": reloads.collect::<Vec<_>>(),
        "domains": view.summary(UNHEALTHY),
    })
}

fn sources(admin: &AdminService) -> Vec<Value> {
    let counts = admin.ledger.polling.sources();
    let spec = Arc::clone(&admin.resources.spec.borrow());
    let source = |spec: &SourceSpec| {
        let count = counts.get(&*spec.name);
        json!({
            "source": *spec.name,
            "interval_seconds": spec.interval.as_secs_f64(),
            "meters": spec.meters.texts(),
            "sinks": spec.sinks.iter().map(|sink| &**sink).collect::<Vec<_>>(),
            "samples": count.map_or(0, |count| count.samples),
            "gaps": count.map(|count| json!(count.gaps)),
        })
    };
    spec.pipeline.sources.iter().map(source).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are enough for a page")]
fn seconds(time: Timestamp) -> f64 {
    (time.as_nanos() / 1_000_000) as f64 / 1e3
}
