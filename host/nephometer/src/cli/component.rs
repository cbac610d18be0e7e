//! `nephometer component`

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::args::{Common, Logging};
use super::run::runtime;
use super::{Failure, component_registry, output, tool};
use nephometer_model::{Batch, Moment, Sample};
use nephometer_pipeline::transform::{Chain, ComponentTransformer, JournaledBatch, Transformer};
use nephometer_store as store;
use nephometer_telemetry::Ledger;
use nephometer_wire::sample_from_json;

/// Create, build, test, measure, pull and push components
#[derive(Debug, Subcommand)]
pub(super) enum Component {
    #[cfg(feature = "authors")]
    New(super::component_new::New),
    #[cfg(feature = "authors")]
    Build(super::component_new::Build),
    Run(RunComponent),
    #[cfg(feature = "authors")]
    Test(super::component_test::Test),
    Check(super::component_check::CheckComponent),
    #[cfg(feature = "authors")]
    Bench(super::component_bench::Bench),
    #[cfg(feature = "authors")]
    Profile(super::component_profile::Profile),
    Inspect(super::inspect::Inspect),
    Diff(component_registry::Diff),
    Pull(component_registry::Pull),
    Push(component_registry::Push),
    Ls(component_registry::LsComponents),
    Update(component_registry::Update),
    Verify(component_registry::Verify),
    Sign(component_registry::Sign),
    NewKey(component_registry::NewKey),
    Status(super::ask::ComponentStatus),
    Shadow(super::component_shadow::ShadowCommand),
    Promote(super::component_shadow::Promote),
    Guard(super::component_guard::GuardCommand),
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
            #[cfg(feature = "authors")]
            Self::Profile(profile) => profile.execute(),
            Self::Inspect(inspect) => inspect.execute(),
            Self::Diff(diff) => diff.execute(),
            Self::Pull(pull) => pull.execute(),
            Self::Push(push) => push.execute(),
            Self::Ls(ls) => ls.execute(),
            Self::Update(update) => update.execute(),
            Self::Verify(verify) => verify.execute(),
            Self::Sign(sign) => sign.execute(),
            Self::NewKey(key) => key.execute(),
            Self::Status(status) => status.execute(),
            Self::Shadow(shadow) => shadow.execute(),
            Self::Guard(guard) => guard.execute(),
            Self::Promote(promote) => promote.execute(),
        }
    }
}

/// Run a transformer on samples and print its output
///
/// Reads samples from standard input, one JSON object per line, as `once --format ndjson` prints
/// them. An empty line ends a batch. The output has the same form.
#[derive(Debug, Args)]
pub(super) struct RunComponent {
    /// The component
    file: PathBuf,
    /// The component's options, as in `parameters` of pipeline.yaml. @FILE reads them from a file:
    /// other users can read the command line, so secrets belong there
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// Read a recording (`nephometer record`) instead of standard input
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// End a polling cycle after every batch, as the agent does
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
            let load = async {
                let loaded = tool::open(&host, &self.file).await?;
                ComponentTransformer::from_loaded(&host, &loaded, &options, "stdin/0").await
            };
            let transformer: Box<dyn Transformer> = Box::new(tool::accepted(load.await)?);
            let ledger = Ledger::default();
            let name = Arc::from(transformer.name());
            ledger.sink(&name);
            let transformers = vec![(transformer, ledger.transformer(&name, &name, 0))];
            let host_id = store::host_id_or_random(&spec.store.path);
            let mut chain = Chain::new(&name, host_id, transformers);
            let Some(recording) = &self.recording else {
                return self.process_stdin(&mut chain, &spec.message.sample_source).await;
            };
            for batch in store::read_recording(recording)? {
                self.process(&mut chain, batch).await?;
            }
            Ok(())
        })
    }

    async fn process_stdin(&self, chain: &mut Chain, source: &Arc<str>) -> Result<()> {
        let (mut samples, mut clock) = (Vec::new(), Moment::default());
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let line = line.context("standard input")?;
            if line.trim().is_empty() {
                self.process_samples(chain, &mut clock, &mut samples).await?;
                continue;
            }
            match sample_from_json(&line, source) {
                Ok(sample) => samples.push(sample),
                Err(reason) => {
                    output::print_error(&format!("standard input:{}: {reason}", number + 1));
                    bail!(Failure::Usage);
                }
            }
        }
        self.process_samples(chain, &mut clock, &mut samples).await
    }

    /// Processes samples as one batch. `clock` is the newest time of any sample so far, which is the
    /// start of the polling cycle.
    async fn process_samples(
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
        let (source, cycle_start, removed) = ("stdin".into(), *clock, Vec::new());
        self.process(chain, Batch { source, cycle_start, samples, removed }).await
    }

    async fn process(&self, chain: &mut Chain, batch: Batch) -> Result<()> {
        let batch = Arc::new(batch);
        let event = JournaledBatch::new(chain.offset() + 1, &batch, &[]);
        let output = if self.flush {
            chain.process(event).await
        } else {
            chain.process_without_flush(event).await
        };
        let lists = match output {
            Ok(lists) => lists,
            Err(error) => {
                tool::save_failing_input(chain, &error)?;
                return Err(error.into());
            }
        };
        let mut out = output::stdout();
        for sample in lists.iter().flat_map(|list| list.iter()) {
            output::print_sample(&mut out, sample)?;
        }
        Ok(out.flush()?)
    }
}
