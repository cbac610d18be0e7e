//! The agent's own metrics: an exposition of its counters.
//!
//! Labels are names of the configuration (sources, sinks, publishers, components) and fixed words, never
//! a domain or a resource: their number does not grow with the guests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admin::AdminService;
use super::plan::short_digest;
use super::process::ProcessNumbers;
use super::reload_history::ReloadHistory;
use super::running::running_components;
use nephometer_metrics::FamilyKind::{Counter, Gauge, Histogram};
use nephometer_metrics::{Exposition, TextFormat};
use nephometer_pipeline::{GuardProgress, GuardState, ShadowProgress, ShadowState, SinkState};
use nephometer_store::SpoolSummary;
use nephometer_telemetry::{CYCLE_SECONDS, DELIVERY_SECONDS, LedgerSink};
use nephometer_wasm::ComponentStats;

/// How long an exposition is used again. Making one reads `/proc` and the store: however many scrape, an
/// agent makes ten a second.
const RECENT: Duration = Duration::from_millis(100);

/// The last exposition of each format. Those who scrape at the same moment wait for the same one.
#[derive(Debug, Default)]
pub(super) struct RecentExpositions {
    made: tokio::sync::Mutex<HashMap<TextFormat, (Instant, Bytes)>>,
}

impl RecentExpositions {
    /// An exposition that is at most [`RECENT`] old.
    pub(super) async fn get(&self, admin: &AdminService, format: TextFormat) -> Bytes {
        let mut made = self.made.lock().await;
        if let Some((time, text)) = made.get(&format)
            && time.elapsed() < RECENT
        {
            return text.clone();
        }
        let time = Instant::now();
        let text = exposition(admin, format).await;
        made.insert(format, (time, text.clone()));
        text
    }
}

/// Labels and a value.
type Row<'a> = (Vec<(&'a str, &'a str)>, String);

/// The exposition now.
pub(super) async fn exposition(admin: &AdminService, format: TextFormat) -> Bytes {
    // A store that cannot be read costs its own series only.
    let spools = admin.resources.spools.list().await;
    let mut out = Exposition::new(format);
    process(&mut out, admin, &ProcessNumbers::read());
    polling(&mut out, admin);
    libvirt(&mut out, admin);
    let sinks = admin.ledger.sinks();
    samples(&mut out, &sinks);
    publishers(&mut out, &sinks);
    states(&mut out, admin);
    components(&mut out, admin);
    shadows(&mut out, admin);
    guards(&mut out, admin);
    spool(&mut out, spools.as_deref().unwrap_or_default());
    let readable = u8::from(spools.is_ok()).to_string();
    one(&mut out, "store_readable", "Whether the store can be read.", readable);
    reloads(&mut out, &admin.reloads);
    out.finish()
}

fn family<'a>(
    out: &mut Exposition,
    (name, kind): (&str, nephometer_metrics::FamilyKind),
    help: &str,
    rows: impl IntoIterator<Item = Row<'a>>,
) {
    let name = match name.starts_with("process_") {
        true => name.to_owned(),
        false => format!("nephometer_{name}"),
    };
    let units = ["seconds", "bytes"];
    let unit = units.into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
    out.family(&name, kind, unit.unwrap_or_default(), help);
    rows.into_iter().for_each(|(labels, value)| out.sample(&labels, &value));
}

fn one(out: &mut Exposition, name: &str, help: &str, value: String) {
    family(out, (name, Gauge), help, [(Vec::new(), value)]);
}

fn read(count: &AtomicU64) -> String {
    count.load(Relaxed).to_string()
}

