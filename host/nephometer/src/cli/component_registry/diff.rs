//! `nephometer component diff`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::configured::Configured;
use super::verify::reference;
use super::{report, signed};
use crate::app::{pull, supplied};
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::replay::compare_components;
use crate::cli::run::runtime;
use crate::cli::tool;
use nephometer_config::ComponentOrigin;
use nephometer_wasm::{ComponentHost, Inspection};

/// Show what differs between two versions of a component
///
/// Prints imports, grants, state version, options, version and size that differ. With a recording also
/// the first sample that two transformers make differently, and the processor time of each.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// A file, the name of a component with `from`, or oci://HOST/REPOSITORY:TAG
    old: String,
    /// The same for the newer version
    new: String,
    /// Run both on this recording (`nephometer record`)
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Their options, as in `parameters` of pipeline.yaml. @FILE reads them from a file
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "recording")]
    options: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Diff {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let configured = Configured::load(&self.common)?;
        let (host, _) = tool::start(&self.common)?;
        runtime()?.block_on(self.compare(&configured, &host))
    }

    async fn compare(&self, configured: &Configured, host: &ComponentHost) -> Result<()> {
        let old = file(configured, &self.old).await?;
        let new = file(configured, &self.new).await?;
        let before = tool::accepted(host.inspect(&old.path).await)?;
        let after = tool::accepted(host.inspect(&new.path).await)?;
        let differences = before.differences(&after);
        let ran = match &self.recording {
            Some(recording) => {
                let options = tool::options(&self.options)?;
                let files = (old.path.as_path(), new.path.as_path());
                Some(compare_components(host, recording, &options, files).await?)
            }
            None => None,
        };
        let costs = [cost(host, &before), cost(host, &after)];
        let document = json!({
            "old": before.digest.to_string(),
            "new": after.digest.to_string(),
            "same": before.digest == after.digest,
            "differences": differences,
            "output": ran,
            "nanoseconds_per_sample": costs,
        });
        let mut lines = differences;
        if before.digest == after.digest {
            lines.push("ok: the same file".to_owned());
        } else if lines.is_empty() {
            lines.push("ok: only the code differs".to_owned());
        }
        if let Some(ran) = &ran {
            lines.extend(ran.lines());
        }
        if let [Some(old), Some(new)] = costs {
            lines.push(format!("processor time: {old:.0} -> {new:.0} ns per sample"));
        }
        lines.extend([old.signature, new.signature].into_iter().flatten());
        report(self.json, &document, &lines)
    }
}

/// Nanoseconds of processor time for each sample that a component was given; `None` without any.
fn cost(host: &ComponentHost, of: &Inspection) -> Option<f64> {
    let mut all = host.list_components().into_iter().map(|one| one.counters.stats());
    let stats = all.find(|stats| stats.digest == of.digest && stats.samples_in > 0)?;
    Some(stats.cpu_nanos as f64 / stats.samples_in as f64)
}

/// A file to compare.
struct ComparedFile {
    path: PathBuf,
    /// Who signed it, if it comes from a registry.
    signature: Option<String>,
}

/// The file that an argument names. What comes from a registry is verified before it is compiled,
/// under the last part of its repository if it has no name.
async fn file(configured: &Configured, text: &str) -> Result<ComparedFile> {
    let work = &configured.work;
    let found = if text.starts_with("oci://") {
        let reference = reference(text)?;
        let what = format!("pulling {reference}");
        let name = reference.repository.rsplit('/').next().unwrap_or_default().to_owned();
        let origin = ComponentOrigin { reference, locked: None };
        waiting(&what, async {
            let digest = work.registries.resolve(&origin.reference).await?;
            Ok::<_, anyhow::Error>(pull(work, &name, &origin, digest).await?)
        })
        .await?
    } else if std::path::Path::new(text).exists() {
        return Ok(ComparedFile { path: text.into(), signature: None });
    } else {
        let named = configured.components(&[text.to_owned()])?.remove(0);
        supplied(&work.store, &named.name, &named.origin, &work.signatures)?
    };
    let signature = Some(format!("{text}: {}", signed(found.key.as_ref())));
    Ok(ComparedFile { path: found.file.path, signature })
}
