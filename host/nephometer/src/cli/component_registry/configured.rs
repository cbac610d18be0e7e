//! The components with `from` of a configuration, shadows from registries, and its lock file.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use crate::app::PullWork;
use crate::cli::Failure;
use crate::cli::args::Common;
use nephometer_config::{
    self as config, AgentSpec, ComponentOrigin, ContentDigest, LockFile, LockedComponent,
};

/// The configuration of this host.
pub(super) struct Configured {
    pub(super) spec: AgentSpec,
    pub(super) work: PullWork,
    lock: Option<PathBuf>,
}

/// A component with `from`, or the shadow of one.
#[derive(Clone)]
pub(super) struct ConfiguredComponent {
    pub(super) name: String,
    pub(super) origin: ComponentOrigin,
}

impl Configured {
    pub(super) fn load(common: &Common) -> Result<Self> {
        let inputs = common.inputs();
        let spec = config::load_host(&inputs)?.spec;
        Ok(Self { work: PullWork::new(&spec), lock: config::lock_file(&inputs), spec })
    }

    /// The components of these names; all if there are none.
    pub(super) fn components(&self, names: &[String]) -> Result<Vec<ConfiguredComponent>> {
        let all = self.spec.components.origins();
        let all = all.map(|(name, origin)| ConfiguredComponent { name, origin: origin.clone() });
        if names.is_empty() {
            return Ok(all.collect());
        }
        let all: Vec<ConfiguredComponent> = all.collect();
        let required = |name: &String| {
            let missing = || anyhow!("{name:?} has no `from` in components.by_name; set it first");
            let found = all.iter().find(|one| one.name == *name).cloned();
            found.ok_or_else(missing).context(Failure::Usage)
        };
        names.iter().map(required).collect()
    }

    /// Writes digests of tags to the lock file.
    pub(super) fn lock(&self, resolved: &[(String, ComponentOrigin, ContentDigest)]) -> Result<()> {
        if resolved.is_empty() {
            return Ok(());
        }
        let path = self.lock.as_ref().context("the settings are not in a file")?;
        let place = || format!("{}", path.display());
        let mut lock = LockFile::read(path)
            .map_err(|reason| anyhow!(reason))
            .with_context(place)
            .context(Failure::Configuration)?;
        for (name, origin, digest) in resolved {
            let from = origin.reference.to_string();
            let locked = LockedComponent { from, digest: digest.to_string() };
            lock.components.insert(name.clone(), locked);
        }
        // Entries of components that the configuration no longer has.
        let names: Vec<String> = self.spec.components.origins().map(|(name, _)| name).collect();
        lock.components.retain(|name, _| names.contains(name));
        write(path, &lock.text())
            .with_context(|| format!("{} cannot be written; run this as its owner", path.display()))
    }
}

/// Replaces a file at once: an agent that reads it meanwhile sees the old or the new one.
fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension(format!("lock.{}", std::process::id()));
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&new, path));
    if renamed.is_err() {
        // The error matters, not what is left.
        drop(fs::remove_file(&new));
    }
    renamed
}
