//! Routing of samples to sinks, expressed as sources with sinks, so that polling needs no other
//! information.
//!
//! By source (Ceilometer of 2015 and before): a sample goes to the sinks of the source that polled
//! it. By name (later ones): it goes to the sinks of every pipeline whose `meters` match, no matter
//! which source polled it. Upstream sends it through a sink as often as pipelines bring it there; here it goes
//! through once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::filter::MeterFilter;
use super::spec::{PipelineSpec, Routing, SinkSpec, SourceSpec};

/// A source of `pipeline.yaml` without its polling settings.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) name: Arc<str>,
    pub(super) meters: MeterFilter,
    pub(super) sinks: Vec<Arc<str>>,
}

impl From<&SourceSpec> for Pipeline {
    fn from(source: &SourceSpec) -> Self {
        let SourceSpec { name, meters, sinks, .. } = source;
        Self { name: Arc::clone(name), meters: meters.clone(), sinks: sinks.clone() }
    }
}

/// Combines polling sources and pipelines into sources with sinks.
pub(super) fn route(
    polling: &[SourceSpec],
    pipelines: &[Pipeline],
    sinks: &[SinkSpec],
    routing: Routing,
) -> Vec<SourceSpec> {
    let mut routed = Vec::new();
    for (at, source) in polling.iter().enumerate() {
        let pipeline_sources: Vec<&Pipeline> = match routing {
            Routing::Name => pipelines.iter().collect(),
            Routing::Source => pipelines.iter().filter(|one| one.name == source.name).collect(),
        };
        let receiving: Vec<&SinkSpec> = sinks
            .iter()
            .filter(|sink| pipeline_sources.iter().any(|one| one.sinks.contains(&sink.name)))
            .collect();
        // In one cycle a meter of an instance is polled once, for the first source that matches it.
        let earlier = polling[..at].iter().filter(|other| {
            routing == Routing::Name && other.interval == source.interval && other.polls_instances()
        });
        let meters = source.meters.clone().without(earlier.map(|other| &other.meters));
        for sink in &receiving {
            let delivering = pipeline_sources.iter().filter(|one| one.sinks.contains(&sink.name));
            let name = if receiving.len() == 1 || source.name == sink.name {
                Arc::clone(&source.name)
            } else {
                format!("{}:{}", source.name, sink.name).into()
            };
            routed.push(SourceSpec {
                name,
                meters: meters.clone().restricted_to(delivering.map(|one| &one.meters)),
                sinks: vec![Arc::clone(&sink.name)],
                ..source.clone()
            });
        }
    }
    routed
}

/// The number of sources in the file. [`route`] creates one per source and sink, with both names.
pub fn configured_sources(spec: &PipelineSpec) -> usize {
    let name = |source: &SourceSpec| {
        let sink = source.sinks.first().map(|sink| format!(":{sink}")).unwrap_or_default();
        source.name.strip_suffix(&sink).unwrap_or(&source.name).to_owned()
    };
    spec.sources.iter().map(name).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, seconds: u64, meters: &[&str], sinks: &[&str]) -> SourceSpec {
        SourceSpec {
            name: name.into(),
            interval: std::time::Duration::from_secs(seconds),
            meters: MeterFilter::new(meters.iter().copied()).unwrap(),
            resources: Vec::new(),
            discovery: Vec::new(),
            sinks: sinks.iter().map(|sink| Arc::from(*sink)).collect(),
        }
    }

    fn sinks(names: &[&str]) -> Vec<SinkSpec> {
        let sink = |name: &&str| SinkSpec {
            name: (*name).into(),
            transformers: Vec::new(),
            publishers: Vec::new(),
        };
        names.iter().map(sink).collect()
    }

    /// Source, sink and those of these meters that come there.
    fn problems(routed: &[SourceSpec]) -> Vec<String> {
        const METERS: [&str; 4] = ["cpu", "memory", "disk.read.bytes", "libvirt.vcpu.delay"];
        let line = |source: &SourceSpec| {
            let wants = |meter: &&&str| match meter.strip_prefix("libvirt.") {
                Some(_) => source.meters.names("libvirt.", meter),
                None => source.meters.matches(meter),
            };
            let meters: Vec<&str> = METERS.iter().filter(wants).copied().collect();
            format!("{} -> {}: {}", source.name, source.sinks[0], meters.join(" "))
        };
        routed.iter().map(line).collect()
    }

    fn pipelines(sources: &[SourceSpec]) -> Vec<Pipeline> {
        sources.iter().map(Pipeline::from).collect()
    }

    #[test]
    fn routing_by_name_feeds_every_matching_pipeline() {
        let polling = [source("all", 10, &["*", "libvirt.vcpu.*"], &[])];
        let pipeline_sources = pipelines(&[
            source("meter", 0, &["*"], &["raw"]),
            source("cpu", 0, &["cpu"], &["rate", "raw"]),
        ]);
        let routed = route(&polling, &pipeline_sources, &sinks(&["raw", "rate"]), Routing::Name);
        assert_eq!(
            problems(&routed),
            [
                "all:raw -> raw: cpu memory disk.read.bytes libvirt.vcpu.delay",
                "all:rate -> rate: cpu",
            ]
        );
    }

    #[test]
    fn by_name_one_cycle_polls_a_meter_once() {
        let form = [
            source("cpu", 10, &["cpu"], &["rate"]),
            source("all", 10, &["*"], &["raw"]),
            source("slow", 60, &["cpu"], &["raw"]),
        ];
        let routed = route(&form, &pipelines(&form), &sinks(&["raw", "rate"]), Routing::Name);
        assert_eq!(
            problems(&routed),
            [
                "cpu:raw -> raw: cpu",
                "cpu:rate -> rate: cpu",
                "all:raw -> raw: memory disk.read.bytes",
                "all:rate -> rate: ",
                "slow:raw -> raw: cpu",
                "slow:rate -> rate: cpu",
            ]
        );
    }

    #[test]
    fn by_source_names_are_matched() {
        let polling = [source("a", 10, &["*"], &[]), source("b", 10, &["cpu"], &[])];
        let pipeline_sources =
            pipelines(&[source("a", 0, &["!memory"], &["raw"]), source("c", 0, &["*"], &["rate"])]);
        let routed = route(&polling, &pipeline_sources, &sinks(&["raw", "rate"]), Routing::Source);
        assert_eq!(problems(&routed), ["a -> raw: cpu disk.read.bytes"]);
    }
}