fn process(out: &mut Exposition, admin: &AdminService, numbers: &ProcessNumbers) {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    family(out, ("build", Gauge), "The version of this agent.", [(version, "1".to_owned())]);
    let cpu = [(Vec::new(), seconds(numbers.cpu))];
    let help = "Processor time of the agent with everything in it.";
    family(out, ("process_cpu_seconds", Counter), help, cpu);
    let total = u64::try_from(numbers.cpu.as_nanos()).unwrap_or(u64::MAX);
    let parts = admin.threads.parts(&admin.ledger.tasks, total);
    let parts = parts
        .into_iter()
        .map(|(part, nanos)| (vec![("part", part)], seconds(Duration::from_nanos(nanos))));
    let help = "The same time by part of the agent, and what no part has.";
    family(out, ("cpu_seconds", Counter), help, parts);
    let whole = |value: Option<u64>| value.map(|value| value.to_string());
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory of the agent.", whole(numbers.resident_bytes)),
        ("process_open_fds", "Open file descriptors.", whole(numbers.open_files)),
        ("process_threads", "Threads.", whole(numbers.threads)),
        (
            "process_start_time_seconds",
            "When the agent started, since the epoch.",
            numbers.start_seconds.map(|seconds| seconds.to_string()),
        ),
    ] {
        value.into_iter().for_each(|value| one(out, name, help, value));
    }
}

fn polling(out: &mut Exposition, admin: &AdminService) {
    let (ledger, polling) = (&admin.ledger, &admin.ledger.polling);
    let intervals: Vec<_> = polling
        .intervals()
        .into_iter()
        .map(|(interval, stats)| (interval.as_secs_f64().to_string(), stats))
        .collect();
    let name = "nephometer_polling_cycle_duration_seconds";
    out.family(name, Histogram, "seconds", "Duration of polling cycles, by interval in seconds.");
    for (interval, stats) in &intervals {
        let buckets: Vec<_> = CYCLE_SECONDS.into_iter().zip(stats.buckets).collect();
        out.histogram(&[("interval", interval)], &buckets, (stats.seconds, stats.cycles));
    }
    let ages = intervals.iter().map(|(interval, stats)| {
        (vec![("interval", interval.as_str())], seconds(stats.last.elapsed()))
    });
    let help = "Time since the last polling cycle ended.";
    family(out, ("polling_cycle_age_seconds", Gauge), help, ages);
    let domains = intervals.iter().flat_map(|(interval, stats)| {
        let row = move |(state, count): (&&'static str, &u64)| {
            (vec![("interval", interval.as_str()), ("state", *state)], count.to_string())
        };
        stats.domains.iter().map(row)
    });
    let help = "Domains in the last cycle: healthy, or the reason why values are missing.";
    family(out, ("polling_domains", Gauge), help, domains);
    let sources = polling.sources();
    let samples = sources
        .iter()
        .map(|(source, stats)| (vec![("source", source.as_str())], stats.samples.to_string()));
    family(out, ("polling_samples", Counter), "Samples made, by source.", samples);
    let gaps = sources.iter().flat_map(|(source, stats)| {
        let row = move |(reason, count): (&&'static str, &u64)| {
            (vec![("source", source.as_str()), ("reason", *reason)], count.to_string())
        };
        stats.gaps.iter().map(row)
    });
    family(out, ("polling_gaps", Counter), "Gaps reported, by source and reason.", gaps);
    for (name, help, count) in [
        ("polling_cycles_skipped", "Cycles that did not begin in time.", &ledger.cycles_skipped),
        ("polling_readings_missing", "Readings of domains that failed.", &ledger.missing),
        ("polling_values_absent", "Values that libvirt left out.", &ledger.absent),
    ] {
        family(out, (name, Counter), help, [(Vec::new(), read(count))]);
    }
    let listable = u8::from(polling.unlistable().is_none()).to_string();
    one(out, "libvirt_reachable", "Whether domains can be listed.", listable);
}

fn libvirt(out: &mut Exposition, admin: &AdminService) {
    let Some(calls) = admin.resources.hypervisor.call_stats() else { return };
    let row = |value: String| [(Vec::new(), value)];
    family(out, ("libvirt_calls", Counter), "Finished calls.", row(calls.calls.to_string()));
    let help = "Duration of all calls: its rate is the number of libvirtd's workers in use.";
    family(out, ("libvirt_call_seconds", Counter), help, row(seconds(calls.busy)));
    let help = "Calls past their deadline that have not returned.";
    one(out, "libvirt_calls_abandoned", help, calls.abandoned.to_string());
}

