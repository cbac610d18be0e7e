//! `nephometer record`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Common, Logging};
use super::run::{block_on, run_until_signal, runtime};
use super::{Failure, output};
use crate::app::{App, AppError, Options};
use nephometer_config as config;
use nephometer_libvirt::hypervisor::RawRecorder;
use nephometer_libvirt::poll::PollSchedule;
use nephometer_store::{Recorder, read_recording};

/// Time between two cycles of libvirt's answers.
const RAW_INTERVAL: Duration = Duration::from_secs(10);

/// Poll for a while and save the batches that would enter the sinks
///
/// `nephometer replay` and `component run` read the recording. Nothing is transformed or published,
/// and a running agent is not disturbed. Ends after --samples polls, or on SIGINT or SIGTERM.
///
/// With --raw-libvirt it records what libvirt answers instead: the XML of domains, their statistics and
/// the sizes of their disks, for `--libvirt replay:///DIR` and to attach to reports.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The recording. An existing file, or one that reaches the size limit, is renamed to FILE.1
    #[arg(required_unless_present = "raw_libvirt")]
    file: Option<PathBuf>,
    /// Record libvirt's answers into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    raw_libvirt: Option<PathBuf>,
    /// Replace names and ids of guests, owners, images and networks
    #[arg(long, requires = "raw_libvirt")]
    anonymous: bool,
    /// Size limit of the recording, and of FILE.1 beside it
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, default_value = "256MiB")]
    size: u64,
    /// Number of polls [default: until a signal]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    /// Time between polls [default: the interval of each source]
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration)]
    every: Option<Duration>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
}

impl Record {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let file = match (&self.file, &self.raw_libvirt) {
            (_, Some(folder)) => return self.raw(folder),
            (Some(file), None) => file,
            (None, None) => return Err(Failure::Usage.into()),
        };
        let spec = self.common.load()?;
        let options = Options {
            publish: false,
            transform: false,
            store: false,
            schedule: PollSchedule { max_cycles: self.samples, interval: self.every },
            recorder: Some(Recorder::begin(file, self.size)?),
            ..Options::default()
        };
        block_on(runtime()?, async { run_until_signal(App::build(spec, options).await?).await })?;
        let batches = read_recording(file)?;
        let samples: usize = batches.iter().map(|batch| batch.samples.len()).sum();
        let path = file.display().to_string();
        if self.json {
            let recorded = json!({"file": path, "batches": batches.len(), "samples": samples});
            return output::print_json(&recorded);
        }
        let mut out = output::stdout();
        writeln!(out, "ok: {path}: {} batches, {samples} samples", batches.len())?;
        Ok(out.flush()?)
    }

    /// Records libvirt's answers.
    fn raw(&self, folder: &Path) -> Result<()> {
        let loaded = config::load_host(&self.common.inputs())?;
        let libvirt = &loaded.spec.libvirt;
        let mut recorder = RawRecorder::new(&libvirt.uri, libvirt, folder, self.anonymous)
            .map_err(AppError::Hypervisor)?;
        let every = self.every.unwrap_or(RAW_INTERVAL);
        let (cycles, domains) = block_on(runtime()?, async {
            let mut ticker = tokio::time::interval(every);
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let (mut cycles, mut domains) = (0, 0);
            while self.samples.is_none_or(|samples| cycles < samples) {
                tokio::select! {
                    _ = ticker.tick() => {}
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                }
                domains = recorder.cycle().await.map_err(AppError::Hypervisor)?;
                cycles += 1;
            }
            anyhow::Ok((cycles, domains))
        })?;
        let path = folder.display().to_string();
        if self.json {
            let recorded = json!({"folder": path, "cycles": cycles, "domains": domains});
            return output::print_json(&recorded);
        }
        let mut out = output::stdout();
        writeln!(out, "ok: {path}: {cycles} cycles, {domains} domains")?;
        Ok(out.flush()?)
    }
}
