//! Guards as `status` and `component guard` have them, and the correction after a rollback.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::plan::short_digest;
use crate::app::shadow_list::GuardEntry;
use crate::app::shadows::number;
use nephometer_pipeline::{
    CorrectedSample, GuardCorrection, GuardReport, MeterComparison, SeriesComparison,
};

/// A guard in `status`.
pub(in crate::app) fn summary(entry: &GuardEntry) -> Value {
    let found = entry.report.progress();
    let compared = &found.comparison;
    let components = entry.components.iter().map(|(component, before, now)| {
        json!({
            "component": **component,
            "before": short_digest(before),
            "now": short_digest(now),
        })
    });
    json!({
        "sink": *entry.sink,
        "components": components.collect::<Value>(),
        "state": found.state.as_str(),
        "reason": found.state.reason(),
        "cycles": found.cycles,
        "cycles_to_compare": entry.report.plan().bounds.cycles,
        "samples": compared.samples,
        "differing": compared.differing,
        "missing": compared.missing,
        "extra": compared.extra,
        "absent_series": found.absent,
        "uncompared": found.uncompared,
        "correction": entry.correction.get().map(|found| match found {
            Ok(path) => json!(path),
            Err(reason) => json!({ "error": reason }),
        }),
    })
}

/// The same with the first difference, the sums of meters, and the costs.
pub(in crate::app) fn full(entry: &GuardEntry) -> Value {
    let mut document = summary(entry);
    let found = entry.report.progress();
    let first = found.comparison.first.as_ref().map(|first| {
        json!({
            "what": first.what,
            "meter": *first.meter,
            "resource": *first.resource,
            "time": first.time.iso(),
            "published": first.shadow.map(number),
            "before": first.live.map(number),
        })
    });
    document["first"] = first.unwrap_or_default();
    document["meters"] =
        found.comparison.meters.iter().map(|(name, one)| meter(name, one)).collect();
    document["cost"] = json!({
        "published_microseconds_per_sample": found.cost.map(|(now, _)| now / 1e3),
        "before_microseconds_per_sample": found.cost.map(|(_, before)| before / 1e3),
    });
    document
}

fn meter(name: &Arc<str>, one: &MeterComparison) -> Value {
    json!({
        "meter": **name,
        "published": number(one.shadow.volume()),
        "before": number(one.live.volume()),
        "published_samples": one.shadow_samples,
        "before_samples": one.live_samples,
        "differing": one.differing,
    })
}

/// What was published before a rollback, and what it should have been.
pub(in crate::app) fn correction(
    (host, sink): (&str, &str),
    reason: &str,
    guard: &GuardReport,
) -> Value {
    let versions = guard.corrections();
    json!({
        "host": host,
        "sink": sink,
        "reason": reason,
        "versions": versions.iter().map(version).collect::<Value>(),
    })
}

fn version(one: &GuardCorrection) -> Value {
    let series = one.series.iter().map(|((meter, resource), found)| series(meter, resource, found));
    json!({
        "components": one.components,
        "series": series.collect::<Value>(),
        "samples": one.samples.iter().map(sample).collect::<Value>(),
        "samples_omitted": one.samples_omitted,
        "samples_of_series_omitted": one.series_omitted,
        "uncompared": one.uncompared,
    })
}

fn series(meter: &str, resource: &str, found: &SeriesComparison) -> Value {
    json!({
        "meter": meter,
        "resource": resource,
        "published_samples": found.published,
        "published_sum": number(found.published_sum.volume()),
        "correct_samples": found.expected,
        "correct_sum": number(found.expected_sum.volume()),
        "differing": found.differing,
        "first": found.span.map(|(first, _)| first.iso()),
        "last": found.span.map(|(_, last)| last.iso()),
    })
}

fn sample(one: &CorrectedSample) -> Value {
    json!({
        "what": one.what,
        "id": one.published.map(|(id, _)| id.to_string()),
        "meter": *one.meter,
        "resource": *one.resource,
        "time": one.time.iso(),
        "published": one.published.map(|(_, volume)| number(volume)),
        "correct": one.expected.map(number),
    })
}
