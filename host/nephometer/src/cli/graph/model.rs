//! The pipeline as a graph with texts, which all formats draw.

use std::sync::Arc;
use std::time::Duration;

use nephometer_config::{MeterFilter, PipelineSpec, SinkSpec, SourceSpec};
use nephometer_model::clean;

/// Sources, sinks and publishers. All texts are on one line, with control characters escaped.
#[derive(Debug, Default)]
pub(super) struct PipelineGraph {
    pub(super) sources: Vec<GraphSource>,
    pub(super) sinks: Vec<GraphSink>,
    /// Labels of the publishers, each once. They contain no secrets.
    pub(super) publishers: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct GraphSource {
    pub(super) name: String,
    /// As `every 600 s`.
    pub(super) interval: String,
    /// Names and globs, and what restricts them.
    pub(super) meters: Vec<String>,
    /// Indexes of sinks.
    pub(super) sinks: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct GraphSink {
    pub(super) name: String,
    /// In the order in which they are applied.
    pub(super) transformers: Vec<String>,
    /// Indexes of publishers.
    pub(super) publishers: Vec<usize>,
}

impl PipelineGraph {
    pub(super) fn new(spec: &PipelineSpec) -> Self {
        let mut graph = Self::default();
        for sink in &spec.sinks {
            graph.add_sink(sink);
        }
        graph.sources = spec.sources.iter().map(|one| source(one, &spec.sinks)).collect();
        graph
    }

    fn add_sink(&mut self, sink: &SinkSpec) {
        let mut publishers = Vec::new();
        for publisher in &sink.publishers {
            let label = clean(&publisher.label);
            let known = self.publishers.iter().position(|one| *one == label);
            publishers.push(known.unwrap_or_else(|| {
                self.publishers.push(label);
                self.publishers.len() - 1
            }));
        }
        self.sinks.push(GraphSink {
            name: clean(&sink.name),
            transformers: sink.transformers.iter().map(|one| clean(&one.name)).collect(),
            publishers,
        });
    }

    /// The edges between nodes named `source0`, `publisher0`, and `sink0` for a sink without
    /// transformers, or else `sink0_0`, `sink0_1` and so on for its transformers.
    pub(super) fn edges(&self) -> Vec<(String, String)> {
        let mut edges = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            for &sink in &source.sinks {
                let first = if self.sinks[sink].transformers.is_empty() { "" } else { "_0" };
                edges.push((format!("source{at}"), format!("sink{sink}{first}")));
            }
        }
        for (at, sink) in self.sinks.iter().enumerate() {
            let nodes: Vec<String> = match sink.transformers.len() {
                0 => vec![format!("sink{at}")],
                count => (0..count).map(|nth| format!("sink{at}_{nth}")).collect(),
            };
            edges.extend(nodes.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
            if let Some(last) = nodes.last() {
                let publishers = sink.publishers.iter().map(|one| format!("publisher{one}"));
                edges.extend(publishers.map(|publisher| (last.clone(), publisher)));
            }
        }
        edges
    }

    /// The sinks that no source feeds.
    pub(super) fn unused_sinks(&self) -> impl Iterator<Item = usize> {
        (0..self.sinks.len())
            .filter(|sink| !self.sources.iter().any(|one| one.sinks.contains(sink)))
    }
}

fn source(source: &SourceSpec, sinks: &[SinkSpec]) -> GraphSource {
    let index = |name: &Arc<str>| sinks.iter().position(|sink| sink.name == *name);
    GraphSource {
        name: clean(&source.name),
        interval: every(source.interval),
        meters: meters(&source.meters),
        sinks: source.sinks.iter().filter_map(index).collect(),
    }
}

fn every(interval: Duration) -> String {
    format!("every {} s", interval.as_secs_f64())
}

/// The entries of the list, and what routing by name restricts them to.
fn meters(filter: &MeterFilter) -> Vec<String> {
    let own = filter.texts();
    let [one_of, none_of] = filter.restrictions();
    let everything = |list: &Vec<String>| *list == own || matches!(&list[..], [one] if one == "*");
    let mut texts: Vec<String> = own.iter().map(|text| clean(text)).collect();
    if !one_of.iter().any(everything) && !one_of.is_empty() {
        let lists: Vec<String> = one_of.iter().map(|list| list.join(" ")).collect();
        texts.push(clean(&format!("restricted to {}", lists.join(" or "))));
    }
    texts.extend(none_of.iter().map(|list| clean(&format!("without {}", list.join(" ")))));
    texts
}

/// The first meters of a source, and how many more there are.
pub(super) fn first_meters(meters: &[String], most: usize) -> Vec<String> {
    if meters.len() <= most {
        return meters.to_vec();
    }
    let shown = most.saturating_sub(1);
    let mut lines = meters[..shown].to_vec();
    lines.push(format!("and {} more", meters.len() - shown));
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pipeline whose names all contain `mark`.
    pub(in super::super) fn marked(mark: &str) -> PipelineGraph {
        let name = |part: &str| format!("{part}{mark}");
        PipelineGraph {
            sources: vec![GraphSource {
                name: name("source"),
                interval: "every 600 s".to_owned(),
                meters: vec![name("meter")],
                sinks: vec![0],
            }],
            sinks: vec![
                GraphSink {
                    name: name("sink"),
                    transformers: vec![name("first"), name("second")],
                    publishers: vec![0],
                },
                GraphSink { name: name("unused"), ..GraphSink::default() },
            ],
            publishers: vec![name("publisher")],
        }
    }

    #[test]
    fn long_lists_are_shortened() {
        let meters = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(first_meters(&meters, 3), meters);
        assert_eq!(first_meters(&meters, 2), ["a", "and 2 more"]);
        assert_eq!(every(Duration::from_millis(1_500)), "every 1.5 s");
    }

    #[test]
    fn restrictions_of_routing_by_name_are_shown() {
        let filter = |entries: &[&str]| MeterFilter::new(entries.iter().copied()).unwrap();
        assert_eq!(meters(&filter(&["!cpu", "disk.*"])), ["disk.*", "!cpu"]);
    }
}
