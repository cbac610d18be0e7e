//! `nephometer component test`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::args::Common;
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_sdk::{Fixture, FixtureRun, FixtureRunner};
use nephometer_telemetry::record;

/// Run a transformer on fixtures and compare its output
///
/// A fixture defines the expected output for a given input. Each runs on its own instance, with the
/// limits of the configuration. Exits with 1 if any output differs.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The component
    file: PathBuf,
    /// Fixtures in JSON or YAML; a folder stands for all fixtures in it
    #[arg(required = true)]
    fixtures: Vec<PathBuf>,
    /// Write the actual output into the fixtures (JSON only) instead of comparing. Fixtures in which
    /// the component fails, or with `errors`, are compared and not changed
    #[arg(long)]
    update: bool,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Test {
    pub(super) fn execute(self) -> Result<()> {
        let log = record().map_err(anyhow::Error::msg)?;
        let files = self.files()?;
        let (host, _) = tool::start(&self.common)?;
        let results = runtime()?.block_on(async {
            let loaded = tool::accepted(tool::open(&host, &self.file).await)?;
            let runner = FixtureRunner::new(host, loaded, log);
            let mut results = Vec::new();
            for file in &files {
                let tested = self.run_fixture(&runner, file).await?;
                if !self.json {
                    tested.print()?;
                }
                results.push(tested);
            }
            anyhow::Ok(results)
        })?;
        if self.json {
            output::print_json(&results.iter().map(TestedFixture::to_json).collect())?;
        }
        let failed = results.iter().filter(|tested| tested.result == "failed").count();
        if failed > 0 {
            output::print_error(&format!("{failed} of {} fixtures failed", files.len()));
            bail!(Failure::Mismatch);
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.fixtures {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).context(path.display().to_string())?;
            let mut found: Vec<PathBuf> = Vec::new();
            for entry in entries {
                found.push(entry.context(path.display().to_string())?.path());
            }
            found.retain(|file| {
                file.extension().is_some_and(|kind| kind == "json" || kind == "yaml")
            });
            if found.is_empty() {
                bail!("{}: no fixtures (*.json, *.yaml) in this folder", path.display());
            }
            found.sort();
            files.append(&mut found);
        }
        Ok(files)
    }

    /// Runs one fixture, and compares or updates it.
    async fn run_fixture(&self, runner: &FixtureRunner, file: &Path) -> Result<TestedFixture> {
        let fixture = Fixture::read(file).context(Failure::Usage)?;
        let name = file.display().to_string();
        let run = runner.run(&fixture, &name).await;
        let updated = if self.update { run.update(&fixture, file)? } else { None };
        let result = match updated {
            Some(true) => "updated",
            Some(false) => "unchanged",
            None if run.differences.is_empty() => "ok",
            None => "failed",
        };
        Ok(TestedFixture { name, result, run })
    }
}

/// What became of one fixture.
struct TestedFixture {
    name: String,
    /// `ok`, `failed`, `updated` or `unchanged`.
    result: &'static str,
    run: FixtureRun,
}

impl TestedFixture {
    fn print(&self) -> Result<()> {
        let Self { name, result, run } = self;
        let mut out = output::stdout();
        if matches!(*result, "updated" | "unchanged") {
            writeln!(out, "{result}: {name}")?;
            return Ok(out.flush()?);
        }
        let (time, memory) = (run.took.as_secs_f64() * 1e3, run.memory as f64 / 1e6);
        let cost = format!("{} calls, {time:.1} ms, peak memory {memory:.1} MB", run.calls);
        writeln!(out, "{result}: {name} ({cost})")?;
        for line in &run.differences {
            writeln!(out, "  {line}")?;
        }
        Ok(out.flush()?)
    }

    fn to_json(&self) -> Value {
        json!({
            "fixture": self.name,
            "result": self.result,
            "calls": self.run.calls,
            "seconds": self.run.took.as_secs_f64(),
            "memory_peak_bytes": self.run.memory,
            "differences": self.run.differences,
        })
    }
}
