//! `nephometer replay`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::args::{Common, Logging};
use super::run::runtime;
use super::{Failure, output, tool};
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
    /// Run only this sink
    #[arg(long, value_name = "NAME", conflicts_with = "component")]
    sink: Option<String>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
}

/// Ids of what is made depend on it: the same for everybody who runs a recording again.
const REPLAY_HOST: HostId = HostId(uuid::Uuid::nil());

/// A chain and the sources whose batches it gets.
struct Line {
    chain: Chain,
    /// `None` for all.
    sources: Option<Vec<Arc<str>>>,
    /// Whether an input that it failed on has been kept: the first is the one to look at.
    told: bool,
}

/// What a batch became, as lines of JSON, or why it became nothing.
type Outcome = Result<Vec<String>, String>;

impl Replay {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let batches: Vec<Arc<Batch>> =
            read_recording(&self.file)?.into_iter().map(Arc::new).collect();
        if batches.is_empty() {
            let what = format!("{}: the recording is empty", self.file.display());
            return Err(anyhow!(what).context(Failure::Usage));
        }
        runtime()?.block_on(async {
            let one = self.lines(self.component.as_deref(), &self.options, None).await?;
            let Some(against) = &self.against else { return print(one, &batches).await };
            let options = self.against_options.as_ref().unwrap_or(&self.options);
            let other = match &self.component {
                Some(_) => self.lines(Some(against), options, None).await?,
                None => self.lines(None, options, Some(against)).await?,
            };
            compare(one, other, &batches).await
        })
    }

    /// The component, or the sinks of a pipeline.
    async fn lines(
        &self,
        component: Option<&Path>,
        options: &str,
        pipeline: Option<&PathBuf>,
    ) -> Result<Vec<Line>> {
        if let Some(file) = component {
            let options = tool::options(options)?;
            let (host, _) = tool::start(&self.common)?;
            let made = async {
                let loaded = host.open(file).await?;
                ComponentTransformer::from_loaded(&host, &loaded, &options, "replay/0").await
            };
            let transformer = tool::accepted(made.await)?;
            return Ok(vec![Line {
                chain: chain("replay", vec![transformer]),
                sources: None,
                told: false,
            }]);
        }
        let mut common = self.common.clone();
        if let Some(pipeline) = pipeline {
            common.pipeline = Some(pipeline.clone());
        }
        let spec = common.load()?;
        let host = ComponentHost::start(&spec.components, &spec.cache)?;
        let mut lines = Vec::new();
        let wanted = |sink: &&SinkSpec| self.sink.as_ref().is_none_or(|name| **name == *sink.name);
        for sink in spec.pipeline.sinks.iter().filter(wanted) {
            let mut slots = Vec::new();
            for (offset, one) in sink.transformers.iter().enumerate() {
                let place = format!("{}/{offset}", sink.name);
                slots.push(tool::accepted(ComponentTransformer::create(&host, one, &place).await)?);
            }
            let fed =
                spec.pipeline.sources.iter().filter(|source| source.sinks.contains(&sink.name));
            let sources = Some(fed.map(|source| Arc::clone(&source.name)).collect());
            lines.push(Line { chain: chain(&sink.name, slots), sources, told: false });
        }
        if lines.is_empty() {
            let name = self.sink.as_deref().unwrap_or_default();
            return Err(anyhow!("there is no sink {name:?}").context(Failure::Usage));
        }
        Ok(lines)
    }
}

fn chain(sink: &str, slots: Vec<ComponentTransformer>) -> Chain {
    let (ledger, name) = (Ledger::default(), Arc::from(sink));
    ledger.sink(&name);
    let slots = slots.into_iter().enumerate().map(|(nth, transformer)| {
        let count = ledger.transformer(&name, &Arc::from(transformer.name()), nth);
        (Box::new(transformer) as Box<dyn Transformer>, count)
    });
    Chain::new(&name, REPLAY_HOST, slots.collect())
}

impl Line {
    /// `None` if the batch is of a source that this sink does not get.
    async fn run(&mut self, batch: &Arc<Batch>) -> Option<Result<Vec<Sample>, String>> {
        if self.sources.as_ref().is_some_and(|sources| !sources.contains(&batch.source)) {
            return None;
        }
        let event = JournaledBatch::new(self.chain.offset() + 1, batch, &[]);
        let made = self.chain.process(event).await;
        if let Err(error) = &made
            && !std::mem::replace(&mut self.told, true)
            && let Err(error) = tool::save_failing_input(&self.chain, error)
        {
            output::print_error(&format!("{error:#}"));
        }
        let all =
            |lists: Vec<SampleList>| lists.into_iter().flat_map(SampleList::into_vec).collect();
        Some(made.map(all).map_err(|error| error.to_string()))
    }
}

/// That a recording and a pipeline have no source in common is a mistake, not an empty result.
fn fits(ran: usize, batches: &[Arc<Batch>]) -> Result<()> {
    if ran > 0 {
        return Ok(());
    }
    let source = &batches[0].source;
    let what = format!("the pipeline has no source of the recording, such as {source:?}");
    Err(anyhow!(what).context(Failure::Usage))
}

