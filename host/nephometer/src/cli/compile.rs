//! `nephometer compile`: compiles a component in a confined child process of the agent. Not for users.

use std::io::{stdin, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use nephometer_wasm::compile_confined;

/// Compile the component on standard input, and write the code to standard output
#[derive(Debug, Args)]
pub(super) struct Compile {}

impl Compile {
    #[expect(clippy::unused_self, reason = "all commands have this signature")]
    pub(super) fn execute(self) -> Result<()> {
        Ok(compile_confined(stdin().lock(), stdout().lock())?)
    }
}

/// The program to start as the compiler: this one, by the kernel's name. After an upgrade its path may
/// name another version, whose code would be refused.
pub(super) fn program() -> Option<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    own.exists().then_some(own)
}
