//! `nephometer compile`: the compiler's own process. The agent starts it; nobody types it.

use std::io::{stdin, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use nephometer_wasm::compile_confined;

/// Compile the component on standard input; the code goes to standard output.
#[derive(Debug, Args)]
pub(super) struct Compile {}

impl Compile {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(super) fn execute(self) -> Result<()> {
        Ok(compile_confined(stdin().lock(), stdout().lock())?)
    }
}

/// The program that compiles: this one. By the kernel's name for it instead of its path, so that
/// it is the same one also after an upgrade has put another in its place: code of another version
/// would be refused.
pub(super) fn program() -> Option<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    own.exists().then_some(own)
}
