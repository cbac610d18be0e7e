//! `nephometer component ls`

use anyhow::Result;
use clap::Args;
use nephometer_telemetry::Chain;
use serde_json::{Value, json};

use super::configured::{Configured, ConfiguredComponent};
use crate::app::{SupplyError, supplied};
use crate::cli::args::Common;
use crate::cli::{output, table};

/// List the components from registries, their digests and who signed them
///
/// Asks no registry: shows what the configuration, components.lock and the folder of pulled
/// components have, and why a component cannot be used.
#[derive(Debug, Args)]
pub(in crate::cli) struct LsComponents {
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl LsComponents {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let configured = Configured::load(&self.common)?;
        let listed: Vec<Value> =
            configured.components(&[])?.iter().map(|one| entry(&configured, one)).collect();
        if self.json {
            return output::print_json(&listed.into());
        }
        let mut rows = vec![["NAME", "FROM", "DIGEST", "STATE", "SIGNED BY"].map(str::to_owned)];
        for one in &listed {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let digest = text("digest");
            let short = digest.strip_prefix("sha256:").unwrap_or_default();
            let short = short.get(..12).unwrap_or_default().to_owned();
            rows.push([text("name"), text("from"), short, text("state"), text("key")]);
        }
        table::print(&rows, "no component has `from` in components.by_name")?;
        for one in &listed {
            if let Some(reason) = one["reason"].as_str() {
                let name = one["name"].as_str().unwrap_or_default();
                output::print_error(&format!("{name}: {reason}"));
            }
        }
        Ok(())
    }
}

fn entry(configured: &Configured, component: &ConfiguredComponent) -> Value {
    let ConfiguredComponent { name, origin } = component;
    let found = supplied(&configured.work.store, name, origin, &configured.work.signatures);
    let state = match &found {
        Ok(_) => "ready",
        Err(SupplyError::Unresolved(_)) => "unresolved",
        Err(SupplyError::Absent(_)) => "absent",
        Err(SupplyError::Signature { .. } | SupplyError::Registry(_)) => "refused",
    };
    let file = found.as_ref().ok();
    json!({
        "name": name,
        "from": origin.reference.to_string(),
        "digest": origin.digest().map(|digest| digest.to_string()),
        "pinned": origin.reference.digest.is_some(),
        "state": state,
        "key": file.and_then(|found| found.key.as_ref()),
        "file": file.map(|found| &found.file.path),
        "size_bytes": file.map(|found| found.file.size),
        "reason": found.as_ref().err().map(|error| Chain(error).to_string()),
    })
}
