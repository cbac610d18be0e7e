//! Components: each is found, compiled and accepts its options.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use super::Diagnosis;
use crate::app::{AppError, provisions};
use crate::cli::check::build_app;
use nephometer_config::AgentSpec;

const CHECK: &str = "components";

/// A folder for compiled components, removed at the end: the agent's is not changed.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> std::io::Result<Self> {
        let name = format!("nephometer-doctor-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: it is in the folder for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Builds the agent without starting it, as `nephometer check` does.
pub(super) fn check(
    runtime: &Runtime,
    spec: &AgentSpec,
    compiler: Option<PathBuf>,
) -> Vec<Diagnosis> {
    let scratch = match Scratch::create() {
        Ok(scratch) => scratch,
        Err(error) => {
            let what = format!("there is no folder for temporary files: {error}");
            return vec![Diagnosis::warning(
                CHECK,
                what,
                "set TMPDIR to one that this user may write",
            )];
        }
    };
    let mut spec = spec.clone();
    spec.components.compiler = compiler;
    spec.components.provided = provisions(&spec);
    spec.cache = scratch.path().to_owned();
    let transformers: usize = spec.pipeline.sinks.iter().map(|sink| sink.transformers.len()).sum();
    match build_app(runtime, spec) {
        Ok(ignored) if ignored.is_empty() => {
            let what = format!("{transformers} transformers compile and accept their options");
            vec![Diagnosis::ok(CHECK, what)]
        }
        Ok(ignored) => {
            let warning = |one: &crate::app::ComponentProblem| {
                let message = format!("{}: {}", one.place, one.reason);
                Diagnosis::warning(
                    CHECK,
                    message,
                    "correct the option or the shadow; nephometer check prints its place",
                )
            };
            ignored.iter().map(warning).collect()
        }
        Err(AppError::Configuration(problems)) => {
            let failed = |one: &crate::app::ComponentProblem| {
                let message = format!("{}: {}", one.place, one.reason);
                Diagnosis::failed(
                    CHECK,
                    message,
                    "install or replace the component: nephometer check",
                )
            };
            problems.iter().map(failed).collect()
        }
        Err(error) => {
            let message = format!("{:#}", anyhow::Error::new(error));
            vec![Diagnosis::failed(CHECK, message, "correct the cause, and run: nephometer check")]
        }
    }
}
