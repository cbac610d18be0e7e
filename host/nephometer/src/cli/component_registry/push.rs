//! `nephometer component push`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::report;
use super::sign::signer;
use super::verify::reference;
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::run::runtime;
use crate::cli::tool;
use nephometer_registry::Registries;

/// Push a component to a registry
///
/// Checks the component as the agent does, and pushes it in the layout of the CNCF's guidance for
/// wasm artifacts, which `wkg` and `oras` read. The same file gets the same digest each time.
#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// The component
    file: PathBuf,
    /// oci://HOST/REPOSITORY:TAG
    reference: String,
    /// Sign it with this private key (PEM), as `component sign` does
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Push {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let reference = reference(&self.reference)?;
        let signer = self.sign.as_deref().map(signer).transpose()?;
        let (host, spec) = tool::start(&self.common)?;
        let registries = Registries::new(&spec.components);
        let runtime = runtime()?;
        let inspection = tool::accepted(runtime.block_on(host.inspect(&self.file)))?;
        let wasm = std::fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        let title = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let size = wasm.len();
        let work = async {
            let names = (&*inspection.imports, &*inspection.exports);
            let pushed = registries.push(&reference, (wasm, &title), names).await?;
            if let Some(signer) = &signer {
                registries.sign(&reference.at(pushed.digest), signer).await?;
            }
            Ok::<_, anyhow::Error>(pushed)
        };
        let pushed = runtime.block_on(waiting(&format!("pushing {reference}"), work))?;
        let document = json!({
            "reference": reference.to_string(),
            "digest": pushed.digest.to_string(),
            "size_bytes": size,
            "known": pushed.known,
            "signed": signer.is_some(),
        });
        let known = if pushed.known { ", which the registry had" } else { "" };
        let signed = if signer.is_some() { ", signed" } else { "" };
        let line = format!("ok: {reference}@{}{known}{signed}", pushed.digest);
        report(self.json, &document, &[line])
    }
}
