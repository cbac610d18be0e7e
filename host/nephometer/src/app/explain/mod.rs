//! Explains a meter of a resource: where its value comes from, what became of the last one, and if there
//! is none, why and since when.
//!
//! Reads what is there: the configuration in effect, the last polling cycle at each point (`pipeline`'s
//! taps), gaps, counters and the list of domains. It changes nothing, and it keeps no polling cycle
//! waiting. The form of the answer is stable; docs/live.md describes it.

mod meter;
mod reason;
mod resource;
mod sinks;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use self::meter::MeterOrigin;
use self::reason::{ExplainedGaps, MissingReason};
use self::resource::ExplainedResource;
use self::sinks::ExplainedSink;
use super::selection::SampleFilter;
use nephometer_config::{AgentSpec, SourceSpec};
use nephometer_libvirt::hypervisor::Hypervisor;
use nephometer_model::{Glob, Sample, Timestamp};
use nephometer_pipeline::{SinkHandle, Taps};
use nephometer_store::Gaps;
use nephometer_telemetry::Ledger;

/// How long a polling cycle and its way through the sinks may take, beyond the interval.
const LEEWAY: Duration = Duration::from_secs(15);

/// The parts of the agent that an explanation reads.
pub(super) struct ExplainedAgent<'a> {
    pub(super) spec: &'a AgentSpec,
    pub(super) sinks: &'a [(Arc<str>, SinkHandle)],
    pub(super) ledger: &'a Ledger,
    pub(super) taps: &'a Taps,
    pub(super) hypervisor: &'a dyn Hypervisor,
    pub(super) gaps: &'a Gaps,
}

/// A source, and what its last polling cycle has of the meter and resource.
struct ExplainedSource<'a> {
    spec: &'a SourceSpec,
    selects: bool,
    last_cycle: Option<Timestamp>,
    /// `None` if no cycle has passed so far, or if it was too large to be kept.
    values: Option<Vec<Sample>>,
    /// Whether the cycle has any sample of the instance.
    has_instance: bool,
}

/// Explains a meter of a resource. With `wait`, waits for the next polling cycle first.
///
/// # Errors
/// If the meter's name or the resource is not clear, or gaps cannot be read.
pub(super) async fn explain(
    agent: &ExplainedAgent<'_>,
    (meter, resource): (&str, &str),
    wait: bool,
) -> Result<Value, String> {
    if meter.is_empty() || meter.contains(['*', '?', '[', '!']) {
        return Err(format!("{meter:?} is not the name of a meter"));
    }
    let origin = MeterOrigin::of(meter, agent.spec.metering);
    let waited = if wait { Some(next_cycle(agent, meter, origin).await) } else { None };
    let resource = ExplainedResource::find(resource, agent.hypervisor).await?;
    let wanted = SampleFilter {
        meter: Some(Glob::new(meter).map_err(|error| error.to_string())?),
        resource: Some(resource.query.clone()),
    };
    let sources = sources(agent, (meter, origin), &wanted);
    let sinks = sinks::explain(agent, &wanted);
    let is_resource = |id: &str| resource.concerns(id);
    let last = |source: &str| agent.taps.last_cycle(source);
    // A transformer makes it of others: what is missing of these is missing of it.
    let gap_meter = (!matches!(origin, MeterOrigin::Unlisted)).then_some(meter);
    let gaps = ExplainedGaps::select(agent.gaps.all().await?, gap_meter, is_resource, last);
    let found = FoundPath { meter, origin, resource: &resource, sources: &sources, sinks: &sinks };
    let status = found.status();
    let reasons = match status {
        "present" | "transformed" => Vec::new(),
        _ => found.reasons(agent, &gaps).await,
    };
    Ok(json!({
        "status": status,
        "reasons": reasons.iter().map(MissingReason::json).collect::<Vec<_>>(),
        "meter": origin.json(meter, agent.spec.metering),
        "resource": resource.json(),
        "sources": sources.iter().map(ExplainedSource::json).collect::<Vec<_>>(),
        "sinks": sinks.iter().map(ExplainedSink::json).collect::<Vec<_>>(),
        "gaps": gaps.json(),
        "waited_seconds": waited.map(|time| time.as_secs_f64()),
    }))
}

/// Whether a source selects a meter. One that only a transformer may make is selected by none.
fn selects(source: &SourceSpec, meter: &str, origin: MeterOrigin) -> bool {
    source.polls_instances()
        && match origin {
            MeterOrigin::Catalogue(_) => source.meters.matches(meter),
            MeterOrigin::Raw => {
                source.meters.names(nephometer_libvirt::poll::meters::RAW_PREFIX, meter)
            }
            MeterOrigin::Own => source.meters.names(meter::OWN_PREFIX, meter),
            MeterOrigin::OtherRelease(_) | MeterOrigin::Unlisted => false,
        }
}

