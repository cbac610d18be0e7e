//! `nephometer component check`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Map, Value, json};

use super::args::Common;
use super::run::runtime;
use super::{Failure, output, tool};
use nephometer_pipeline::transform::ComponentTransformer;
use nephometer_wasm::{ComponentError, ComponentHost, Inspection};

/// Check whether the agent accepts a component
///
/// Checks the contract, imports, limits, description and options, as the agent does when it loads
/// the component. Prints the reason and exits with 78 if the agent would refuse it.
#[derive(Debug, Args)]
pub(super) struct CheckComponent {
    /// The component
    file: PathBuf,
    /// Options of a transformer, as in `parameters` of pipeline.yaml. @FILE reads them from a file
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl CheckComponent {
    pub(super) fn execute(self) -> Result<()> {
        let options = self.options.as_deref().map(tool::options).transpose()?;
        let (host, _) = tool::start(&self.common)?;
        let checked = runtime()?.block_on(self.check(&host, options.as_ref()));
        let inspection = tool::accepted(checked)?;
        if inspection.publisher && options.is_some() {
            let reason =
                "a publisher gets its options from its URL; use `nephometer check` on the pipeline";
            return Err(anyhow!(reason).context(Failure::Usage));
        }
        let about = &inspection.description;
        let kind = if inspection.publisher { "publisher" } else { "transformer" };
        if self.json {
            return output::print_json(&json!({
                "kind": kind,
                "name": about.name,
                "version": about.version,
                "summary": about.summary,
            }));
        }
        let mut out = output::stdout();
        writeln!(out, "ok: {kind} {} {}, {}", about.name, about.version, about.summary)?;
        Ok(out.flush()?)
    }

    async fn check(
        &self,
        host: &ComponentHost,
        options: Option<&Map<String, Value>>,
    ) -> Result<Inspection, ComponentError> {
        let inspection = host.inspect(&self.file).await?;
        let schema = &inspection.description.options_schema;
        if !schema.trim().is_empty() {
            serde_json::from_str::<Value>(schema).map_err(|error| ComponentError::Invalid {
                path: self.file.clone(),
                reason: format!("its options-schema is not valid JSON: {error}"),
            })?;
        }
        if let (Some(options), false) = (options, inspection.publisher) {
            let loaded = tool::open(host, &self.file).await?;
            ComponentTransformer::from_loaded(host, &loaded, options, "check").await?;
        }
        Ok(inspection)
    }
}
