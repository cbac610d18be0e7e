//! What the tools for authors of components have in common.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::args::Common;
use super::{Failure, compile, output};
use nephometer_config::{self as config, AgentSpec};
use nephometer_pipeline::publish;
use nephometer_pipeline::transform::{Chain, ChainError};
use nephometer_wasm::{ComponentError, ComponentHost};

/// The engine as the configuration has it, and the configuration; what is compiled is compiled in a
/// child.
pub(super) fn start(common: &Common) -> Result<(ComponentHost, AgentSpec)> {
    let mut spec = config::load_host(&common.inputs())?.spec;
    spec.components.compiler = compile::program();
    Ok((ComponentHost::start(&spec.components, &spec.cache)?, spec))
}

/// The value of `--options`: JSON, or `@` and the name of a file with it. Never shown: options may be
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

/// What a component failed on, kept beside whoever looks at it: a fixture for `component test`.
pub(super) fn keep_input(chain: &Chain, error: &ChainError) -> Result<()> {
    let identities = chain.identities();
    let (Some(input), Some(identity)) = (&error.input, identities.get(error.slot)) else {
        return Ok(());
    };
    let file = format!("{}-failed.json", error.component);
    let text = publish::fixture(&error.to_string(), &identity.options, input);
    std::fs::write(&file, text).with_context(|| file.clone())?;
    output::complain(&format!("what it failed on is in {file}, for `nephometer component test`"));
    Ok(())
}

/// A component that the agent would not take is told, and is a bad configuration.
pub(super) fn taken<T>(made: Result<T, ComponentError>) -> Result<T> {
    made.map_err(|error| {
        output::complain(&format!("{:#}", anyhow::Error::new(error)));
        Failure::Configuration.into()
    })
}