fn sources<'a>(
    agent: &ExplainedAgent<'a>,
    (meter, origin): (&str, MeterOrigin),
    wanted: &SampleFilter,
) -> Vec<ExplainedSource<'a>> {
    let instance = SampleFilter { meter: None, resource: wanted.resource.clone() };
    let one = |spec: &'a SourceSpec| {
        let kept = agent.taps.recent(None, &spec.name);
        let kept = kept.filter(|passages| !passages.is_empty());
        let samples = || kept.iter().flatten().flat_map(|passage| &passage.batch.samples);
        let values = samples().filter(|sample| wanted.matches(sample)).cloned().collect();
        ExplainedSource {
            spec,
            selects: selects(spec, meter, origin),
            last_cycle: agent.taps.last_cycle(&spec.name),
            has_instance: samples().any(|sample| instance.matches(sample)),
            values: kept.is_some().then_some(values),
        }
    };
    agent.spec.pipeline.sources.iter().map(one).collect()
}

/// Waits until the next polling cycle of the sources of a meter has passed their sinks, or should have.
async fn next_cycle(agent: &ExplainedAgent<'_>, meter: &str, origin: MeterOrigin) -> Duration {
    let began = Instant::now();
    let _keep = agent.taps.keep_next();
    let all = &agent.spec.pipeline.sources;
    let of_meter: Vec<&SourceSpec> =
        all.iter().filter(|source| selects(source, meter, origin)).collect();
    let sources = if of_meter.is_empty() { all.iter().collect() } else { of_meter };
    let before: Vec<_> = sources.iter().map(|one| agent.taps.last_cycle(&one.name)).collect();
    let interval = sources.iter().map(|one| one.interval).max().unwrap_or_default();
    let mut passed = agent.taps.passed();
    let has_passed = || {
        sources.iter().zip(&before).all(|(source, before)| {
            let now = agent.taps.last_cycle(&source.name);
            let at_sink = |sink: &Arc<str>| {
                let kept = agent.taps.recent(Some(sink), &source.name);
                let first = kept.as_ref().and_then(|passages| passages.first());
                first.is_some_and(|first| Some(first.batch.cycle_start.wall) == now)
            };
            now != *before && source.sinks.iter().all(at_sink)
        })
    };
    let waiting = async {
        while !has_passed() {
            if passed.changed().await.is_err() {
                return;
            }
        }
    };
    // A domain that does not answer, or a sink on hold, must not keep the client waiting for ever.
    drop(timeout_at(began + interval + LEEWAY, waiting).await);
    began.elapsed()
}

impl ExplainedSource<'_> {
    fn json(&self) -> Value {
        json!({
            "source": *self.spec.name,
            "selects": self.selects,
            "meters": self.spec.meters.texts(),
            "interval_seconds": self.spec.interval.as_secs_f64(),
            "sinks": self.spec.sinks.iter().map(|sink| &**sink).collect::<Vec<_>>(),
            "last_cycle": self.last_cycle.map(Timestamp::iso),
            "values": self.values.as_deref().map(trace::values),
        })
    }
}

/// Everything that was found.
struct FoundPath<'a> {
    meter: &'a str,
    origin: MeterOrigin,
    resource: &'a ExplainedResource,
    sources: &'a [ExplainedSource<'a>],
    sinks: &'a [ExplainedSink],
}