fn samples(out: &mut Exposition, sinks: &[LedgerSink]) {
    let rows = |value: fn(&LedgerSink) -> String| {
        sinks.iter().map(move |sink| (vec![("sink", &*sink.name)], value(sink)))
    };
    let help = "Samples that entered the sink, before its transformers.";
    family(out, ("sink_samples", Counter), help, rows(|sink| read(&sink.count.entered)));
    let help = "Samples that its transformers have processed.";
    let processed = rows(|sink| read(&sink.count.processed));
    family(out, ("sink_samples_processed", Counter), help, processed);
    let help = "Samples of the sink in the journal.";
    family(out, ("sink_samples_pending", Gauge), help, rows(|sink| read(&sink.count.pending)));
    let dropped = sinks.iter().flat_map(|sink| {
        let row = |(reason, count): (&'static str, u64)| {
            (vec![("sink", &*sink.name), ("reason", reason)], count.to_string())
        };
        sink.count.dropped.by_reason().map(row)
    });
    family(out, ("sink_samples_dropped", Counter), "Samples dropped before it.", dropped);
}

fn publishers(out: &mut Exposition, sinks: &[LedgerSink]) {
    let publishers = || {
        sinks.iter().flat_map(|sink| {
            sink.publishers.iter().map(move |(label, count)| (&*sink.name, &**label, count))
        })
    };
    let names = |sink, publisher| vec![("sink", sink), ("publisher", publisher)];
    let envelopes = publishers().flat_map(|(sink, publisher, count)| {
        let with = move |outcome| {
            let mut labels = names(sink, publisher);
            labels.push(("outcome", outcome));
            labels
        };
        let dropped = count.dropped.by_reason();
        let dropped = dropped.map(move |(reason, count)| (with(reason), count.to_string()));
        std::iter::once((with("confirmed"), read(&count.confirmed))).chain(dropped)
    });
    let help = "Envelopes by outcome: confirmed, or the reason why they were dropped.";
    family(out, ("publisher_envelopes", Counter), help, envelopes);
    deliveries(out, sinks);
    let encoded =
        publishers().map(|(sink, label, count)| (names(sink, label), read(&count.encoded)));
    family(out, ("publisher_envelopes_encoded", Counter), "Envelopes made.", encoded);
    let pending =
        publishers().map(|(sink, label, count)| (names(sink, label), read(&count.pending)));
    family(out, ("publisher_envelopes_pending", Gauge), "Envelopes in its spool.", pending);
    let samples =
        publishers().map(|(sink, label, count)| (names(sink, label), read(&count.samples)));
    family(out, ("publisher_samples", Counter), "Samples in envelopes made.", samples);
}

/// Attempts of publishers: a histogram of their durations, failures, and what is being sent.
fn deliveries(out: &mut Exposition, sinks: &[LedgerSink]) {
    let all: Vec<_> = sinks
        .iter()
        .flat_map(|sink| sink.publishers.iter().map(move |(label, count)| (sink, label, count)))
        .map(|(sink, label, count)| {
            let labels = vec![("sink", &*sink.name), ("publisher", &**label)];
            (labels, count.deliveries.snapshot())
        })
        .collect();
    let help = "Duration of attempts to deliver, until the receiver has confirmed or failed.";
    out.family("nephometer_publisher_delivery_seconds", Histogram, "seconds", help);
    for (labels, found) in &all {
        let buckets: Vec<_> = DELIVERY_SECONDS.into_iter().zip(found.buckets).collect();
        out.histogram(labels, &buckets, (found.seconds, found.attempts));
    }
    let failed = all.iter().map(|(labels, found)| (labels.clone(), found.failed.to_string()));
    let help = "Attempts after which envelopes have to be sent again.";
    family(out, ("publisher_retries", Counter), help, failed);
    let sent = all.iter().map(|(labels, found)| (labels.clone(), found.in_flight.to_string()));
    family(out, ("publisher_envelopes_in_flight", Gauge), "Envelopes being sent.", sent);
}

