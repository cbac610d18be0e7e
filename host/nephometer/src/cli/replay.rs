//! `nephometer replay`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::args::{Common, Logging};
use super::progress::Progress;
use super::run::runtime;
use super::{Failure, output, tool};
use crate::app::provisions;
use nephometer_config::SinkSpec;
use nephometer_model::{Batch, HostId, Sample};
use nephometer_pipeline::transform::{
    Chain, ComponentTransformer, JournaledBatch, SampleList, Transformer,
};
use nephometer_store::read_recording;
use nephometer_telemetry::Ledger;
use nephometer_wasm::ComponentHost;

/// Run a recording through a pipeline or a component, or compare two of them
///
/// Prints the output, one sample per line. The same recording gives the same output every time. With
/// --against, two pipelines or two components run side by side; prints the first sample that
/// differs and exits with 1.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The recording, from `nephometer record` or `run --record`; FILE.1 is read before it
    file: PathBuf,
    /// Run this component instead of a pipeline
    #[arg(long, value_name = "FILE", conflicts_with = "pipeline")]
    component: Option<PathBuf>,
    /// The component's options, as in `parameters` of pipeline.yaml. @FILE reads them from a file
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "component")]
    options: String,
    /// Compare with this component or pipeline
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Options of the component to compare with [default: those of the first]
    #[arg(long, value_name = "JSON", requires = "component", requires = "against")]
    against_options: Option<String>,
    /// Print the result of the comparison as one JSON object instead of text
    #[arg(long, requires = "against")]
    json: bool,
    /// Run only this sink
    #[arg(long, value_name = "NAME", conflicts_with = "component")]
    sink: Option<String>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
}

/// Ids of computed samples depend on the host id. This one gives every replay the same ids.
const REPLAY_HOST: HostId = HostId(uuid::Uuid::nil());

/// A chain that is replayed, and the sources whose batches it processes.
struct ReplayedChain {
    chain: Chain,
    /// `None` for all sources.
    sources: Option<Vec<Arc<str>>>,
    /// Whether a failing input has been saved. Only the first one is.
    saved_failure: bool,
}

/// The output of a batch as lines of JSON, or the reason of its failure.
type Outcome = Result<Vec<String>, String>;

impl Replay {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let batches = read_batches(&self.file)?;
        runtime()?.block_on(async {
            let one = self.chains(self.component.as_deref(), &self.options, None).await?;
            let Some(against) = &self.against else { return print(one, &batches).await };
            let options = self.against_options.as_ref().unwrap_or(&self.options);
            let other = match &self.component {
                Some(_) => self.chains(Some(against), options, None).await?,
                None => self.chains(None, options, Some(against)).await?,
            };
            let compared = compare(one, other, &batches).await?;
            compared.print(self.json)
        })
    }

    /// The component, or the sinks of a pipeline.
    async fn chains(
        &self,
        component: Option<&Path>,
        options: &str,
        pipeline: Option<&PathBuf>,
    ) -> Result<Vec<ReplayedChain>> {
        if let Some(file) = component {
            let options = tool::options(options)?;
            let (host, _) = tool::start(&self.common)?;
            return Ok(vec![one_component(&host, file, &options).await?]);
        }
        let mut common = self.common.clone();
        if let Some(pipeline) = pipeline {
            common.pipeline = Some(pipeline.clone());
        }
        let mut spec = common.load()?;
        spec.components.provided = provisions(&spec);
        let host = ComponentHost::start(&spec.components, &spec.cache)?;
        let mut chains = Vec::new();
        let selected =
            |sink: &&SinkSpec| self.sink.as_ref().is_none_or(|name| **name == *sink.name);
        for sink in spec.pipeline.sinks.iter().filter(selected) {
            let mut transformers = Vec::new();
            for (index, one) in sink.transformers.iter().enumerate() {
                let place = format!("{}/{index}", sink.name);
                transformers
                    .push(tool::accepted(ComponentTransformer::create(&host, one, &place).await)?);
            }
            let feeding =
                spec.pipeline.sources.iter().filter(|source| source.sinks.contains(&sink.name));
            let sources = Some(feeding.map(|source| Arc::clone(&source.name)).collect());
            chains.push(ReplayedChain {
                chain: chain(&sink.name, transformers),
                sources,
                saved_failure: false,
            });
        }
        if chains.is_empty() {
            let name = self.sink.as_deref().unwrap_or_default();
            return Err(anyhow!("unknown sink {name:?}").context(Failure::Usage));
        }
        Ok(chains)
    }
}

/// The chain of one component.
async fn one_component(
    host: &ComponentHost,
    file: &Path,
    options: &Map<String, Value>,
) -> Result<ReplayedChain> {
    let load = async {
        let loaded = tool::open(host, file).await?;
        ComponentTransformer::from_loaded(host, &loaded, options, "replay/0").await
    };
    let transformer = tool::accepted(load.await)?;
    Ok(ReplayedChain {
        chain: chain("replay", vec![transformer]),
        sources: None,
        saved_failure: false,
    })
}

