//! `nephometer once`

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use tokio::sync::{mpsc, watch};

use super::args::{Common, Logging};
use super::progress::waiting;
use super::run::{block_on, report_ledger, runtime};
use super::{output, table};
use crate::app::{App, Options};
use nephometer_libvirt::poll::PollSchedule;
use nephometer_pipeline::SinkOutput;

/// Capacity of the channel to the terminal; the agent waits while it is full.
const OUTPUT_CAPACITY: usize = 16;

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
        let (observer, mut outputs) = mpsc::channel(OUTPUT_CAPACITY);
        let options = Options {
            publish: self.publish,
            transform: !self.raw,
            sink: self.sink.clone(),
            schedule: PollSchedule { max_cycles: Some(self.samples), interval: Some(self.every) },
            store: false,
            observer: Some(observer),
            ..Options::default()
        };
        block_on(runtime()?, async move {
            let app = waiting("compiling components", App::build(spec, options)).await?;
            let ledger = app.ledger();
            let (_stop, stopped) = watch::channel(false);
            let running = tokio::spawn(app.run(stopped));
            let mut all = Vec::new();
            while let Some(part) = outputs.recv().await {
                self.print_ndjson(&part)?;
                all.push(part);
            }
            running.await??;
            if self.format == OutputFormat::Table {
                let mut out = output::stdout();
                table::write_outputs(&mut out, &all)?;
                out.flush()?;
            }
            // Pending samples are missing from the output.
            let pending = ledger.pending() != (0, 0);
            if self.publish || pending { report_ledger(&ledger) } else { Ok(()) }
        })
    }

    /// Prints samples as they arrive. The table is printed at the end.
    fn print_ndjson(&self, part: &SinkOutput) -> Result<()> {
        if self.format != OutputFormat::Ndjson {
            return Ok(());
        }
        let mut out = output::stdout();
        for sample in &part.samples {
            output::print_sample(&mut out, sample)?;
        }
        Ok(out.flush()?)
    }
}
