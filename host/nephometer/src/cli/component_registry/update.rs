//! `nephometer component update`

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::configured::{Configured, ConfiguredComponent};
use super::report;
use crate::app::{SuppliedComponent, pull, supplied};
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::run::runtime;
use crate::cli::tool;
use nephometer_config::{ComponentOrigin, ContentDigest};
use nephometer_wasm::ComponentHost;

/// Resolve the tags of components again, show what changes, and write components.lock
///
/// Nothing else moves a tag that was resolved. The new version is pulled, verified and compared with
/// the one before: imports, grants, options, state version, size. A component whose `from` has a
/// digest is not changed. A running agent takes up what the lock file names.
#[derive(Debug, Args)]
pub(in crate::cli) struct Update {
    /// Names of components with `from`; all without any
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only show what would change
    #[arg(long)]
    plan: bool,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

/// A component whose tag stands for something else now.
struct Moved {
    name: String,
    origin: ComponentOrigin,
    digest: ContentDigest,
    differences: Vec<String>,
}

impl Update {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let configured = Configured::load(&self.common)?;
        let (host, _) = tool::start(&self.common)?;
        let (mut documents, mut lines, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        let runtime = runtime()?;
        for component in configured.components(&self.names)? {
            let name = component.name.clone();
            let ConfiguredComponent { origin, .. } = &component;
            if let Some(digest) = origin.reference.digest {
                lines.push(format!("{name}: pinned to {}", digest.short()));
                continue;
            }
            let work = changed(&configured, &host, component);
            let changed = runtime
                .block_on(waiting(&format!("asking for {name}"), work))
                .map_err(|error| error.context(name.clone()))?;
            match changed {
                None => lines.push(format!("{name}: unchanged")),
                Some(one) => {
                    documents.push(one.document());
                    lines.extend(one.lines());
                    moved.push((one.name, one.origin, one.digest));
                }
            }
        }
        if !self.plan {
            configured.lock(&moved)?;
        }
        let done = if self.plan { "would change" } else { "changed" };
        lines.push(format!("ok: {} {done}", moved.len()));
        report(self.json, &documents.into(), &lines)
    }
}

/// Resolves a tag; `None` if it stands for what is locked.
async fn changed(
    configured: &Configured,
    host: &ComponentHost,
    component: ConfiguredComponent,
) -> Result<Option<Moved>> {
    let ConfiguredComponent { name, origin } = component;
    let work = &configured.work;
    let digest = work.registries.resolve(&origin.reference).await?;
    if origin.locked == Some(digest) {
        return Ok(None);
    }
    let new = pull(work, &name, &origin, digest).await?;
    let old = supplied(&work.store, &name, &origin, &work.signatures).ok();
    let differences = match &old {
        Some(old) => differences(host, old, &new).await?,
        None => Vec::new(),
    };
    Ok(Some(Moved { name, origin, digest, differences }))
}

async fn differences(
    host: &ComponentHost,
    old: &SuppliedComponent,
    new: &SuppliedComponent,
) -> Result<Vec<String>> {
    let old = tool::accepted(host.inspect(&old.file.path).await)?;
    let new = tool::accepted(host.inspect(&new.file.path).await)?;
    Ok(old.differences(&new))
}

impl Moved {
    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "from": self.origin.reference.to_string(),
            "before": self.origin.locked.map(|digest| digest.to_string()),
            "digest": self.digest.to_string(),
            "differences": self.differences,
        })
    }

    fn lines(&self) -> Vec<String> {
        let before = self.origin.locked.map_or("nothing".to_owned(), |digest| digest.short());
        let mut lines = vec![format!("{}: {before} -> {}", self.name, self.digest.short())];
        lines.extend(self.differences.iter().map(|one| format!("{}: {one}", self.name)));
        lines
    }
}