fn states(out: &mut Exposition, admin: &AdminService) {
    const STATES: [&str; 5] = ["preparing", "held", "running", "failing", "quarantined"];
    let statuses: Vec<_> =
        admin.sinks.iter().map(|(name, handle)| (&**name, handle.status())).collect();
    let rows = statuses.iter().flat_map(|(sink, status)| {
        STATES.into_iter().map(move |state| {
            let value = u8::from(status.state.as_str() == state).to_string();
            (vec![("sink", *sink), ("state", state)], value)
        })
    });
    family(out, ("sink_state", Gauge), "1 for the state of the sink.", rows);
    let running = statuses.iter().filter(|(_, one)| one.state == SinkState::Running).count();
    one(out, "sinks_running", "Sinks that process batches.", running.to_string());
    let reloads =
        statuses.iter().map(|(sink, one)| (vec![("sink", *sink)], one.reloads.to_string()));
    family(out, ("sink_reloads", Counter), "Transformer chains that took over.", reloads);
    let rollbacks =
        statuses.iter().map(|(sink, one)| (vec![("sink", *sink)], one.rollbacks.to_string()));
    family(out, ("sink_rollbacks", Counter), "Returns to the chain before.", rollbacks);
}

/// A family of numbers of shadows: name, help, and the number.
type ShadowFamily = (&'static str, &'static str, fn(&ShadowProgress) -> u64);

const SHADOWS: [ShadowFamily; 4] = [
    ("shadow_samples", "Samples of the live component that were compared.", |one| one.samples),
    ("shadow_samples_differing", "Samples that are not the same in both.", |one| one.differing),
    ("shadow_batches_missed", "Batches that the shadow did not get.", |one| one.missed_batches),
    ("shadow_failures", "Calls that ended an instance of the shadow.", |one| one.failures),
];

fn shadows(out: &mut Exposition, admin: &AdminService) {
    let all: Vec<_> = admin.resources.shadows.all();
    let all: Vec<_> =
        all.iter().map(|one| (one.place(), &*one.component, one.report.progress())).collect();
    for (name, help, value) in SHADOWS {
        let rows = all.iter().map(|(place, component, progress)| {
            let labels = vec![("place", place.as_str()), ("component", *component)];
            (labels, value(progress).to_string())
        });
        family(out, (name, Counter), help, rows);
    }
    let running = all.iter().map(|(place, component, progress)| {
        let labels = vec![("place", place.as_str()), ("component", *component)];
        (labels, u8::from(progress.state == ShadowState::Comparing).to_string())
    });
    family(out, ("shadow_comparing", Gauge), "1 while the shadow compares.", running);
}

fn guards(out: &mut Exposition, admin: &AdminService) {
    let all: Vec<_> = admin.resources.shadows.guards();
    let all: Vec<_> = all.iter().map(|one| (&*one.sink, one.report.progress())).collect();
    let rows = |value: fn(&GuardProgress) -> u64| {
        all.iter().map(move |(sink, found)| (vec![("sink", *sink)], value(found).to_string()))
    };
    let help = "1 while the version before runs beside a guarded change.";
    let comparing = rows(|one| u64::from(one.state == GuardState::Comparing));
    family(out, ("guard_comparing", Gauge), help, comparing);
    let help = "1 if the last guarded change was rolled back.";
    let rolled_back = rows(|one| u64::from(matches!(one.state, GuardState::RolledBack(_))));
    family(out, ("guard_rolled_back", Gauge), help, rolled_back);
    let help = "Samples of the last guarded change that were compared.";
    family(out, ("guard_samples", Gauge), help, rows(|one| one.comparison.samples));
    let help = "Samples of these that are not the same in both versions.";
    family(out, ("guard_samples_differing", Gauge), help, rows(|one| one.comparison.differing));
}

