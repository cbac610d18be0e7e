//! `nephometer once`

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use tokio::sync::{mpsc, watch};

use super::args::{Common, Logging};
use super::run::{complete, runtime, settle};
use super::{output, table};
use crate::app::{App, Options};
use nephometer_libvirt::poll::PollSchedule;
use nephometer_pipeline::SinkOutput;

/// Emissions on their way to the terminal; the agent waits when it is full.
const TAP: usize = 16;

/// Poll once, run the pipelines and print what would be published
///
/// Polls every source and prints the samples that the publishers of each sink would get. Writes no
/// spool and no state, and publishes only with --publish.
#[derive(Debug, Args)]
pub(super) struct Once {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
    /// Output format of the samples
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
    /// Number of polls; rates need two
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Time between polls, such as 2s or 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = nephometer_config::parse_duration)]
    every: Duration,
    /// Run only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Print the samples that enter the sinks, before any transformer
    #[arg(long)]
    raw: bool,
    /// Also publish the samples
    #[arg(long)]
    publish: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Aligned columns
    Table,
    /// One JSON object per sample and line, in Ceilometer's keys and order
    Ndjson,
}

impl Once {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let spec = self.common.load()?;
        let (observer, mut emissions) = mpsc::channel(TAP);
        let options = Options {
            publish: self.publish,
            transform: !self.raw,
            sink: self.sink.clone(),
            schedule: PollSchedule { max_cycles: Some(self.samples), interval: Some(self.every) },
            store: false,
            reload: None,
            observer: Some(observer),
            recorder: None,
        };
        complete(runtime()?, async move {
            let app = App::build(spec, options).await?;
            let ledger = app.ledger();
            let (_stop, stopped) = watch::channel(false);
            let running = tokio::spawn(app.run(stopped));
            let mut views = Vec::new();
            while let Some(emission) = emissions.recv().await {
                self.ndjson(&emission)?;
                views.push(emission);
            }
            running.await??;
            if self.format == OutputFormat::Table {
                let mut out = output::stdout();
                table::write(&mut out, &views)?;
                out.flush()?;
            }
            // A sink that held its samples has printed less than it was to print.
            let all = ledger.pending() == (0, 0);
            if self.publish || !all { settle(&ledger) } else { Ok(()) }
        })
    }

    /// In this form every sample is printed as soon as it is there.
    fn ndjson(&self, emission: &SinkOutput) -> Result<()> {
        if self.format != OutputFormat::Ndjson {
            return Ok(());
        }
        let mut out = output::stdout();
        for sample in &emission.samples {
            output::sample(&mut out, sample)?;
        }
        Ok(out.flush()?)
    }
}
