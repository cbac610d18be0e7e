//! The program: sets up the allocator, runs the command line and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    nephometer::memory::keep_small();
    nephometer::cli::main()
}