impl FoundPath<'_> {
    /// One word: what became of the last value.
    fn status(&self) -> &'static str {
        let any = |of: fn(&ExplainedSink) -> bool| self.sinks.iter().any(of);
        let polled = self.sources.iter().filter_map(|source| source.values.as_ref());
        let is_polled = polled.into_iter().any(|values| !values.is_empty());
        if any(|sink| sink.trace.is_output) {
            "present"
        } else if any(|sink| !sink.trace.output.is_empty()) {
            "transformed"
        } else if any(ExplainedSink::has_dropped) {
            "dropped"
        } else if any(|sink| !sink.trace.entered.is_empty()) {
            "absorbed"
        } else if is_polled {
            "waiting"
        } else {
            "missing"
        }
    }

    /// Why there is no value at the publishers. The first reason is the cause of the others.
    async fn reasons(
        &self,
        agent: &ExplainedAgent<'_>,
        gaps: &ExplainedGaps,
    ) -> Vec<MissingReason> {
        let mut reasons = Vec::new();
        let open = gaps.open();
        reasons.extend(self.of_resource(agent.spec));
        if !matches!(self.origin, MeterOrigin::Unlisted) || open.is_empty() {
            reasons.extend(self.of_meter(agent.spec));
        }
        let has_no_cause = reasons.is_empty();
        if let Some((reason, since)) = agent.ledger.polling.unlistable() {
            let seconds = since.as_secs();
            let text = format!("domains cannot be listed for {seconds} s: {reason}");
            reasons.push(MissingReason::new("unlistable", text));
        } else if let Some(reason) = &self.resource.unlistable {
            let text = format!("domains cannot be listed: {reason}");
            reasons.push(MissingReason::new("unlistable", text));
        }
        // Of domains that cannot be listed, gaps have the time since when.
        if has_no_cause {
            reasons.extend(open);
        }
        reasons.extend(self.sinks.iter().flat_map(ExplainedSink::reasons));
        if reasons.is_empty() {
            reasons.extend(self.of_cycles());
        }
        if reasons.is_empty() {
            reasons.push(self.of_domain(agent).await);
        }
        reasons
    }

    fn of_resource(&self, spec: &AgentSpec) -> Option<MissingReason> {
        let resource = self.resource;
        if let Some(text) = resource.unmetered(spec) {
            return Some(MissingReason::new("not_metered", text));
        }
        if let Some(text) = resource.missing_device() {
            return Some(MissingReason::new("no_device", text));
        }
        let seen = self.sources.iter().any(|source| source.has_instance);
        if resource.domain.is_some() || resource.unlistable.is_some() || seen {
            return None;
        }
        let others = &resource.others;
        let text = match others.is_empty() {
            true => "this host has no domains".to_owned(),
            false => format!("this host has no such domain; it has {}", others.join(", ")),
        };
        Some(MissingReason::new("no_domain", text))
    }

    fn of_meter(&self, spec: &AgentSpec) -> Option<MissingReason> {
        let release = spec.metering.release;
        match self.origin {
            MeterOrigin::Unlisted => {
                let made = spec.pipeline.sinks.iter().flat_map(|sink| &sink.transformers);
                let text = match made.count() {
                    0 => "libvirt has no such meter, and there are no transformers".to_owned(),
                    _ => "libvirt has no such meter, and in the last polling cycle no transformer \
                          made it for this resource; a rate needs two cycles"
                        .to_owned(),
                };
                Some(MissingReason::new("unknown_meter", text))
            }
            MeterOrigin::OtherRelease(def) => {
                let releases = meter::releases(def).join(", ");
                let text = format!(
                    "compatibility is {release}, and its release has no such meter; {releases} has it"
                );
                Some(MissingReason::new("other_release", text))
            }
            _ if !self.sources.iter().any(|source| source.selects) => {
                let known: Vec<String> = self
                    .sources
                    .iter()
                    .map(|one| {
                        format!("{} has {}", one.spec.name, one.spec.meters.texts().join(" "))
                    })
                    .collect();
                let text = format!("no source selects {}: {}", self.meter, known.join("; "));
                Some(MissingReason::new("not_selected", text))
            }
            _ => None,
        }
    }

    fn of_cycles(&self) -> Option<MissingReason> {
        let mut selecting = self.sources.iter().filter(|source| source.selects);
        if selecting.clone().all(|source| source.last_cycle.is_none()) {
            let first = selecting.next()?;
            let text = format!(
                "no polling cycle of source {} has ended since the agent started; its interval is {:?}",
                first.spec.name, first.spec.interval
            );
            return Some(MissingReason::new("no_cycle", text));
        }
        let not_kept = selecting.all(|one| one.values.is_none());
        not_kept.then(|| {
            let text = "the last polling cycle was too large to be kept; use --wait";
            MissingReason::new("not_kept", text)
        })
    }

    /// The domain is metered and was polled: it does not run, or libvirt does not report the value.
    async fn of_domain(&self, agent: &ExplainedAgent<'_>) -> MissingReason {
        let state = self.resource.state(agent.hypervisor).await;
        let measured = match self.origin {
            MeterOrigin::Catalogue(def) => def.is_measured_when_stopped(&agent.spec.metering),
            _ => false,
        };
        if state == Some(nephometer_model::DomainState::ShutOff) && !measured {
            let text = "the domain is shut off, and this meter has values of running domains only";
            return MissingReason::new("stopped", text);
        }
        let text = match self.origin {
            MeterOrigin::Catalogue(def) => {
                format!("libvirt reported no {} for the domain in the last cycle", def.fields)
            }
            _ => "libvirt reported no such value for the domain in the last cycle".to_owned(),
        };
        MissingReason::new("not_reported", text)
    }
}
