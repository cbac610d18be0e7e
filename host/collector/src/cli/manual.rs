//! `nephometer-collector completions` and `nephometer-collector man`: what packages install beside the program, made from
//! the command line itself.

use std::fs::create_dir_all;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Print a script with which a shell completes commands and options
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "nephometer-collector",
            &mut script,
        );
        let mut out = std::io::stdout().lock();
        out.write_all(&script)?;
        Ok(out.flush()?)
    }
}

/// Write the manual pages of all commands into a folder
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder, which is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn execute(self) -> Result<()> {
        let folder = &self.folder;
        let written =
            create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
        written.with_context(|| format!("cannot write manual pages into {}", folder.display()))
    }
}