/// Compares what two components make of a recording.
pub(super) async fn compare_components(
    host: &ComponentHost,
    recording: &Path,
    options: &Map<String, Value>,
    (old, new): (&Path, &Path),
) -> Result<Comparison> {
    let batches = read_batches(recording)?;
    let old = one_component(host, old, options).await?;
    let new = one_component(host, new, options).await?;
    compare(vec![old], vec![new], &batches).await
}

fn read_batches(recording: &Path) -> Result<Vec<Arc<Batch>>> {
    let batches: Vec<Arc<Batch>> = read_recording(recording)?.into_iter().map(Arc::new).collect();
    if batches.is_empty() {
        let what = format!("{}: the recording is empty", recording.display());
        return Err(anyhow!(what).context(Failure::Usage));
    }
    Ok(batches)
}

fn chain(sink: &str, transformers: Vec<ComponentTransformer>) -> Chain {
    let (ledger, name) = (Ledger::default(), Arc::from(sink));
    ledger.sink(&name);
    let transformers = transformers.into_iter().enumerate().map(|(nth, transformer)| {
        let count = ledger.transformer(&name, &Arc::from(transformer.name()), nth);
        (Box::new(transformer) as Box<dyn Transformer>, count)
    });
    Chain::new(&name, REPLAY_HOST, transformers.collect())
}

impl ReplayedChain {
    /// Processes a batch. `None` if its source does not feed this sink.
    async fn run(&mut self, batch: &Arc<Batch>) -> Option<Result<Vec<Sample>, String>> {
        if self.sources.as_ref().is_some_and(|sources| !sources.contains(&batch.source)) {
            return None;
        }
        let event = JournaledBatch::new(self.chain.offset() + 1, batch, &[]);
        let output = self.chain.process(event).await;
        if let Err(error) = &output
            && !std::mem::replace(&mut self.saved_failure, true)
            && let Err(error) = tool::save_failing_input(&self.chain, error)
        {
            output::print_error(&format!("{error:#}"));
        }
        let flatten =
            |lists: Vec<SampleList>| lists.into_iter().flat_map(SampleList::into_vec).collect();
        Some(output.map(flatten).map_err(|error| error.to_string()))
    }
}

/// Requires that a chain has processed a batch. A pipeline without a source of the recording is a
/// mistake.
fn require_common_source(ran: usize, batches: &[Arc<Batch>]) -> Result<()> {
    if ran > 0 {
        return Ok(());
    }
    let source = &batches[0].source;
    let reason = format!("the pipeline has no source of the recording, such as {source:?}");
    Err(anyhow!(reason).context(Failure::Usage))
}

async fn print(mut chains: Vec<ReplayedChain>, batches: &[Arc<Batch>]) -> Result<()> {
    let (mut ran, mut failed) = (0, false);
    let mut progress = Progress::beside_output();
    for (done, batch) in batches.iter().enumerate() {
        progress.count("batches replayed", done, Some(batches.len()));
        for chain in &mut chains {
            let Some(result) = chain.run(batch).await else { continue };
            ran += 1;
            let mut out = output::stdout();
            match result {
                Ok(samples) => {
                    for sample in &samples {
                        output::print_sample(&mut out, sample)?;
                    }
                }
                Err(reason) => {
                    failed = true;
                    progress.clear();
                    output::print_error(&format!(
                        "batch of {}: {reason}",
                        batch.cycle_start.wall.iso()
                    ));
                }
            }
            out.flush()?;
        }
    }
    require_common_source(ran, batches)?;
    if failed { bail!(Failure::Mismatch) } else { Ok(()) }
}

async fn compare(
    mut one: Vec<ReplayedChain>,
    mut other: Vec<ReplayedChain>,
    batches: &[Arc<Batch>],
) -> Result<Comparison> {
    same_sinks(&one, &other)?;
    let (mut ran, mut samples) = (0, 0);
    let mut progress = Progress::new();
    for (number, batch) in (1..).zip(batches) {
        progress.count("batches compared", number - 1, Some(batches.len()));
        for chain in &mut one {
            let name = Arc::clone(chain.chain.sink());
            let twin = other.iter_mut().find(|twin| *twin.chain.sink() == name);
            let Some(twin) = twin else { continue };
            let before = to_outcome(chain.run(batch).await)?;
            let after = to_outcome(twin.run(batch).await)?;
            ran += usize::from(before.is_some() || after.is_some());
            if before == after {
                samples += before.map_or(0, |outcome| outcome.map_or(0, |lines| lines.len()));
                continue;
            }
            let (before, after) = (before.unwrap_or(Ok(vec![])), after.unwrap_or(Ok(vec![])));
            let difference = Some(Difference {
                batch: number,
                cycle_start: batch.cycle_start.wall.iso(),
                source: Arc::clone(&batch.source),
                sink: name,
                lines: difference(&before, &after),
            });
            return Ok(Comparison { batches: number, samples, difference });
        }
    }
    require_common_source(ran, batches)?;
    Ok(Comparison { batches: batches.len(), samples, difference: None })
}

