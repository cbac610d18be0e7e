//! `nephometer component bench`

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value, json};

use super::args::Common;
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_config as config;
use nephometer_model::Sample;
use nephometer_pipeline::transform::{ComponentTransformer, Transformer};
use nephometer_sdk::{Measurement, measure};
use nephometer_wasm::ComponentError;
use nephometer_wire::sample_from_json;

/// The sample that is measured unless `--sample` is given.
const SAMPLE: &str = r#"{"name": "cpu", "type": "cumulative", "unit": "ns", "volume": 0, "resource_id": "instance",
 "project_id": "project", "user_id": "user", "timestamp": "2026-03-01T10:00:00",
 "resource_metadata": {"cpu_number": 2, "flavor": {"name": "m1.small", "vcpus": 2, "ram": 2048}}}"#;

/// A transformer, and what it is called with.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// The component
    pub(super) file: PathBuf,
    /// The component's options, as in `parameters` of pipeline.yaml. @FILE reads them from a file:
    /// other users can read the command line, so secrets belong there
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// The sample that batches are filled with, in Ceilometer's keys
    #[arg(long, value_name = "JSON", default_value = SAMPLE, hide_default_value = true)]
    sample: String,
}

impl Subject {
    /// The options and the sample.
    pub(super) fn read(&self) -> Result<(Map<String, Value>, Sample)> {
        let sample = sample_from_json(&self.sample, &Arc::from("openstack"))
            .with_context(|| format!("--sample {}", self.sample))
            .context(Failure::Usage)?;
        Ok((tool::options(&self.options)?, sample))
    }
}

/// Measure the speed and memory of a transformer
///
/// Measures in the agent's own engine: loading time, memory, and nanoseconds per sample for batches
/// of several sizes, including the host's part. Each sample has its own resource; time and volumes
/// grow from batch to batch.
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(flatten)]
    subject: Subject,
    /// Samples per batch
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    rows: Vec<NonZeroUsize>,
    /// Time to measure each size
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration, default_value = "1s")]
    time: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Bench {
    pub(super) fn execute(self) -> Result<()> {
        let (options, mut template) = self.subject.read()?;
        let (host, _) = tool::start(&self.common)?;
        runtime()?.block_on(async {
            let begun = Instant::now();
            let load = async {
                let loaded = tool::open(&host, &self.subject.file).await?;
                let loading = begun.elapsed();
                let transformer =
                    ComponentTransformer::from_loaded(&host, &loaded, &options, "bench").await?;
                Ok::<_, ComponentError>((loading, transformer))
            };
            let (loading, mut transformer) = tool::accepted(load.await)?;
            let name = transformer.name().to_owned();
            let mut report = BenchReport::begin(self.json, &name, loading)?;
            for &rows in &self.rows {
                let measured =
                    measure(&mut transformer, &mut template, rows.get(), self.time).await?;
                report.add(rows, &measured)?;
            }
            let components = host.list_components();
            let peak = components.iter().map(|one| one.counters.stats().memory_peak).max();
            report.end(peak.unwrap_or_default())
        })
    }
}

/// Prints measurements: text line by line, JSON at the end.
struct BenchReport {
    /// The object to print; `None` for text.
    document: Option<Value>,
}

impl BenchReport {
    fn begin(is_json: bool, name: &str, loading: Duration) -> Result<Self> {
        if is_json {
            let loading = loading.as_secs_f64();
            let document = json!({"name": name, "loading_seconds": loading, "batches": []});
            return Ok(Self { document: Some(document) });
        }
        let mut out = output::stdout();
        writeln!(out, "{name}: loaded in {:.1} ms\n", loading.as_secs_f64() * 1e3)?;
        let header = ["samples", "ns/sample", "batches", "samples out"];
        writeln!(out, "{:>12} {:>12} {:>12} {:>12}", header[0], header[1], header[2], header[3])?;
        out.flush()?;
        Ok(Self { document: None })
    }

    /// One size of batches.
    fn add(&mut self, rows: NonZeroUsize, measured: &Measurement) -> Result<()> {
        let Measurement { nanos, batches, samples } = measured;
        if let Some(all) = self.document.as_mut().and_then(|one| one["batches"].as_array_mut()) {
            all.push(json!({
                "samples": rows,
                "nanoseconds_per_sample": nanos,
                "batches": batches,
                "samples_out": samples,
            }));
            return Ok(());
        }
        let mut out = output::stdout();
        writeln!(out, "{rows:>12} {nanos:>12.0} {batches:>12} {samples:>12}")?;
        Ok(out.flush()?)
    }

    fn end(mut self, peak: u64) -> Result<()> {
        if let Some(document) = &mut self.document {
            document["memory_peak_bytes"] = peak.into();
            return output::print_json(document);
        }
        let mut out = output::stdout();
        writeln!(out, "\npeak memory: {:.1} MB", peak as f64 / 1e6)?;
        Ok(out.flush()?)
    }
}
