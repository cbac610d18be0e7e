//! `nephometer record`

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::args::{Common, Logging};
use super::output;
use super::run::{block_on, run_until_signal, runtime};
use crate::app::{App, Options};
use nephometer_config as config;
use nephometer_libvirt::poll::PollSchedule;
use nephometer_store::{Recorder, read_recording};

/// Poll for a while and save the batches that would enter the sinks
///
/// `nephometer replay` and `component run` read the recording. Nothing is transformed or published,
/// and a running agent is not disturbed. Ends after --samples polls, or on SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The recording. An existing file, or one that reaches the size limit, is renamed to FILE.1
    file: PathBuf,
    /// Size limit of the recording, and of FILE.1 beside it
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, default_value = "256MiB")]
    size: u64,
    /// Number of polls [default: until a signal]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    /// Time between polls [default: the interval of each source]
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
            schedule: PollSchedule { max_cycles: self.samples, interval: self.every },
            recorder: Some(Recorder::begin(&self.file, self.size)?),
            ..Options::default()
        };
        block_on(runtime()?, async { run_until_signal(App::build(spec, options).await?).await })?;
        let batches = read_recording(&self.file)?;
        let samples: usize = batches.iter().map(|batch| batch.samples.len()).sum();
        let mut out = output::stdout();
        writeln!(out, "ok: {}: {} batches, {samples} samples", self.file.display(), batches.len())?;
        Ok(out.flush()?)
    }
}
