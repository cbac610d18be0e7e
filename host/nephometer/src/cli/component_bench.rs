//! `nephometer component bench`

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::args::Common;
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_config as config;
use nephometer_pipeline::transform::{ComponentTransformer, Transformer};
use nephometer_sdk::{Measurement, measure};
use nephometer_wasm::ComponentError;
use nephometer_wire::sample_from_json;

/// The sample that is measured unless `--sample` is given.
const SAMPLE: &str = r#"{"name": "cpu", "type": "cumulative", "unit": "ns", "volume": 0, "resource_id": "instance",
 "project_id": "project", "user_id": "user", "timestamp": "2026-03-01T10:00:00",
 "resource_metadata": {"cpu_number": 2, "flavor": {"name": "m1.small", "vcpus": 2, "ram": 2048}}}"#;

/// Measure the speed and memory of a transformer
///
/// Measures in the agent's own engine: loading time, memory, and nanoseconds per sample for batches
/// of several sizes, including the host's part. Each sample has its own resource; time and volumes
/// grow from batch to batch.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The component
    file: PathBuf,
    /// The component's options, as in `parameters` of pipeline.yaml. @FILE reads them from a file:
    /// other users can read the command line, so secrets belong there
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// The sample that batches are filled with, in Ceilometer's keys
    #[arg(long, value_name = "JSON", default_value = SAMPLE, hide_default_value = true)]
    sample: String,
    /// Samples per batch
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    rows: Vec<NonZeroUsize>,
    /// Time to measure each size
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration, default_value = "1s")]
    time: Duration,
    #[command(flatten)]
    common: Common,
}

impl Bench {
    pub(super) fn execute(self) -> Result<()> {
        let options = tool::options(&self.options)?;
        let sample = sample_from_json(&self.sample, &Arc::from("openstack"))
            .with_context(|| format!("--sample {}", self.sample))
            .context(Failure::Usage)?;
        let (host, _) = tool::start(&self.common)?;
        runtime()?.block_on(async {
            let begun = Instant::now();
            let load = async {
                let loaded = host.open(&self.file).await?;
                let loading = begun.elapsed();
                let transformer =
                    ComponentTransformer::from_loaded(&host, &loaded, &options, "bench").await?;
                Ok::<_, ComponentError>((loading, transformer))
            };
            let (loading, mut transformer) = tool::accepted(load.await)?;
            let mut out = output::stdout();
            let (name, loading) = (transformer.name().to_owned(), loading.as_secs_f64() * 1e3);
            writeln!(out, "{name}: loaded in {loading:.1} ms\n")?;
            writeln!(
                out,
                "{:>12} {:>12} {:>12} {:>12}",
                "samples", "ns/sample", "batches", "samples out"
            )?;
            let mut template = sample;
            for &rows in &self.rows {
                let measured =
                    measure(&mut transformer, &mut template, rows.get(), self.time).await?;
                let Measurement { nanos, batches, samples } = measured;
                writeln!(out, "{rows:>12} {nanos:>12.0} {batches:>12} {samples:>12}")?;
                out.flush()?;
            }
            let components = host.list_components();
            let peak = components.iter().map(|one| one.counters.stats().memory_peak).max();
            let peak = peak.unwrap_or_default() as f64 / 1e6;
            writeln!(out, "\npeak memory: {peak:.1} MB")?;
            Ok(out.flush()?)
        })
    }
}
