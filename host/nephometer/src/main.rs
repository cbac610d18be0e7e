//! Parse, run, turn the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    nephometer::cli::main()
}
