//! What the tools for authors of components have in common.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::args::Common;
use super::{Failure, compile, output};
use crate::component::{ComponentError, ComponentHost};
use crate::config::{self, AgentSpec};

/// The engine as the configuration has it, and the configuration; what is compiled is compiled in a
/// child.
pub(super) fn start(common: &Common) -> Result<(ComponentHost, AgentSpec)> {
    let mut spec = config::load_host(&common.inputs())?.spec;
    spec.components.compiler = compile::program();
    Ok((ComponentHost::start(&spec.components, &spec.cache)?, spec))
}

/// The value of `--options`.
pub(super) fn options(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text)
        .with_context(|| format!("--options {text}: not a JSON object"))
        .context(Failure::Usage)
}

/// A component that the agent would not take is told, and is a bad configuration.
pub(super) fn taken<T>(made: Result<T, ComponentError>) -> Result<T> {
    made.map_err(|error| {
        output::complain(&format!("{:#}", anyhow::Error::new(error)));
        Failure::Configuration.into()
    })
}
