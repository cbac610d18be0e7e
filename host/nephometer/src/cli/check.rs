//! `nephometer check`

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::args::Common;
use super::run::runtime;
use super::{Failure, compile, output};
use crate::app::{App, AppError, Options};
use nephometer_config as config;
use nephometer_libvirt::poll::Rounds;

/// Load and check everything: both files, every publisher, every component with its options.
/// Prints all problems, each with its place, and exits 78 if there are any.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    common: Common,
}

impl Check {
    pub(super) fn execute(self) -> Result<()> {
        let mut out = output::stdout();
        let mut loaded = match config::load(&self.common.inputs()) {
            Ok(loaded) => loaded,
            Err(error) => {
                for warning in &error.warnings {
                    writeln!(out, "warning: {}", output::paragraph(&warning.to_string()))?;
                }
                for problem in &error.problems {
                    writeln!(out, "{}", output::paragraph(&problem.to_string()))?;
                }
                out.flush()?;
                return Err(Failure::Configuration.into());
            }
        };
        loaded.spec.components.compiler = compile::program();
        for warning in &loaded.warnings {
            writeln!(out, "warning: {}", output::paragraph(&warning.to_string()))?;
        }
        let pipeline = &loaded.spec.pipeline;
        let (sources, sinks) = (config::sources_of_the_file(pipeline), pipeline.sinks.len());
        let rounds = Rounds { count: Some(0), every: None };
        let options = Options { rounds, store: false, ..Options::default() };
        let built = runtime()?.block_on(async { App::build(loaded.spec, options).await.map(drop) });
        match built {
            Ok(()) => {
                writeln!(out, "well: {sources} sources, {sinks} sinks")?;
                Ok(out.flush()?)
            }
            Err(AppError::Configuration(problems)) => {
                for problem in problems {
                    writeln!(out, "{}", output::paragraph(&problem.to_string()))?;
                }
                out.flush()?;
                Err(Failure::Configuration.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
