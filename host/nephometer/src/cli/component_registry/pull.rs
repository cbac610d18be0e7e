//! `nephometer component pull`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::configured::{Configured, ConfiguredComponent};
use super::{report, signed};
use crate::app::{SuppliedComponent, pull};
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::run::runtime;
use nephometer_config::{ComponentOrigin, ComponentReference, ContentDigest};
use nephometer_registry::verify;

/// Pull components from their registries
///
/// Without arguments, all components with `from`. A tag without a digest is resolved once and its
/// digest is written to components.lock beside nephometer.yaml. What is pulled is kept below
/// cache.path; a running agent takes it up. A component without the signature that it needs is
/// refused, and the lock file stays as it is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// Names of components with `from`, or one oci://HOST/REPOSITORY:TAG to pull into a file
    #[arg(value_name = "NAME")]
    what: Vec<String>,
    /// The file for a component that is named by its reference [default: REPOSITORY.wasm here]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Pull {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let configured = Configured::load(&self.common)?;
        let runtime = runtime()?;
        if let [reference] = self.what.as_slice()
            && reference.starts_with("oci://")
        {
            let reference = super::verify::reference(reference)?;
            return runtime.block_on(self.into_file(&configured, &reference));
        }
        let components = configured.components(&self.what)?;
        let (mut documents, mut lines) = (Vec::new(), Vec::new());
        let mut resolved = Vec::new();
        let mut failed = None;
        for component in components {
            match runtime.block_on(pulled(&configured, &component)) {
                Ok((digest, found)) => {
                    let ConfiguredComponent { name, origin } = component;
                    documents.push(document(&name, &origin, digest, &found));
                    lines.push(format!("ok: {name} {digest}, {}", signed(found.key.as_ref())));
                    if origin.digest().is_none() {
                        resolved.push((name, origin, digest));
                    }
                }
                // The others are pulled all the same.
                Err(error) => {
                    let error = error.context(component.name);
                    if failed.is_none() {
                        failed = Some(error);
                    } else {
                        crate::cli::output::print_error(&format!("{error:#}"));
                    }
                }
            }
        }
        configured.lock(&resolved)?;
        if lines.is_empty() && failed.is_none() {
            lines.push("no component has `from` in components.by_name".to_owned());
        }
        report(self.json, &documents.into(), &lines)?;
        failed.map_or(Ok(()), Err)
    }

    async fn into_file(
        self,
        configured: &Configured,
        reference: &ComponentReference,
    ) -> Result<()> {
        let what = format!("pulling {reference}");
        let fetched = waiting(&what, configured.work.registries.pull(reference)).await?;
        let last = reference.repository.rsplit('/').next().unwrap_or_default().to_owned();
        let file = self.output.unwrap_or_else(|| PathBuf::from(format!("{last}.wasm")));
        std::fs::write(&file, &fetched.wasm).with_context(|| file.display().to_string())?;
        let signatures = &configured.work.signatures;
        // A file of one's own needs no signature; who signed it is worth knowing.
        let key = verify(&last, fetched.digest, &fetched.signatures, signatures).ok().flatten();
        let at = reference.at(fetched.digest);
        let line = format!("ok: {} is {at}, {}", file.display(), signed(key.as_ref()));
        let document = json!([{
            "from": at.to_string(),
            "digest": fetched.digest.to_string(),
            "file": file,
            "size_bytes": fetched.wasm.len(),
            "key": key,
        }]);
        report(self.json, &document, &[line])
    }
}

/// Resolves the tag of a component if it has no digest, and pulls it.
async fn pulled(
    configured: &Configured,
    component: &ConfiguredComponent,
) -> Result<(ContentDigest, SuppliedComponent)> {
    let ConfiguredComponent { name, origin } = component;
    let what = format!("pulling {name}");
    waiting(&what, async {
        let digest = match origin.digest() {
            Some(digest) => digest,
            None => configured.work.registries.resolve(&origin.reference).await?,
        };
        let found = pull(&configured.work, name, origin, digest).await?;
        Ok((digest, found))
    })
    .await
}

fn document(
    name: &str,
    origin: &ComponentOrigin,
    digest: ContentDigest,
    found: &SuppliedComponent,
) -> Value {
    let path: &Path = &found.file.path;
    json!({
        "name": name,
        "from": origin.reference.to_string(),
        "digest": digest.to_string(),
        "file": path,
        "size_bytes": found.file.size,
        "key": found.key,
    })
}
