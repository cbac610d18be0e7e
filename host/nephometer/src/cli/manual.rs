//! `nephometer completions` and `nephometer man`: what packages install beside the program, made from
//! the command line itself.

use std::fs::create_dir_all;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

/// Print a script with which a shell completes commands and options
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), program_name(), &mut script);
        // Scripts contain control characters of their own.
        let mut out = output::terminal();
        out.write_all(&script)?;
        Ok(out.flush()?)
    }
}

/// The name that users type: the package with the tools for authors installs the program under
/// another one, so that both packages can be installed.
fn program_name() -> &'static str {
    let first = std::env::args_os().next().map(PathBuf::from);
    match first.as_ref().and_then(|path| path.file_name()?.to_str()) {
        Some("nephometer-sdk") => "nephometer-sdk",
        _ => "nephometer",
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
        let (folder, command) = (&self.folder, Cli::command().name(program_name()));
        let written =
            create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.with_context(|| format!("cannot write manual pages into {}", folder.display()))
    }
}
