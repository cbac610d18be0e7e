//! `nephometer symbolize`: reads the debug information of a component in a confined child process of
//! the agent. Not for users.

use std::io::{stdin, stdout};

use anyhow::Result;
use clap::Args;

use nephometer_wasm::symbolize_confined;

/// Print the source lines of offsets in the component on standard input, as JSON
#[derive(Debug, Args)]
pub(super) struct Symbolize {
    offsets: Vec<u64>,
}

impl Symbolize {
    pub(super) fn execute(self) -> Result<()> {
        Ok(symbolize_confined(stdin().lock(), stdout().lock(), &self.offsets)?)
    }
}
