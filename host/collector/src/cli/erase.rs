use clap::Args;

use super::output::print;
use super::{ConfigOption, Failure};
use crate::ingest::writer::now;
use crate::store::{Erased, open_store};

/// Erase names and metadata of a project's resources; samples, sums and ids stay
///
/// Files with resources of the project are written anew, so that nothing is left in their free space.
/// That takes time and as much free disk as the largest file. Backups are not changed.
#[derive(Debug, Args)]
pub(super) struct EraseProject {
    #[command(flatten)]
    config: ConfigOption,
    /// The id of the project
    project: String,
    /// Store samples of this project that arrive later without metadata as well
    #[arg(long)]
    keep_erasing: bool,
    /// Erase nothing, and end what --keep-erasing began
    #[arg(long, conflicts_with = "keep_erasing")]
    stop_erasing: bool,
}

impl EraseProject {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let Self { config, project, keep_erasing, stop_erasing } = self;
        if project.is_empty() {
            return Err(Failure::Usage("name the id of a project".to_owned()).into());
        }
        let mut store = open_store(&config.load()?.keep, u64::MAX)?;
        if stop_erasing {
            if !store.stop_erasing(&project)? {
                let text = format!("samples of {project} were not erased on arrival");
                return Err(Failure::Usage(text).into());
            }
            print(&format!("ok: samples of {project} are stored with their metadata from now on"))?;
            return Ok(());
        }
        let Erased { files, resources, revisions, letters } =
            store.erase_project(&project, keep_erasing, now())?;
        print(&format!(
            "ok: {revisions} metadata of {resources} resources erased in {files} files, \
             {letters} dead letters removed"
        ))?;
        Ok(())
    }
}