fn components(out: &mut Exposition, admin: &AdminService) {
    let listed = running_components(&admin.components);
    let stats: Vec<ComponentStats> = listed.iter().map(|one| one.counters.stats()).collect();
    let rows = |value: fn(&ComponentStats) -> String| {
        let named = listed.iter().zip(&stats);
        named.map(move |(one, stats)| {
            (vec![("place", &*one.location), ("component", &*one.component)], value(stats))
        })
    };
    for (name, kind, help, value) in COMPONENT {
        family(out, (name, kind), help, rows(value));
    }
    let digests: Vec<String> =
        stats.iter().map(|one| short_digest(one.digest.as_bytes())).collect();
    let revisions = listed.iter().zip(&digests).map(|(one, digest)| {
        let labels =
            vec![("place", &*one.location), ("component", &*one.component), ("digest", digest)];
        (labels, "1".to_owned())
    });
    family(out, ("component_revision", Gauge), "The digest of the component's file.", revisions);
}

/// A family of numbers of components: name, type, help, and the number.
type ComponentFamily =
    (&'static str, nephometer_metrics::FamilyKind, &'static str, fn(&ComponentStats) -> String);

const COMPONENT: [ComponentFamily; 10] = [
    ("component_calls", Counter, "Calls.", |one| one.calls.to_string()),
    ("component_cpu_seconds", Counter, "Processor time of its calls.", |one| {
        seconds(Duration::from_nanos(one.cpu_nanos))
    }),
    ("component_memory_bytes", Gauge, "Linear memory.", |one| one.memory.to_string()),
    ("component_memory_peak_bytes", Gauge, "Its peak.", |one| one.memory_peak.to_string()),
    ("component_samples_in", Counter, "Samples passed to it.", |one| one.samples_in.to_string()),
    ("component_samples_out", Counter, "Samples it returned.", |one| one.samples_out.to_string()),
    ("component_failures", Counter, "Calls that ended an instance.", |one| one.failed.to_string()),
    ("component_limits_exceeded", Counter, "Failures at a limit.", |one| {
        one.limits_exceeded.to_string()
    }),
    ("component_restarts", Counter, "Instances after the first.", |one| one.restarts.to_string()),
    ("component_log_lines_dropped", Counter, "Log lines beyond the bound.", |one| {
        one.log_dropped.to_string()
    }),
];

fn spool(out: &mut Exposition, spools: &[SpoolSummary]) {
    let rows = |value: fn(&SpoolSummary) -> Option<String>| {
        spools.iter().filter_map(move |one| Some((vec![("spool", one.name.as_str())], value(one)?)))
    };
    let pending = rows(|one| Some(one.pending.to_string()));
    family(out, ("spool_envelopes", Gauge), "Pending envelopes, on disk.", pending);
    let bytes = rows(|one| Some(one.bytes.to_string()));
    family(out, ("spool_bytes", Gauge), "Bytes of pending envelopes.", bytes);
    let rejected = rows(|one| Some(one.rejected.to_string()));
    family(out, ("spool_rejected", Gauge), "Envelopes that the receiver has refused.", rejected);
    let oldest = rows(|one| Some(seconds(Duration::from_nanos(one.oldest?))));
    let help = "Time of the newest sample of the oldest pending envelope, since the epoch.";
    family(out, ("spool_oldest_timestamp_seconds", Gauge), help, oldest);
}

fn reloads(out: &mut Exposition, history: &ReloadHistory) {
    let (applied, refused) = history.counts();
    let rows = [("applied", applied), ("refused", refused)];
    let rows = rows.map(|(result, count)| (vec![("result", result)], count.to_string()));
    let help = "Reloads: with all changes applied, and with refused ones.";
    family(out, ("reloads", Counter), help, rows);
    let problems = history.last().problems.len().to_string();
    one(out, "reload_problems", "Refused changes of the last reload.", problems);
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}