/// What `--against` found. Samples are those that are identical.
#[derive(Serialize)]
pub(super) struct Comparison {
    batches: usize,
    samples: usize,
    difference: Option<Difference>,
}

/// The first batch, counted from 1, with different output.
#[derive(Serialize)]
struct Difference {
    batch: usize,
    cycle_start: String,
    source: Arc<str>,
    sink: Arc<str>,
    lines: Vec<String>,
}

impl Comparison {
    /// The result in lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { batches, samples, difference } = self;
        let Some(Difference { batch, cycle_start, source, lines, .. }) = difference else {
            return vec![format!("output: identical, {batches} batches, {samples} samples")];
        };
        let mut report = vec![format!("output: batch {batch} ({cycle_start}, source {source}):")];
        report.extend(lines.iter().cloned());
        report
    }

    /// Prints it. Fails if there is a difference.
    fn print(&self, is_json: bool) -> Result<()> {
        let Self { batches, samples, difference } = self;
        let mut out = output::stdout();
        match difference {
            _ if is_json => writeln!(out, "{}", serde_json::to_string(self)?)?,
            None => writeln!(out, "ok: identical output, {batches} batches, {samples} samples")?,
            Some(Difference { batch, cycle_start, source, sink, lines }) => {
                writeln!(out, "batch {batch} ({cycle_start}, source {source}), sink {sink}:")?;
                for line in lines {
                    writeln!(out, "  {line}")?;
                }
            }
        }
        out.flush()?;
        if difference.is_some() { bail!(Failure::Mismatch) } else { Ok(()) }
    }
}

/// Requires that both have the same sinks: a sink of only one would not be compared.
fn same_sinks(one: &[ReplayedChain], other: &[ReplayedChain]) -> Result<()> {
    let lacks = |here: &[ReplayedChain], there: &[ReplayedChain]| -> Option<Arc<str>> {
        let names = there.iter().map(|line| line.chain.sink());
        let mut missing = names.filter(|name| !here.iter().any(|line| line.chain.sink() == *name));
        missing.next().cloned()
    };
    let which = match (lacks(other, one), lacks(one, other)) {
        (Some(name), _) => format!("only the first pipeline has the sink {name:?}"),
        (None, Some(name)) => format!("only the second pipeline has the sink {name:?}"),
        (None, None) => return Ok(()),
    };
    let reason = format!("{which}; select one that both have with --sink");
    Err(anyhow!(reason).context(Failure::Usage))
}

fn to_outcome(result: Option<Result<Vec<Sample>, String>>) -> Result<Option<Outcome>> {
    let Some(result) = result else { return Ok(None) };
    let samples = match result {
        Ok(samples) => samples,
        Err(reason) => return Ok(Some(Err(reason))),
    };
    let mut lines = Vec::new();
    for sample in &samples {
        let mut line = Vec::new();
        output::print_sample(&mut line, sample)?;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    Ok(Some(Ok(lines)))
}

/// Describes the first sample that differs, and its differing keys.
fn difference(one: &Outcome, other: &Outcome) -> Vec<String> {
    let (one, other) = match (one, other) {
        (Ok(one), Ok(other)) => (one, other),
        _ => {
            let describe = |outcome: &Outcome| match outcome {
                Ok(lines) => format!("{} samples", lines.len()),
                Err(reason) => reason.clone(),
            };
            return vec![format!("- {}", describe(one)), format!("+ {}", describe(other))];
        }
    };
    let count = one.len().max(other.len());
    let at = (0..count).find(|&at| one.get(at) != other.get(at)).unwrap_or_default();
    let mut report = vec![format!("sample {} of {} and {}:", at + 1, one.len(), other.len())];
    let (before, after) = (one.get(at), other.get(at));
    let text = |line: Option<&String>| line.map_or("(none)".to_owned(), Clone::clone);
    report.push(format!("- {}", text(before)));
    report.push(format!("+ {}", text(after)));
    if let (Some(before), Some(after)) = (before, after) {
        report.push(format!("differs in {}", differing(before, after).join(", ")));
    }
    report
}

/// The keys whose values differ.
fn differing(one: &str, other: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (one, other) = (read(one), read(other));
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    keys.filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_sample_is_reported_with_its_keys() {
        let outcome = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        let one = outcome(&[r#"{"a":1,"b":2}"#, r#"{"a":3,"b":4}"#]);
        let report = difference(&one, &outcome(&[r#"{"a":1,"b":2}"#, r#"{"a":3,"b":5,"c":6}"#]));
        assert_eq!(report[0], "sample 2 of 2 and 2:");
        assert_eq!(report[3], "differs in b, c");
        let report = difference(&one, &outcome(&[r#"{"a":1,"b":2}"#]));
        assert_eq!(report[2], "+ (none)");
        let report = difference(&one, &Err("it trapped".to_owned()));
        assert_eq!(report, ["- 2 samples", "+ it trapped"]);
    }
}
