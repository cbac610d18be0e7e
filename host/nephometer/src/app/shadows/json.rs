//! Shadows as `status`, `component shadow` and the metrics have them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::plan::short_digest;
use crate::app::running::running_components;
use crate::app::shadow_list::{PromotedEntry, ShadowEntry};
use nephometer_config::shadow_name;
use nephometer_model::Volume;
use nephometer_pipeline::{MeterComparison, SampleDifference, ShadowProgress};
use nephometer_wasm::{ComponentHost, ComponentStats};

/// The counters of a component at a place.
pub(super) fn stats(host: &ComponentHost, place: &str, component: &str) -> Option<ComponentStats> {
    let mut listed = running_components(host).into_iter();
    let found = listed.find(|one| *one.location == *place && *one.component == *component);
    found.map(|one| one.counters.stats())
}

/// A shadow in `status`.
pub(in crate::app) fn summary(entry: &ShadowEntry) -> Value {
    let progress = entry.report.progress();
    json!({
        "sink": &*entry.sink,
        "transformer": entry.index,
        "component": &*entry.component,
        "shadow": entry.source,
        "digest": entry.digest.as_ref().map(short_digest),
        "live_digest": short_digest(&entry.live),
        "state": progress.state.as_str(),
        "reason": progress.state.reason(),
        "complete": progress.is_complete(),
        "batches": progress.batches,
        "samples": progress.samples,
        "differing": progress.differing,
        "missing": progress.missing,
        "extra": progress.extra,
        "missed_batches": progress.missed_batches,
        "missed_samples": progress.missed_samples,
        "skipped": progress.skipped,
        "failures": progress.failures,
        "last_failure": progress.last_failure,
        "starts": progress.starts,
        "without_state": progress.is_reset,
    })
}

/// A promotion in `status`.
pub(in crate::app) fn promoted(entry: &PromotedEntry) -> Value {
    let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
    let mut promoted = json!({
        "component": entry.component,
        "digest": short(&entry.digest),
        "replaces": short(&entry.replaces),
    });
    if let Some(guard) = &entry.guard {
        promoted["guard"] = json!(guard);
    }
    promoted
}

/// The same with the first difference, the sums of meters, and the costs.
pub(in crate::app) fn full(entry: &ShadowEntry, host: &ComponentHost) -> Value {
    let mut document = summary(entry);
    let ShadowProgress { first, meters, .. } = entry.report.progress();
    let meters = meters.iter().map(|(meter, found)| sums(meter, found));
    document["first"] = first.as_ref().map_or(Value::Null, difference);
    document["meters"] = meters.collect();
    let place = entry.place();
    let live = stats(host, &place, &entry.component);
    let shadow = stats(host, &place, &shadow_name(&entry.component));
    document["cost"] = json!({
        "live": live.map(|now| cost(&now, entry.before.as_ref())),
        "shadow": shadow.map(|now| cost(&now, None)),
    });
    document
}

fn difference(found: &SampleDifference) -> Value {
    json!({
        "what": found.what,
        "meter": &*found.meter,
        "resource": &*found.resource,
        "time": found.time.iso(),
        "live": found.live.map(number),
        "shadow": found.shadow.map(number),
    })
}

fn sums(meter: &Arc<str>, found: &MeterComparison) -> Value {
    json!({
        "meter": &**meter,
        "live": number(found.live.volume()),
        "shadow": number(found.shadow.volume()),
        "difference": number(found.live.to(found.shadow).volume()),
        "differing": found.differing,
    })
}

/// A volume: a whole number if it is one.
pub(in crate::app) fn number(volume: Volume) -> Value {
    match volume {
        Volume::Integer(whole) => {
            i64::try_from(whole).map_or_else(|_| json!(volume.as_f64()), |whole| json!(whole))
        }
        Volume::Float(float) => json!(float),
    }
}

/// What a component has cost since `before`.
fn cost(now: &ComponentStats, before: Option<&ComponentStats>) -> Value {
    let since =
        |value: fn(&ComponentStats) -> u64| value(now).saturating_sub(before.map_or(0, value));
    let (nanos, samples) = (since(|one| one.cpu_nanos), since(|one| one.samples_in));
    let cpu = Duration::from_nanos(nanos).as_secs_f64();
    let per_sample = (samples > 0).then(|| cpu * 1e6 / Duration::from_secs(samples).as_secs_f64());
    json!({
        "calls": since(|one| one.calls),
        "samples": samples,
        "cpu_seconds": cpu,
        "cpu_microseconds_per_sample": per_sample,
        "memory_peak_bytes": now.memory_peak,
    })
}
