//! `nephometer component verify`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::json;

use super::configured::Configured;
use super::report;
use crate::app::supplied;
use crate::cli::Failure;
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::run::runtime;
use nephometer_config::{CodeKeySpec, ComponentReference, ContentDigest, SignaturesSpec};
use nephometer_registry::{SignatureError, verify};
use nephometer_telemetry::Chain;

/// Verify the signature of a component
///
/// A component that is named by its name is verified as it is on disk, without a registry; one that
/// is named by its reference as the registry has it. Exits with 1 unless one of the keys has signed
/// it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// The name of a component with `from`, or oci://HOST/REPOSITORY:TAG
    what: String,
    /// A public key (PEM) in place of those of the configuration; may be repeated
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Verify {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let mut configured = Configured::load(&self.common)?;
        if !self.key.is_empty() {
            configured.work.signatures.keys = keys(&self.key)?;
        }
        // Also a component that may be used unsigned is verified here.
        let SignaturesSpec { require, allow, .. } = &mut configured.work.signatures;
        require.clear();
        allow.clear();
        let (digest, verified) = if self.what.starts_with("oci://") {
            self.in_registry(&configured)?
        } else {
            self.on_disk(&configured)?
        };
        let key = match verified {
            Ok(key) => key.unwrap_or_default(),
            Err(error) => {
                if self.json {
                    let reason = Chain(&error).to_string();
                    let document =
                        json!({"digest": digest.to_string(), "key": null, "reason": reason});
                    report(true, &document, &[])?;
                    return Err(Failure::Mismatch.into());
                }
                return Err(anyhow::Error::new(error).context(self.what));
            }
        };
        let document = json!({"digest": digest.to_string(), "key": key, "reason": null});
        report(self.json, &document, &[format!("ok: {} {digest}, signed by {key}", self.what)])
    }

    fn in_registry(&self, configured: &Configured) -> Result<(ContentDigest, Verified)> {
        let reference = reference(&self.what)?;
        let registries = &configured.work.registries;
        let work = async {
            let digest = registries.resolve(&reference).await?;
            Ok::<_, anyhow::Error>((digest, registries.signatures(&reference, digest).await?))
        };
        let what = format!("asking for the signatures of {reference}");
        let (digest, signatures) = runtime()?.block_on(waiting(&what, work))?;
        Ok((digest, verify("", digest, &signatures, &configured.work.signatures)))
    }

    fn on_disk(&self, configured: &Configured) -> Result<(ContentDigest, Verified)> {
        let work = &configured.work;
        let found = configured.components(std::slice::from_ref(&self.what))?.remove(0);
        let unsigned = SignaturesSpec {
            allow: vec![nephometer_model::Glob::new("*")?],
            ..SignaturesSpec::default()
        };
        let found = supplied(&work.store, &found.name, &found.origin, &unsigned)?.file;
        let verified = verify("", found.digest, &found.signatures, &work.signatures);
        Ok((found.digest, verified))
    }
}

/// The name of the key that signed, or why none counts.
type Verified = Result<Option<String>, SignatureError>;

fn keys(files: &[PathBuf]) -> Result<BTreeMap<String, CodeKeySpec>> {
    let key = |file: &PathBuf| {
        let name = file.display().to_string();
        let pem =
            std::fs::read_to_string(file).with_context(|| name.clone()).context(Failure::Usage)?;
        Ok((name, CodeKeySpec { pem, revoked: false }))
    };
    files.iter().map(key).collect()
}

/// Reads a reference of the command line.
pub(super) fn reference(text: &str) -> Result<ComponentReference> {
    text.parse().map_err(|right: String| {
        anyhow!("{text:?} is no reference; {right}").context(Failure::Usage)
    })
}
