//! Shared code of the `component` commands: the engine, the options, failing inputs.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::args::Common;
use super::progress::waiting;
use super::{Failure, compile, output};
use nephometer_config::{self as config, AgentSpec};
use nephometer_pipeline::publish;
use nephometer_pipeline::transform::{Chain, ChainError};
use nephometer_wasm::{CachedRole, ComponentError, ComponentHost, LoadedComponent};

/// Starts the engine with the limits of the configuration. Compiling runs in a child process.
pub(super) fn start(common: &Common) -> Result<(ComponentHost, AgentSpec)> {
    let spec = spec(common)?;
    Ok((ComponentHost::start(&spec.components, &spec.cache)?, spec))
}

/// The same, for a profile of one component.
#[cfg(feature = "authors")]
pub(super) fn start_profiling(common: &Common) -> Result<ComponentHost> {
    let spec = spec(common)?;
    Ok(ComponentHost::start_profiling(&spec.components, &spec.cache)?)
}

fn spec(common: &Common) -> Result<AgentSpec> {
    let mut spec = config::load_host(&common.inputs())?.spec;
    spec.components.compiler = compile::program();
    Ok(spec)
}

/// Opens a component. Compiling a large one takes seconds.
pub(super) async fn open<R: CachedRole>(
    host: &ComponentHost,
    file: &Path,
) -> Result<Arc<LoadedComponent<R>>, ComponentError> {
    waiting(&format!("compiling {}", file.display()), host.open(file)).await
}

/// Parses `--options`: JSON, or `@` and a file with JSON. Errors never quote it: options may hold
/// secrets.
pub(super) fn options(text: &str) -> Result<Map<String, Value>> {
    let read = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("--options {text}"))
            .context(Failure::Usage)?,
        None => text.to_owned(),
    };
    serde_json::from_str(&read)
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!("--options: not a JSON object (line {line}, column {column})")
        })
        .context(Failure::Usage)
}

/// Saves the batch on which a component failed as a fixture in the current folder.
pub(super) fn save_failing_input(chain: &Chain, error: &ChainError) -> Result<()> {
    let identities = chain.identities();
    let (Some(input), Some(identity)) = (&error.input, identities.get(error.transformer_index))
    else {
        return Ok(());
    };
    let file = format!("{}-failed.json", error.component);
    let text = publish::render_fixture(&error.to_string(), &identity.options, input);
    std::fs::write(&file, text).with_context(|| file.clone())?;
    output::print_error(&format!(
        "failing input saved as {file}, a fixture for `nephometer component test`"
    ));
    Ok(())
}

/// Prints why the agent refuses a component; that is a configuration error.
pub(super) fn accepted<T>(made: Result<T, ComponentError>) -> Result<T> {
    made.map_err(|error| {
        output::print_error(&format!("{:#}", anyhow::Error::new(error)));
        Failure::Configuration.into()
    })
}
