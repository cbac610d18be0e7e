//! `nephometer check`

use std::io::Write;

use anyhow::Result;
use clap::Args;
use tokio::runtime::Runtime;

use super::args::Common;
use super::run::runtime;
use super::{Failure, compile, output};
use crate::app::{App, AppError, ComponentProblem, Options};
use nephometer_config::{self as config, AgentSpec, ConfigError, Loaded, Problem};
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
}

impl Check {
    pub(super) fn execute(self) -> Result<()> {
        let (mut out, runtime) = (output::stdout(), runtime()?);
        let (warnings, mut problems, spec, counts) = match config::load(&self.common.inputs()) {
            Ok(Loaded { spec, warnings }) => {
                let pipeline = &spec.pipeline;
                let counts = (config::configured_sources(pipeline), pipeline.sinks.len());
                (warnings, Vec::new(), Some(spec), counts)
            }
            Err(ConfigError { warnings, problems, rest }) => {
                let placed = |one: Problem| (one.location.clone(), one.to_string());
                let problems = problems.into_iter().map(placed).collect();
                (warnings, problems, rest.map(|rest| *rest), (0, 0))
            }
        };
        for warning in &warnings {
            writeln!(out, "warning: {}", output::paragraph(&warning.to_string()))?;
        }
        let mut warned = !warnings.is_empty();
        // Errors that reading the files does not find: components, their options, publishers.
        let failed = match spec.map(|spec| build_app(&runtime, spec)) {
            None => None,
            Some(Ok(ignored)) => {
                for warning in &ignored {
                    writeln!(out, "warning: {}", output::paragraph(&warning.to_string()))?;
                }
                warned |= !ignored.is_empty();
                None
            }
            Some(Err(AppError::Configuration(found))) => {
                problems.extend(found.iter().map(|one| (one.place.clone(), one.to_string())));
                None
            }
            Some(Err(error)) => Some(error),
        };
        problems.sort();
        for (_, problem) in &problems {
            writeln!(out, "{}", output::paragraph(problem))?;
        }
        out.flush()?;
        match failed {
            Some(error) if problems.is_empty() => return Err(error.into()),
            Some(error) => output::print_error(&format!("{:#}", anyhow::Error::new(error))),
            None => {}
        }
        if !problems.is_empty() {
            return Err(Failure::Configuration.into());
        }
        if self.strict && warned {
            return Err(Failure::Configuration.into());
        }
        let (sources, sinks) = counts;
        writeln!(out, "ok: {sources} sources, {sinks} sinks")?;
        Ok(out.flush()?)
    }
}

/// Builds an agent without starting it. Writes nothing to disk. Returns what its components ignore.
fn build_app(runtime: &Runtime, mut spec: AgentSpec) -> Result<Vec<ComponentProblem>, AppError> {
    spec.components.compiler = compile::program();
    let schedule = PollSchedule { max_cycles: Some(0), interval: None };
    let options = Options { schedule, store: false, ..Options::default() };
    runtime.block_on(async { App::build(spec, options).await.map(App::into_warnings) })
}
