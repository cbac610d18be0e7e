//! `nephometer record`

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::args::{Common, Logging};
use super::output;
use super::run::{complete, runtime, until_signalled};
use crate::app::{App, Options};
use nephometer_config as config;
use nephometer_libvirt::poll::Rounds;
use nephometer_store::{Recorder, read_recording};

/// Poll every source of the pipeline and keep what would enter its sinks, for `nephometer replay` and
/// for `component run`. Nothing is transformed or published; an agent that runs beside it is not
/// disturbed. Ends after --samples polls, or with SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The recording. What is there becomes FILE.1, and so does what has grown too large
    file: PathBuf,
    /// How large it may be, and FILE.1 beside it
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, default_value = "256MiB")]
    size: u64,
    /// How often to poll [default: until a signal ends it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    /// How long from one poll to the next [default: the interval of each source]
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration)]
    every: Option<Duration>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
}

impl Record {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let spec = self.common.load()?;
        let options = Options {
            publish: false,
            transform: false,
            store: false,
            rounds: Rounds { count: self.samples, every: self.every },
            recorder: Some(Recorder::begin(&self.file, self.size)?),
            ..Options::default()
        };
        complete(runtime()?, async { until_signalled(App::build(spec, options).await?).await })?;
        let batches = read_recording(&self.file)?;
        let rows: usize = batches.iter().map(|batch| batch.samples.len()).sum();
        let mut out = output::stdout();
        writeln!(out, "{}: {} batches, {rows} samples", self.file.display(), batches.len())?;
        Ok(out.flush()?)
    }
}