async fn print(mut lines: Vec<Line>, batches: &[Arc<Batch>]) -> Result<()> {
    let (mut ran, mut failed) = (0, false);
    for batch in batches {
        for line in &mut lines {
            let Some(made) = line.run(batch).await else { continue };
            ran += 1;
            let mut out = output::stdout();
            match made {
                Ok(samples) => {
                    for sample in &samples {
                        output::sample(&mut out, sample)?;
                    }
                }
                Err(reason) => {
                    failed = true;
                    output::print_error(&format!(
                        "batch of {}: {reason}",
                        batch.cycle_start.wall.iso()
                    ));
                }
            }
            out.flush()?;
        }
    }
    fits(ran, batches)?;
    if failed { bail!(Failure::Mismatch) } else { Ok(()) }
}

async fn compare(mut one: Vec<Line>, mut other: Vec<Line>, batches: &[Arc<Batch>]) -> Result<()> {
    same_sinks(&one, &other)?;
    let (mut ran, mut samples) = (0, 0);
    let mut out = output::stdout();
    for (number, batch) in (1..).zip(batches) {
        for line in &mut one {
            let name = Arc::clone(line.chain.sink());
            let twin = other.iter_mut().find(|twin| *twin.chain.sink() == name);
            let Some(twin) = twin else { continue };
            let (before, after) = (told(line.run(batch).await)?, told(twin.run(batch).await)?);
            ran += usize::from(before.is_some() || after.is_some());
            if before == after {
                samples += before.map_or(0, |made| made.map_or(0, |lines| lines.len()));
                continue;
            }
            let cycle_start = batch.cycle_start.wall.iso();
            writeln!(out, "batch {number} ({cycle_start}, source {}), sink {name}:", batch.source)?;
            for text in
                difference(&before.unwrap_or(Ok(Vec::new())), &after.unwrap_or(Ok(Vec::new())))
            {
                writeln!(out, "  {text}")?;
            }
            out.flush()?;
            bail!(Failure::Mismatch);
        }
    }
    fits(ran, batches)?;
    writeln!(out, "ok: identical output, {} batches, {samples} samples", batches.len())?;
    Ok(out.flush()?)
}

/// What only one of the two has would not be compared.
fn same_sinks(one: &[Line], other: &[Line]) -> Result<()> {
    let lacks = |here: &[Line], there: &[Line]| -> Option<Arc<str>> {
        let names = there.iter().map(|line| line.chain.sink());
        let mut missing = names.filter(|name| !here.iter().any(|line| line.chain.sink() == *name));
        missing.next().cloned()
    };
    let which = match (lacks(other, one), lacks(one, other)) {
        (Some(name), _) => format!("only the first pipeline has the sink {name:?}"),
        (None, Some(name)) => format!("only the second pipeline has the sink {name:?}"),
        (None, None) => return Ok(()),
    };
    let what = format!("{which}; select one that both have with --sink");
    Err(anyhow!(what).context(Failure::Usage))
}

fn told(made: Option<Result<Vec<Sample>, String>>) -> Result<Option<Outcome>> {
    let Some(made) = made else { return Ok(None) };
    let samples = match made {
        Ok(samples) => samples,
        Err(reason) => return Ok(Some(Err(reason))),
    };
    let mut lines = Vec::new();
    for sample in &samples {
        let mut line = Vec::new();
        output::sample(&mut line, sample)?;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    Ok(Some(Ok(lines)))
}

/// The first row that is not the same, and in what.
fn difference(one: &Outcome, other: &Outcome) -> Vec<String> {
    let (one, other) = match (one, other) {
        (Ok(one), Ok(other)) => (one, other),
        _ => {
            let told = |outcome: &Outcome| match outcome {
                Ok(lines) => format!("{} samples", lines.len()),
                Err(reason) => reason.clone(),
            };
            return vec![format!("- {}", told(one)), format!("+ {}", told(other))];
        }
    };
    let rows = one.len().max(other.len());
    let row = (0..rows).find(|&row| one.get(row) != other.get(row)).unwrap_or_default();
    let mut told = vec![format!("sample {} of {} and {}:", row + 1, one.len(), other.len())];
    let (before, after) = (one.get(row), other.get(row));
    let text = |line: Option<&String>| line.map_or("(none)".to_owned(), Clone::clone);
    told.push(format!("- {}", text(before)));
    told.push(format!("+ {}", text(after)));
    if let (Some(before), Some(after)) = (before, after) {
        told.push(format!("differs in {}", differing(before, after).join(", ")));
    }
    told
}

/// The keys whose values are not the same.
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
    fn the_first_row_that_differs_is_told_with_its_keys() {
        let rows = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        let one = rows(&[r#"{"a":1,"b":2}"#, r#"{"a":3,"b":4}"#]);
        let told = difference(&one, &rows(&[r#"{"a":1,"b":2}"#, r#"{"a":3,"b":5,"c":6}"#]));
        assert_eq!(told[0], "sample 2 of 2 and 2:");
        assert_eq!(told[3], "differs in b, c");
        let told = difference(&one, &rows(&[r#"{"a":1,"b":2}"#]));
        assert_eq!(told[2], "+ (none)");
        let told = difference(&one, &Err("it trapped".to_owned()));
        assert_eq!(told, ["- 2 samples", "+ it trapped"]);
    }
}
