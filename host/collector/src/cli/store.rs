use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::ConfigOption;
use super::output::{Format, print, rows};
use crate::store::{open_reader, open_store, restore};

/// Print what the store has
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigOption,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Copy the store into a new folder, while a collector runs
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    config: ConfigOption,
    /// The folder, which must not exist
    folder: PathBuf,
}

/// Copy a backup into the empty folder of the store
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    config: ConfigOption,
    /// The folder of the backup
    folder: PathBuf,
}

impl Status {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let state = open_reader(&spec.keep, u64::MAX)?.state()?;
        if self.json {
            return Ok(print(&serde_json::to_string(&state)?)?);
        }
        let columns = [
            ("FILE", "name"),
            ("SAMPLES", "samples"),
            ("BYTES", "bytes"),
            ("RESOURCES", "resources"),
            ("MESSAGES", "messages"),
        ];
        let files: Vec<_> = state.files.iter().map(|file| json!(file)).collect();
        rows(Format::Table, &columns, &files)?;
        let (samples, bytes, letters) = (state.samples, state.bytes, state.dead_letters);
        print(&format!("{samples} samples, {bytes} bytes, {letters} dead letters"))?;
        for (name, count) in &state.counts {
            print(&format!("  {name}: {count}"))?;
        }
        for (what, list) in
            [("closed months", &state.closed_months), ("erased on arrival", &state.erasing)]
        {
            if !list.is_empty() {
                print(&format!("  {what}: {}", list.join(", ")))?;
            }
        }
        Ok(())
    }
}

impl Backup {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let bytes = open_store(&spec.keep, u64::MAX)?.backup(&self.folder)?;
        Ok(print(&format!("ok: {bytes} bytes in {}", self.folder.display()))?)
    }
}

impl Restore {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let spec = self.config.load()?;
        let bytes = restore(&self.folder, &spec.keep)?;
        Ok(print(&format!("ok: {bytes} bytes in {}", spec.keep.path.display()))?)
    }
}
