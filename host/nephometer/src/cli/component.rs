//! `nephometer component`

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::args::{Common, Logging};
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_model::{Batch, Moment, Sample};
use nephometer_pipeline::transform::{Chain, ComponentTransformer, JournaledBatch, Transformer};
use nephometer_store as store;
use nephometer_telemetry::Ledger;
use nephometer_wire::sample_from_json;

/// Tools for authors of components.
#[derive(Debug, Subcommand)]
pub(super) enum Component {
    #[cfg(feature = "authors")]
    /// Make a new project
    New(super::component_new::New),
    #[cfg(feature = "authors")]
    /// Build a project
    Build(super::component_new::Build),
    /// Feed samples to a transformer and print what it makes of them
    Run(RunComponent),
    #[cfg(feature = "authors")]
    /// Compare what a transformer makes of fixtures with what they say
    Test(super::component_test::Test),
    /// Check a component as the agent would when it loads it
    Check(super::component_check::CheckComponent),
    #[cfg(feature = "authors")]
    /// Measure what a transformer costs
    Bench(super::component_bench::Bench),
    /// Say what a component is and wants
    Inspect(super::inspect::Inspect),
    /// What the components of a running agent do and use
    Status(super::ask::ComponentStatus),
}

impl Component {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            #[cfg(feature = "authors")]
            Self::New(new) => new.execute(),
            #[cfg(feature = "authors")]
            Self::Build(build) => build.execute(),
            Self::Run(run) => run.execute(),
            #[cfg(feature = "authors")]
            Self::Test(test) => test.execute(),
            Self::Check(check) => check.execute(),
            #[cfg(feature = "authors")]
            Self::Bench(bench) => bench.execute(),
            Self::Inspect(inspect) => inspect.execute(),
            Self::Status(status) => status.execute(),
        }
    }
}

/// Feed a transformer with the samples on standard input, one JSON object a line as `once --format
/// ndjson` prints them; an empty line ends a batch. What the transformer makes of each batch is
/// printed in the same form.
#[derive(Debug, Args)]
pub(super) struct RunComponent {
    /// The component
    file: PathBuf,
    /// Its options: what `parameters` holds in pipeline.yaml; @FILE reads them from a file, where no
    /// other user sees secrets
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// Feed it with a recording (`nephometer record`) instead
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Flush after every batch, as the agent does
    #[arg(long)]
    flush: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
}

impl RunComponent {
    fn execute(self) -> Result<()> {
        self.logging.start()?;
        let options = tool::options(&self.options)?;
        let (host, spec) = tool::start(&self.common)?;
        runtime()?.block_on(async {
            let opened = async {
                let loaded = host.open(&self.file).await?;
                ComponentTransformer::of(&host, &loaded, &options, "stdin/0").await
            };
            let transformer: Box<dyn Transformer> = Box::new(tool::taken(opened.await)?);
            let ledger = Ledger::default();
            let name = Arc::from(transformer.name());
            ledger.sink(&name);
            let slots = vec![(transformer, ledger.transformer(&name, &name, 0))];
            let host_id = store::host_id_for_reading(&spec.store.path);
            let mut chain = Chain::new(&name, host_id, slots);
            let Some(recording) = &self.recording else {
                return self.feed(&mut chain, &spec.message.sample_source).await;
            };
            for batch in store::read_recording(recording)? {
                self.work(&mut chain, batch).await?;
            }
            Ok(())
        })
    }

    async fn feed(&self, chain: &mut Chain, source: &Arc<str>) -> Result<()> {
        let (mut samples, mut clock) = (Vec::new(), Moment::default());
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let line = line.context("standard input")?;
            if line.trim().is_empty() {
                self.batch(chain, &mut clock, &mut samples).await?;
                continue;
            }
            match sample_from_json(&line, source) {
                Ok(sample) => samples.push(sample),
                Err(reason) => {
                    output::complain(&format!("standard input:{}: {reason}", number + 1));
                    bail!(Failure::Usage);
                }
            }
        }
        self.batch(chain, &mut clock, &mut samples).await
    }

    /// `clock` is the newest time of any sample so far, which is the time of the tick.
    async fn batch(
        &self,
        chain: &mut Chain,
        clock: &mut Moment,
        samples: &mut Vec<Sample>,
    ) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        let newest = samples.iter().map(|sample| sample.taken.wall).max().unwrap_or_default();
        clock.wall = clock.wall.max(newest);
        let samples = std::mem::take(samples);
        let (source, cycle_start, gone) = ("stdin".into(), *clock, Vec::new());
        self.work(chain, Batch { source, cycle_start, samples, gone }).await
    }

    async fn work(&self, chain: &mut Chain, batch: Batch) -> Result<()> {
        let batch = Arc::new(batch);
        let event = JournaledBatch::new(chain.offset() + 1, &batch, &[]);
        let made = if self.flush {
            chain.process(event).await
        } else {
            chain.process_unflushed(event).await
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                tool::keep_input(chain, &error)?;
                return Err(error.into());
            }
        };
        let mut out = output::stdout();
        for sample in made.iter().flat_map(|list| list.iter()) {
            output::sample(&mut out, sample)?;
        }
        Ok(out.flush()?)
    }
}
