//! `nephometer check`

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::args::Common;
use super::findings::{Finding, FindingFormat, Findings, Screen};
use super::progress::Progress;
use super::run::runtime;
use super::{Failure, compile, output};
use crate::app::{App, AppError, ComponentProblem, Options};
use nephometer_config::{self as config, AgentSpec, ConfigError, Loaded};
use nephometer_libvirt::poll::PollSchedule;

/// Check the configuration and its components, and print every error
///
/// Reads all configuration files, and checks every publisher and every component with its options.
/// Prints each error with its file, line and column, and exits with 78 if there are any.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    common: Common,
    /// Exit with 78 if there are warnings, too
    #[arg(long)]
    strict: bool,
    /// How to print errors and warnings [default: text on a terminal, otherwise short]
    #[arg(long, value_enum)]
    format: Option<FindingFormat>,
}

impl Check {
    pub(super) fn execute(self) -> Result<()> {
        let runtime = runtime()?;
        let (mut findings, spec, counts) = match config::load(&self.common.inputs()) {
            Ok(Loaded { spec, warnings }) => {
                let pipeline = &spec.pipeline;
                let counts = (config::configured_sources(pipeline), pipeline.sinks.len());
                (Findings { errors: Vec::new(), warnings: listed(warnings) }, Some(spec), counts)
            }
            Err(ConfigError { warnings, problems, rest }) => {
                let findings = Findings { errors: listed(problems), warnings: listed(warnings) };
                (findings, rest.map(|rest| *rest), (0, 0))
            }
        };
        let mut progress = Progress::new();
        progress.step("checking components");
        // Errors that reading the files does not find: components, their options, publishers.
        let failed = match spec.map(|spec| build_app(&runtime, spec)) {
            None => None,
            Some(Ok(ignored)) => {
                findings.warnings.extend(listed(ignored));
                None
            }
            Some(Err(AppError::Configuration(found))) => {
                findings.errors.extend(listed(found));
                None
            }
            Some(Err(error)) => Some(error),
        };
        drop(progress);
        findings.sort();
        let (sources, sinks) = counts;
        let succeeds = failed.is_none()
            && findings.errors.is_empty()
            && (!self.strict || findings.warnings.is_empty());
        let ok = succeeds.then(|| format!("ok: {sources} sources, {sinks} sinks"));
        self.print(&findings, ok)?;
        match failed {
            Some(error) if findings.errors.is_empty() => return Err(error.into()),
            Some(error) => output::print_error(&format!("{:#}", anyhow::Error::new(error))),
            None => {}
        }
        if succeeds { Ok(()) } else { Err(Failure::Configuration.into()) }
    }

    /// Prints the findings, and `ok` in the formats for people.
    fn print(&self, findings: &Findings, ok: Option<String>) -> io::Result<()> {
        let is_terminal = io::stdout().is_terminal();
        let default = if is_terminal { FindingFormat::Text } else { FindingFormat::Short };
        let mut out = output::stdout();
        match self.format.unwrap_or(default) {
            FindingFormat::Text => {
                // Colours cannot pass the output that escapes control characters.
                let mut terminal = output::terminal();
                findings.print_text(&mut terminal, screen())?;
                return finish(&mut terminal, ok);
            }
            FindingFormat::Short => findings.print_short(&mut out)?,
            FindingFormat::Json => return document(&mut out, &findings.to_json()),
            FindingFormat::Sarif => return document(&mut out, &findings.to_sarif()),
        }
        finish(&mut out, ok)
    }
}

fn listed<T: Into<Finding>>(found: Vec<T>) -> Vec<Finding> {
    found.into_iter().map(Into::into).collect()
}

fn finish(out: &mut impl Write, ok: Option<String>) -> io::Result<()> {
    if let Some(ok) = ok {
        writeln!(out, "{ok}")?;
    }
    out.flush()
}

fn document(out: &mut impl Write, document: &Value) -> io::Result<()> {
    writeln!(out, "{document:#}")?;
    out.flush()
}

/// The width if standard output is no terminal.
const DEFAULT_WIDTH: usize = 100;

fn screen() -> Screen {
    let width = output::size().map_or(DEFAULT_WIDTH, |(columns, _)| columns);
    Screen { width, is_coloured: output::is_coloured() }
}

/// Builds an agent without starting it. Writes to its cache only. Returns what its components ignore,
/// and what is wrong with shadows, without which it works.
pub(super) fn build_app(
    runtime: &Runtime,
    mut spec: AgentSpec,
) -> Result<Vec<ComponentProblem>, AppError> {
    spec.components.compiler = compile::program();
    let schedule = PollSchedule { max_cycles: Some(0), interval: None };
    let options = Options { schedule, store: false, ..Options::default() };
    runtime.block_on(async {
        let app = App::build(spec, options).await?;
        let mut warnings = app.shadow_problems().await;
        warnings.extend(app.into_warnings());
        Ok(warnings)
    })
}
